"""The tables of docs/plc.md, made from where the map is defined.

    python tests/plc_tables.py --write

puts them into the page, each between its two marks.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from enum import IntFlag
from pathlib import Path
from typing import Any

from sad_runtime.plc.modbus.requests import Code
from sad_runtime.plc.register_map import COMMANDS, FIELDS, RING_AT, RING_FIELDS, RING_WORDS, CommandField, Field
from sad_runtime.plc.status import BIT_TEXT, CONTROL_TEXT, FAULT_TEXT, RING, WARN_TEXT
from sad_runtime.verdict import Reason

PAGE = Path(__file__).parents[1] / "docs" / "plc.md"
EXCEPTION_TEXT = {
    Code.ILLEGAL_FUNCTION: "another function code than these; a write from an address that is not in `writers`",
    Code.ILLEGAL_ADDRESS: (
        "registers that are not there or not to be written; a write of half a number; FC6 to others than 200 and 201"
    ),
    Code.ILLEGAL_VALUE: "an unknown bit in CONTROL; a count out of range; a request whose lengths do not fit",
    Code.DEVICE_BUSY: "another address writes to this unit",
    Code.NO_SUCH_UNIT: "no station has this unit number",
}
MARKED = r"(<!-- table: {name} -->\n).*?(\n<!-- end -->)"


def tables() -> dict[str, str]:
    """By the name in their mark."""
    return {
        "status": _fields(FIELDS),
        "ring": _fields(RING_FIELDS),
        "commands": _fields(COMMANDS),
        "status bits": _bits(BIT_TEXT),
        "control bits": _bits(CONTROL_TEXT),
        "warn bits": _bits(WARN_TEXT),
        "faults": _table(
            ("code", "name", "meaning"), ((fault.value, fault.name, FAULT_TEXT[fault]) for fault in FAULT_TEXT)
        ),
        "reasons": _table(("code", "reason"), ((reason.code, f"`{reason.value}`") for reason in Reason)),
        "exceptions": _table(("exception", "answers"), ((code.value, text) for code, text in EXCEPTION_TEXT.items())),
        "ring places": _table(
            ("result", "registers"),
            ((place + 1, _span(RING_AT + place * RING_WORDS, RING_WORDS)) for place in range(RING)),
        ),
    }


def with_tables(page: str) -> str:
    """`page` with each table as it is made now. Raises ValueError where a mark is missing."""
    for name, table in tables().items():
        page, count = re.subn(MARKED.format(name=name), "\\1" + table.replace("\\", "\\\\") + "\\2", page, flags=re.S)
        if count != 1:
            raise ValueError(f"the page has the mark <!-- table: {name} --> {count} times, not once")
    return page


def _fields(fields: Sequence[Field] | Sequence[CommandField]) -> str:
    rows = ((_span(field.at, field.size), f"`{field.name}`", field.kind, field.text) for field in fields)
    return _table(("register", "name", "type", "content"), rows)


def _bits(texts: dict[Any, str]) -> str:
    return _table(
        ("bit", "name", "meaning"), ((_bit_number(bit), f"`{bit.name}`", text) for bit, text in texts.items())
    )


def _bit_number(bit: IntFlag) -> int:
    return int(bit).bit_length() - 1


def _span(at: int, size: int) -> str:
    return str(at) if size == 1 else f"{at} to {at + size - 1}"


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


if __name__ == "__main__":
    made = with_tables(PAGE.read_text())
    if "--write" in sys.argv:
        PAGE.write_text(made)
    else:
        print("\n\n".join(tables().values()))
