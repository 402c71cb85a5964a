"""Runs a check in a process of its own with a time limit: a driver that crashes or hangs is a line of the report, not
the end of it."""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from sad_runtime.errors import GateFailed, MissingExtra, SadError
from sad_runtime.selftest.line import Line, absent, bad

START = (
    "import sys; sys.path[:] = [path for path in sys.path if path]; "  # no file beside the user stands in for a package
    "from sad_runtime.selftest.child import main; sys.exit(main(sys.argv[1:]))"
)
LAST_WORDS = 400
DYING_S = 5.0
MEND = "Please report it with this whole table."


def in_child(about: str, check: str, arguments: Sequence[Any] = (), *, limit_s: float) -> list[Line]:
    """`check`: `module:function`, which takes `arguments` (plain JSON) and returns lines. Always at least one line."""
    with tempfile.TemporaryDirectory(prefix="sad-selftest-") as folder, tempfile.TemporaryFile() as said:
        result = Path(folder) / "lines.json"
        process = subprocess.Popen(
            [sys.executable, "-c", START, about, check, json.dumps(list(arguments)), str(result)],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            text = f"no answer in {limit_s:.0f} s{_last_words(said)}"
            return [bad(about, text, f"Something it waits for does not answer. {MEND}")]
        finally:
            _kill(process)
        if code != 0 or not result.exists():
            return [bad(about, f"the check {_how_it_ended(code)}{_last_words(said)}", MEND)]
        return [Line.model_validate(line) for line in json.loads(result.read_text(encoding="utf-8"))]


def main(argv: Sequence[str]) -> int:
    """The child's side. What a check raises is a line as well."""
    about, check, arguments, result = argv
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    module, _, function = check.partition(":")
    lines: list[Line]
    try:
        lines = getattr(importlib.import_module(module), function)(*json.loads(arguments))
    except MissingExtra as error:
        lines = [absent(about, str(error))]
    except SadError as error:
        lines = [bad(about, str(error), "").model_copy(update={"gate": isinstance(error, GateFailed)})]
    except Exception as error:  # noqa: BLE001  whatever a foreign package raises is what is being asked for
        lines = [raised(about, error)]
    Path(result).write_text(json.dumps([line.model_dump() for line in lines]), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # a library that crashes while Python takes it down has answered before


def raised(about: str, error: Exception) -> Line:
    return bad(about, f"{type(error).__name__}: {' '.join(str(error).split())}", MEND)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With all that it started. One that waits inside a driver does not die of it, and is left behind."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(DYING_S)


def _how_it_ended(code: int) -> str:
    return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code} and no answer"


def _last_words(said: IO[bytes]) -> str:
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - LAST_WORDS))
    words = " ".join(said.read().decode("utf-8", "replace").split())
    return f"; it said: {words}" if words else ""
