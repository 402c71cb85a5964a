"""Parts the PLC has triggered and that have no result yet. Pure.

`(trigger_id, part_id)` names a part. A name whose result came too late cannot be used again before the station has
spoken its verdict: else that verdict would be taken for the next part's. That is the worst fault there is.
"""

from __future__ import annotations

from dataclasses import dataclass

from sad_runtime.messages import Decision
from sad_runtime.plc.status import RING

Name = tuple[int, int]
"""TRIGGER_ID, PART_ID."""


@dataclass(frozen=True)
class Pending:
    trigger_id: int
    part_id: int
    encoder: int
    seen_ns: int
    """CLOCK_MONOTONIC when the TRIGGER was seen."""
    until_ns: int

    @property
    def name(self) -> Name:
        return (self.trigger_id, self.part_id)


class Triggers:
    def __init__(self) -> None:
        self.ours = False
        """The station has taken a trigger of this PLC: decisions that name other parts are somebody else's."""
        self._pending: dict[Name, Pending] = {}
        self._overdue: set[Name] = set()

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def full(self) -> bool:
        return len(self._pending) >= RING

    def taken(self, name: Name) -> bool:
        return name in self._pending or name in self._overdue

    def add(self, part: Pending) -> None:
        self._pending[part.name] = part

    def answered(self, decision: Decision) -> Pending | None:
        """The part that `decision` is on, and it waits no more; None where none waits for it."""
        name = (decision.trigger_id or 0, decision.part_id or 0)
        self._overdue.discard(name)
        return self._pending.pop(name, None)

    def was_overdue(self, decision: Decision) -> bool:
        """Whether its part got its INVALID already. Ask before `answered`."""
        return (decision.trigger_id or 0, decision.part_id or 0) in self._overdue

    def refused(self, name: Name) -> Pending | None:
        """The station will not speak of it."""
        return self._pending.pop(name, None)

    def overdue(self, now_ns: int) -> list[Pending]:
        """Takes out what had no decision in time."""
        found = [part for part in self._pending.values() if now_ns >= part.until_ns]
        for part in found:
            del self._pending[part.name]
            self._overdue.add(part.name)
        return found

    def give_up(self, *, forget: bool) -> list[Pending]:
        """Takes out all. `forget`: none of them will be spoken of any more, their names are free again."""
        found = list(self._pending.values())
        self._pending.clear()
        if forget:
            self._overdue.clear()
        else:
            self._overdue.update(part.name for part in found)
        return found
