"""The judge who sees everything: what became of each part, and whose doing it was. Pure; line.py feeds it.

A bad part that the model took for good is the model's escape. A part that passed without a PASS of the station that was
said of this very part, in time, by a picture taken while it was in sight, is the system's: that must never happen.
Rejecting is always allowed, but counted.
"""

from __future__ import annotations

import statistics
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from sad_runtime.messages import Decision
from sad_runtime.plc.simulator.belt import Passing
from sad_runtime.plc.simulator.tracking import Tracked
from sad_runtime.verdict import Verdict

Truth = Literal["good", "bad", "unknown"]
IsBad = Callable[[int], bool]
Name = tuple[int, int]
"""TRIGGER_ID, PART_ID."""
SETTLED_NS = 5_000_000_000
"""So long after a part left, everything is known of it, decisions that were fetched back too."""
KEPT = 100_000
"""Decisions of parts that never left, and times to the result."""


def _cells() -> dict[Truth, int]:
    return {"good": 0, "bad": 0, "unknown": 0}


@dataclass
class Counts:
    """Each part that left is in exactly one of the first four."""

    passed: dict[Truth, int] = field(default_factory=_cells)
    """`bad` are the model's escapes."""
    rejected_by_model: dict[Truth, int] = field(default_factory=_cells)
    """The station said FAIL."""
    rejected_by_system: dict[Truth, int] = field(default_factory=_cells)
    """The station said INVALID, or too late, or nothing, or was not heard."""
    passed_by_system: int = 0
    """Must be 0."""
    late: int = 0
    """Results that came after the deadline, or when the part was in the gate."""
    lost: int = 0
    """Triggers that the gateway took and never gave a result for before the gate."""
    untracked: int = 0
    """Parts the PLC did not see, because it stood still."""
    wrong_picture: int = 0
    """Parts, passed or not, whose picture was taken before their TRIGGER or when they were out of sight."""
    decided_twice: int = 0
    foreign: int = 0
    """Decisions on parts that are none of this belt's."""
    rejected_because: Counter[str] = field(default_factory=Counter)
    """As the PLC knows it."""

    @property
    def settled(self) -> int:
        cells = (self.passed, self.rejected_by_model, self.rejected_by_system)
        return sum(sum(cell.values()) for cell in cells) + self.passed_by_system


@dataclass
class _Fate:
    tracked: Tracked | None = None
    passed: bool = False
    left_ns: int = 0
    """CLOCK_MONOTONIC."""
    out_of_sight_ns: int | None = None
    """Wall clock."""


class Score:
    def __init__(self, is_bad: IsBad | None, boot_id: str, *, judged: bool = True) -> None:
        """`is_bad`: the truth by frame_id, None where nobody knows it. `judged`: False without a feed to judge by;
        then what the PLC read counts for what the station said."""
        self.counts = Counts()
        self.came = 0
        self.escapes: list[str] = []
        """What passed by the system, in words, for whoever has to find out why."""
        self._is_bad, self._boot_id, self._judged = is_bad, boot_id, judged
        self._started: dict[int, int] = {}
        """Part by encoder count, until the PLC says what it made of it."""
        self._on_belt: set[int] = set()
        self._fates: dict[int, _Fate] = {}
        self._left: deque[int] = deque()
        self._left_twice = 0
        self._decisions: dict[Name, list[Decision]] = {}
        self._result_ms: deque[float] = deque(maxlen=KEPT)

    @property
    def on_belt(self) -> int:
        return len(self._on_belt)

    @property
    def unaccounted(self) -> int:
        """Once all is settled: parts that did not leave exactly once, or are in no cell."""
        return abs(self.came - self.on_belt - self.counts.settled - len(self._left)) + self._left_twice

    def entered(self, part: Passing) -> None:
        self.came += 1
        self._on_belt.add(part.number)
        self._started[part.encoder] = part.number
        self._fates[part.number] = _Fate()

    def decided(self, decision: Decision) -> None:
        name = ((decision.trigger_id or 0) & 0xFFFF, decision.part_id or 0)
        self._decisions.setdefault(name, []).append(decision)
        if len(self._decisions) > KEPT:
            self.counts.foreign += len(self._decisions.pop(next(iter(self._decisions))))

    def followed(self, tracked: Tracked) -> None:
        """What the PLC made of a part, once it is behind the gate."""
        number = self._started.pop(tracked.start, None)
        if number is not None and number in self._fates:
            self._fates[number].tracked = tracked

    def out_of_sight(self, number: int, at_ns: int) -> None:
        """Wall clock: from now on a picture of this part shows the next one."""
        if number in self._fates:
            self._fates[number].out_of_sight_ns = at_ns

    def left(self, part: Passing, *, passed: bool, at_ns: int) -> None:
        """The part was at the gate: CLOCK_MONOTONIC."""
        if part.number not in self._on_belt:
            self._left_twice += 1
            return
        self._on_belt.discard(part.number)
        fate = self._fates[part.number]
        fate.passed, fate.left_ns = passed, at_ns
        self._left.append(part.number)

    def settle(self, now_ns: int | None = None) -> None:
        """Counts what has been gone for a while; None: everything that has gone."""
        while self._left and (now_ns is None or now_ns - self._fates[self._left[0]].left_ns > SETTLED_NS):
            self._settle(self._fates.pop(self._left.popleft()))
        if now_ns is None:
            followed = (fate.tracked for fate in self._fates.values())
            still_here = {(part.trigger_id, part.part_id) for part in followed if part is not None}
            strays = [decisions for name, decisions in self._decisions.items() if name not in still_here]
            self.counts.foreign += sum(len(decisions) for decisions in strays)
            self._decisions.clear()

    def result_ms(self) -> dict[str, float | None]:
        """From TRIGGER to the result as read by the PLC."""
        times = list(self._result_ms)
        if len(times) < 2:
            return {"p50": None, "p99": None}
        cuts = statistics.quantiles(times, n=100, method="inclusive")
        return {"p50": round(cuts[49], 1), "p99": round(cuts[98], 1)}

    def _settle(self, fate: _Fate) -> None:
        tracked, counts = fate.tracked, self.counts
        decisions: list[Decision] = []
        if tracked is None:
            counts.untracked += 1
        else:
            named = self._decisions.pop((tracked.trigger_id, tracked.part_id), [])
            decisions = [decision for decision in named if decision.encoder == tracked.start]
            counts.foreign += len(named) - len(decisions)  # of another part that was triggered under this name
            counts.late += tracked.late
            counts.lost += tracked.taken and tracked.result_ms is None
            counts.decided_twice += len(decisions) > 1
            counts.wrong_picture += any(self._wrong_picture(fate, decision) for decision in decisions)
            if tracked.result_ms is not None and tracked.asked_ms is not None:
                self._result_ms.append(tracked.result_ms - tracked.asked_ms)
        truth = self._truth(decisions)
        if fate.passed:
            wrong = self._wrong_with(fate, decisions)
            if wrong:
                counts.passed_by_system += 1
                self.escapes.append(wrong)
            else:
                counts.passed[truth] += 1
            return
        counts.rejected_because[_why(tracked)] += 1
        cell = counts.rejected_by_model if self._says_fail(tracked, decisions) else counts.rejected_by_system
        cell[truth] += 1

    def _truth(self, decisions: list[Decision]) -> Truth:
        """Of the picture that was taken of it; a part without a picture is neither."""
        frame_id = next((decision.frame_id for decision in decisions if decision.frame_id is not None), None)
        if frame_id is None or self._is_bad is None:
            return "unknown"
        return "bad" if self._is_bad(frame_id) else "good"

    def _says_fail(self, tracked: Tracked | None, decisions: list[Decision]) -> bool:
        if self._judged:
            return any(decision.verdict is Verdict.FAIL for decision in decisions)
        return tracked is not None and tracked.told.startswith(Verdict.FAIL.value)

    def _wrong_with(self, fate: _Fate, decisions: list[Decision]) -> str:
        """Why this part should not have passed; empty where the model alone answers for it."""
        tracked = fate.tracked
        if tracked is None:
            return "a part passed that the PLC did not follow"
        who = f"part {tracked.part_id}, trigger {tracked.trigger_id}"
        if not self._judged:
            return ""
        if not decisions:
            return f"{who} passed without a decision on it"
        for decision in decisions:
            what = f"{who} passed by decision {decision.seq} of run {decision.run}"
            if decision.verdict is not Verdict.PASS:
                return f"{what}, which is {decision.verdict.value}"
            if decision.age_ms > decision.deadline_ms:
                return f"{what}, which was {decision.age_ms:.0f} ms old at a deadline of {decision.deadline_ms} ms"
            if decision.boot_id == self._boot_id and decision.mono_ns > fate.left_ns:
                return f"{what}, which was published after the part had passed"
            if wrong := self._wrong_picture(fate, decision):
                return f"{what}, whose picture was taken {wrong}"
        return ""

    def _wrong_picture(self, fate: _Fate, decision: Decision) -> str:
        """Why its picture does not show this part. The wall clock of another computer is not compared."""
        asked_ns = fate.tracked.asked_ns if fate.tracked else None
        taken_ns, gone_ns = decision.captured_ns, fate.out_of_sight_ns
        if asked_ns is None or taken_ns is None or decision.boot_id != self._boot_id:
            return ""
        if taken_ns < asked_ns:
            return f"{(asked_ns - taken_ns) / 1e6:.0f} ms before its TRIGGER"
        if gone_ns is not None and taken_ns > gone_ns:
            return f"{(taken_ns - gone_ns) / 1e6:.0f} ms after it was out of sight"
        return ""


def _why(tracked: Tracked | None) -> str:
    """Why a part was rejected, as the PLC knows it."""
    if tracked is None:
        return "not followed"
    return "gate shut by silence" if tracked.good else tracked.told
