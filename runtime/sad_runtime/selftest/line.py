"""One line of the self-test, and the lines as a table that can be pasted into a report."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sad_runtime.schema import Strict

Standing = Literal["ok", "warn", "bad", "absent"]
"""`absent`: not installed or not there, which is no fault by itself."""
WIDTH = 116
MARGIN = 29


class Line(Strict):
    about: str
    """`opencv`, `openvino fp32`."""
    standing: Standing
    text: str
    mend: str = ""
    """What to do about it, a sentence."""
    data: dict[str, Any] = {}
    """The same in figures, for --json."""
    gate: bool = False
    """A gate said no: the exit code is 4."""


def ok(about: str, text: str, **data: Any) -> Line:
    return Line(about=about, standing="ok", text=text, data=data)


def warn(about: str, text: str, mend: str, **data: Any) -> Line:
    return Line(about=about, standing="warn", text=text, mend=mend, data=data)


def bad(about: str, text: str, mend: str, **data: Any) -> Line:
    return Line(about=about, standing="bad", text=text, mend=mend, data=data)


def absent(about: str, text: str, mend: str = "", **data: Any) -> Line:
    return Line(about=about, standing="absent", text=text, mend=mend, data=data)


def table(lines: Iterable[Line]) -> str:
    return "\n".join(row for line in lines for row in _rows(line))


def _rows(line: Line) -> list[str]:
    said = textwrap.wrap(line.text, WIDTH - MARGIN) or [""]
    mended = textwrap.wrap(line.mend, WIDTH - MARGIN - 3)
    rows = said + [f"{'-> ' if index == 0 else '   '}{text}" for index, text in enumerate(mended)]
    heads = [f"{line.standing:<6}  {line.about:<20} "] + [" " * MARGIN] * (len(rows) - 1)
    return [f"{head}{row}".rstrip() for head, row in zip(heads, rows, strict=True)]


def count(lines: Sequence[Line]) -> Mapping[str, int]:
    kinds: tuple[Standing, ...] = ("ok", "warn", "bad", "absent")
    return {kind: sum(line.standing == kind for line in lines) for kind in kinds}


def without_names(line: Line, home: Path) -> Line:
    """The line with the user's home folder, and so the user's name, left out."""
    return Line.model_validate(_replaced(line.model_dump(), str(home)))


def _replaced(value: Any, home: str) -> Any:
    if isinstance(value, str):
        return value.replace(home, "~") if len(home) > 1 else value
    if isinstance(value, dict):
        return {key: _replaced(inner, home) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_replaced(inner, home) for inner in value]
    return value
