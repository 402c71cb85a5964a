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
KEPT_NS = 5_000_000_000
"""So long after its deadline a name is kept for a verdict that still may come; what comes later began before the part
that may have the name by then, which shows (judgement.py)."""


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
        """The station has taken a trigger of this PLC: all other decisions are somebody else's."""
        self._pending: dict[Name, Pending] = {}
        self._overdue: dict[Name, int] = {}
        """Until when each name is kept from being given again."""

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def full(self) -> bool:
        return len(self._pending) >= RING

    def pending(self, name: Name) -> bool:
        return name in self._pending

    def taken(self, name: Name) -> bool:
        return name in self._pending or name in self._overdue

    def add(self, part: Pending) -> None:
        self._pending[part.name] = part

    def answered(self, decision: Decision) -> Pending | None:
        """The part that `decision` is on, and it waits no more; None where none waits for it."""
        name = name_in(decision)
        if name is None:
            return None
        self._overdue.pop(name, None)
        return self._pending.pop(name, None)

    def was_overdue(self, decision: Decision) -> bool:
        """Whether its part got its INVALID already. Ask before `answered`."""
        return name_in(decision) in self._overdue

    def refused(self, name: Name) -> Pending | None:
        """The station will not speak of it."""
        return self._pending.pop(name, None)

    def given_up(self, name: Name) -> Pending | None:
        """The station may still speak of it; it counts no more."""
        part = self._pending.pop(name, None)
        if part is not None:
            self._keep(part)
        return part

    def overdue(self, now_ns: int) -> list[Pending]:
        """Takes out what had no decision in time. Names that the station never spoke of are free again at last."""
        found = [part for part in self._pending.values() if now_ns >= part.until_ns]
        for part in found:
            self.given_up(part.name)
        for name in [name for name, until_ns in self._overdue.items() if now_ns >= until_ns]:
            del self._overdue[name]
        return found

    def give_up_all(self, *, forget: bool) -> list[Pending]:
        """Takes out all. `forget`: none of them will be spoken of any more, their names are free again."""
        found = list(self._pending.values())
        self._pending.clear()
        if forget:
            self._overdue.clear()
        for part in () if forget else found:
            self._keep(part)
        return found

    def _keep(self, part: Pending) -> None:
        self._overdue[part.name] = part.until_ns + KEPT_NS


def name_in(decision: Decision) -> Name | None:
    """None where it lacks a number: the gate always gives both."""
    if decision.trigger_id is None or decision.part_id is None:
        return None
    return (decision.trigger_id, decision.part_id)
