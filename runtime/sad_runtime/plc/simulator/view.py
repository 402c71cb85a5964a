"""What the simulated line looks like: a picture in the terminal, or plain lines where there is none."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TextIO

from sad_runtime.plc.register_map import status_values
from sad_runtime.plc.simulator.score import Counts
from sad_runtime.plc.simulator.tracking import Tracked
from sad_runtime.plc.status import FAULT_TEXT, Bit, Fault

PICTURE_MS, LINE_MS = 100.0, 5000.0
WIDTH = 72
LAST = 6
RED, GREEN, DIM, PLAIN = "\x1b[31;1m", "\x1b[32m", "\x1b[2m", "\x1b[0m"

NO_WRAP, WRAP = "\x1b[?7l", "\x1b[?7h"
"""In a narrow terminal lines are cut, so that the picture keeps its height."""


@dataclass(frozen=True)
class Sight:
    """The line as it stands now."""

    now_ms: float
    places: Sequence[tuple[float, Tracked | None]] = ()
    """Parts between camera and gate: share of the way that is done, and what the PLC knows of them."""
    registers: Sequence[int] | None = None
    lets_pass: bool = False
    left: Sequence[Tracked] = ()
    counts: Counts = field(default_factory=Counts)
    why: str = ""
    """Why there is no connection."""
    faults: frozenset[str] = frozenset()
    """Staged ones that are on."""


class View(Protocol):
    def show(self, sight: Sight) -> None: ...
    def close(self) -> None: ...


def view_for(kind: str, out: TextIO) -> View:
    return Picture(out) if kind == "auto" and out.isatty() else Lines(out)


class Lines:
    """A line when something changes, and one with the counts every few seconds."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._state = ""
        self._next_ms = 0.0

    def show(self, sight: Sight) -> None:
        state = " | ".join([state_of(sight), *sorted(sight.faults)])
        if state != self._state:
            self._state = state
            print(f"-- {state}", file=self._out, flush=True)
        if sight.now_ms >= self._next_ms:
            self._next_ms = sight.now_ms + LINE_MS
            print(counts_of(sight.counts), file=self._out, flush=True)

    def close(self) -> None:
        """Nothing to tidy up."""


class Picture:
    """Drawn over itself; leaves the last one standing."""

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._next_ms = 0.0
        self._height = 0
        self._last: deque[Tracked] = deque(maxlen=LAST)

    def show(self, sight: Sight) -> None:
        self._last.extend(sight.left)
        if sight.now_ms < self._next_ms:
            return
        self._next_ms = sight.now_ms + PICTURE_MS
        lines = self._lines(sight)
        up = f"\x1b[{self._height}F" if self._height else ""
        self._out.write(NO_WRAP + up + "".join(f"\x1b[2K{line}\n" for line in lines) + WRAP)
        self._out.flush()
        self._height = len(lines)

    def close(self) -> None:
        print(file=self._out)

    def _lines(self, sight: Sight) -> list[str]:
        gate = f"{GREEN}open{PLAIN}" if sight.lets_pass else f"{RED}reject{PLAIN}"
        last = [
            f"  part {part.part_id:>10}  {'passed  ' if part.good else 'rejected'}  {part.told}" for part in self._last
        ]
        staged = f"   staged: {', '.join(sorted(sight.faults))}" if sight.faults else ""
        return [
            f"camera{' ' * (WIDTH - 8)}gate {gate}",
            belt_of(sight.places, colour=True),
            "",
            lamps_of(sight.registers),
            f"{state_of(sight)}{staged}",
            counts_of(sight.counts),
            *last,
            *[""] * (LAST - len(last)),
        ]


def belt_of(places: Sequence[tuple[float, Tracked | None]], *, colour: bool) -> str:
    """`?` waits for its result, `o` may pass, `x` will be rejected, `-` is not followed."""
    cells = ["_"] * WIDTH
    for share, part in places:
        cells[min(WIDTH - 1, max(0, int(share * WIDTH)))] = _sign(part, colour)
    return "".join(cells)


def _sign(part: Tracked | None, colour: bool) -> str:
    sign, shade = ("-", DIM)
    if part is not None:
        sign, shade = ("o", GREEN) if part.good else ("x", RED) if part.judged else ("?", "")
    return f"{shade}{sign}{PLAIN}" if colour and shade else sign


def lamps_of(registers: Sequence[int] | None) -> str:
    """The names of the STATUS bits that are on."""
    if registers is None:
        return "no registers"
    bits = Bit(int(status_values(registers)["STATUS"]))
    return "  ".join(str(bit.name) for bit in Bit if bits & bit)


def state_of(sight: Sight) -> str:
    if sight.registers is None:
        return f"no connection: {sight.why}"
    status = status_values(sight.registers)
    code, bits = int(status["FAULT_CODE"]), Bit(int(status["STATUS"]))
    latched = [str(bit.name) for bit in (Bit.MISSED_TRIGGER, Bit.RESULT_OVERRUN) if bits & bit]
    text = FAULT_TEXT.get(Fault(code), "") if code in set(Fault) else "unknown to this program"
    return " | ".join([f"fault {code}: {text}" if code else "no fault", *latched])


def counts_of(counts: Counts) -> str:
    passed, model, system = (
        sum(cell.values()) for cell in (counts.passed, counts.rejected_by_model, counts.rejected_by_system)
    )
    escapes = f", of these {counts.passed['bad']} bad" if counts.passed["bad"] else ""
    return (
        f"passed {passed}{escapes}; rejected by the model {model}, by the system {system}; "
        f"passed by the system {counts.passed_by_system}; late {counts.late}, lost {counts.lost}"
    )
