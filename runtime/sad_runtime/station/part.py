"""One part on its way through the station, and what was found on it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum

from sad_runtime.cameras.base import Frame
from sad_runtime.inspector import Inspection
from sad_runtime.verdict import Reason, Verdict

EARLY_SHARE = 0.1
EARLY_MOST_MS = 20.0


class Stage(Enum):
    """Where a part is; tells what to say when its deadline comes."""

    WAITING = "waiting"
    GRABBING = "grabbing"
    INSPECTING = "inspecting"


@dataclass(eq=False)
class Part:
    """Starts at its trigger, in free run at the capture of its picture. Times are CLOCK_MONOTONIC."""

    started_ns: int
    deadline_ms: int
    trigger_id: int | None = None
    part_id: int | None = None
    encoder: int | None = None
    frame: Frame | None = None
    stage: Stage = Stage.WAITING
    answered: bool = False
    """Set once, by answers.py, under its lock."""
    latency_ms: dict[str, float] = field(default_factory=dict)
    """`wait` and `grab`, as far as the part has come."""

    @property
    def deadline_ns(self) -> int:
        return self.started_ns + self.deadline_ms * 1_000_000

    @property
    def last_call_ns(self) -> int:
        """When an answer has to be given so that it is out before the deadline: a tenth before it, at most 20 ms."""
        return self.deadline_ns - int(min(EARLY_MOST_MS, EARLY_SHARE * self.deadline_ms) * 1e6)

    def age_ms(self) -> float:
        return (time.monotonic_ns() - self.started_ns) / 1e6


@dataclass(frozen=True)
class Finding:
    """The verdict on one part before it is published."""

    verdict: Verdict
    reason: Reason
    inspection: Inspection | None = None


def invalid(reason: Reason) -> Finding:
    return Finding(Verdict.INVALID, reason)


def overdue(part: Part) -> Finding:
    """What to say of a part whose deadline has come: no picture by now, or no verdict by now."""
    return invalid(Reason.NO_IMAGE if part.stage is Stage.GRABBING else Reason.LATE)
