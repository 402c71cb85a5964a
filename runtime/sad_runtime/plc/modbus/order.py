"""In which order the status block is written into a PLC, so that what it may act on is never a mixture. Pure.

128 registers do not fit into one request, and some PLCs take over a request word by word while their program runs.
Safe is a program that reads RESULT_SEQ before and RESULT_SEQ_COPY after the rest, acts only where they are equal, and
on PASS only where both the bit and VERDICT say so, with this order:

1. RESULT_SEQ_COPY gets a number that shares no half with the old or the new RESULT_SEQ;
2. the ring; 3. all from MAP_VERSION to before the copy; 4. RESULT_SEQ_COPY gets the new RESULT_SEQ.

From 1 to 4 the two differ, whichever words of a request come first; a connection that breaks in between leaves them
different. A change of registers 0 to 4 alone (heartbeat, bits, faults) is one request: each is a whole by itself. A PLC
whose block is not known first gets a STATUS without a verdict, in one register, and its real STATUS last.

A PLC may forget the block while the connection stays (a program download). Now and then all of it is therefore written
as 1 to 4 do, though nothing changed; a STATUS without a verdict in between would stop a line that is well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sad_runtime.plc.register_map import FIELDS, RING_AT, STATUS_SIZE, U16
from sad_runtime.plc.status import STOPPED

Registers = Sequence[int]
AT = {field.name: field.at for field in FIELDS}
BITS_AT, SEQ_AT, COPY_AT = AT["STATUS"], AT["RESULT_SEQ"], AT["RESULT_SEQ_COPY"]
HEAD = AT["RUN_TAG"]
"""So many registers, from 0 on, have a meaning each by itself."""


@dataclass(frozen=True)
class Write:
    """One request: `words` from register `at` of the status block on."""

    at: int
    words: tuple[int, ...]


def writes(old: Registers | None, new: Registers, *, whole: bool = False) -> list[Write]:
    """What makes a PLC's `old` block the `new` one; None: nobody knows what is there. `whole`: also what should be
    there already."""
    if old is None:
        return _everything(new)
    if whole:
        return _result(old, new, whole=True)
    if old[HEAD:] != new[HEAD:]:
        return _result(old, new)
    return [_part(new, 0, HEAD)] if old != new else []


def _everything(new: Registers) -> list[Write]:
    return [
        Write(BITS_AT, (int(STOPPED.bits),)),
        _part(new, RING_AT, STATUS_SIZE),
        _part(new, HEAD, COPY_AT + 2),
        _part(new, 0, HEAD),
    ]


def _result(old: Registers, new: Registers, *, whole: bool = False) -> list[Write]:
    marker = tuple(_other(old[SEQ_AT + half], new[SEQ_AT + half]) for half in (0, 1))
    ring = [_part(new, RING_AT, STATUS_SIZE)] if whole or old[RING_AT:] != new[RING_AT:] else []
    return [Write(COPY_AT, marker), *ring, _part(new, 0, COPY_AT), _part(new, COPY_AT, COPY_AT + 2)]


def _part(registers: Registers, start: int, end: int) -> Write:
    return Write(start, tuple(registers[start:end]))


def _other(one: int, two: int) -> int:
    return next(word for word in (U16, U16 - 1, U16 - 2) if word not in (one, two))
