"""The PLC's queue of parts between camera and gate, by encoder count. Pure.

Never a bit shifted once a part: spacing varies, and one part too many or too few would move every verdict by one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

U16, U32 = 2**16, 2**32


@dataclass
class Tracked:
    """One part, as the PLC knows it."""

    part_id: int
    trigger_id: int
    start: int
    """Encoder when it passed the camera's light barrier."""
    asked_ms: float | None = None
    """When its TRIGGER was set; None: not yet, or never."""
    asked_ns: int | None = None
    """The same moment by the wall clock, for the judge."""
    result_ms: float | None = None
    """When its result was read."""
    taken: bool = False
    """TRIGGER_ACK was seen for it."""
    judged: bool = False
    """Its result was read, or it can have none any more."""
    good: bool = False
    """PASS by the full rule; once it was not, it stays so."""
    in_gate: bool = False
    """The gate was set for it: a PASS that comes now is too late."""
    late: bool = False
    """Its result came when it was in the gate, or after its deadline."""
    told: str = ""
    """What its result said, or why it has none."""

    def reject(self, why: str) -> None:
        """May be called at any time, also after a PASS."""
        if self.good or not self.judged:
            self.told = why
        self.judged, self.good = True, False


class Queue:
    """Parts in their order on the belt."""

    def __init__(self, gate_offset: int, gate_window: int) -> None:
        """Encoder counts: from the light barrier to the gate, and how far before and behind it the gate is held."""
        self._offset, self._window = gate_offset, gate_window
        self._parts: deque[Tracked] = deque()

    def __iter__(self) -> Iterator[Tracked]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, part: Tracked) -> None:
        self._parts.append(part)

    def reject_all(self, why: str) -> None:
        for part in self._parts:
            part.reject(why)

    def named(self, trigger_id: int, part_id: int) -> list[Tracked]:
        """Those of this name; more than one only after a mistake."""
        return [part for part in self._parts if (part.trigger_id, part.part_id) == (trigger_id, part_id)]

    def lets_pass(self, encoder: int) -> bool:
        """The gate. It is set when a part enters the window; bad news still turns it back, good news comes too late."""
        inside = [part for part in self._parts if abs(self._to_gate(part, encoder)) <= self._window]
        for part in inside:
            part.in_gate = True
            if not part.judged:
                part.reject("no result")
        return bool(inside) and all(part.good for part in inside)

    def leave(self, encoder: int) -> list[Tracked]:
        """Takes out what is behind the gate."""
        gone = []
        while self._parts and self._to_gate(self._parts[0], encoder) < -self._window:
            gone.append(self._parts.popleft())
        for part in gone:
            if not part.in_gate:  # the gate was never set for it: the scan stood still
                part.reject("not followed")
        return gone

    def _to_gate(self, part: Tracked, encoder: int) -> int:
        """Counts still to go; right across the wrap."""
        return self._offset - travelled(part.start, encoder)


def travelled(since: int, encoder: int) -> int:
    """Counts from `since` to `encoder`, both u32 counters; -2**31 to 2**31 - 1."""
    return (encoder - since + U32 // 2) % U32 - U32 // 2
