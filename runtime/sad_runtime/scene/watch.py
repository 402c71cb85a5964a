"""Turns a stream of looks into what is worth an event: something begins, something is over. A log is not to flood."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from sad_runtime.scene.drift import Drift
from sad_runtime.scene.guard import Look
from sad_runtime.scene.limits import Measure
from sad_runtime.verdict import Reason

Level = Literal["info", "warning", "error"]
WARN_AFTER = 3
"""Pictures in a row beyond a warn limit: one alone is chance."""
FAULT_OVER_AFTER = 3
WARNING_OVER_AFTER = 10


@dataclass(frozen=True)
class Transition:
    """For Happenings.tell: a code for programs, a text for people, plain values beside it."""

    code: str
    level: Level
    text: str
    data: dict[str, str | float] = field(default_factory=dict)


class _Switch:
    """On after so many yes in a row, off after so many no."""

    def __init__(self, on_after: int, off_after: int) -> None:
        self._on_after, self._off_after = on_after, off_after
        self._in_a_row = 0
        self.on = False

    def saw(self, yes: bool) -> bool:
        """True where this turned it."""
        self._in_a_row = self._in_a_row + 1 if yes is not self.on else 0
        if self._in_a_row < (self._off_after if self.on else self._on_after):
            return False
        self.on, self._in_a_row = not self.on, 0
        return True


class SceneWatch:
    """One a station, fed from the thread that inspects. Every method says what is to be told now, mostly nothing."""

    def __init__(self) -> None:
        self._faults: dict[Reason, _Switch] = {}
        self._warnings: dict[Measure, _Switch] = {}
        self._drifts: dict[str, _Switch] = {}

    def looked(self, look: Look) -> list[Transition]:
        """After every look of the guard, with a fault or without."""
        told = self.fault(look.fault, look.why)
        texts = {remark.measure: remark.text for remark in look.remarks}
        for name in [*self._warnings, *(name for name in texts if name not in self._warnings)]:
            switch = self._warnings.setdefault(name, _Switch(WARN_AFTER, WARNING_OVER_AFTER))
            if switch.saw(name in texts):
                value = look.measures.value(name)
                text = texts.get(name, f"{name} is as usual again")
                code, level = _said("scene_warning", switch.on, "warning")
                told.append(Transition(code, level, text, {"measure": name, "value": round(value, 4)}))
        return told

    def fault(self, reason: Reason | None, why: str) -> list[Transition]:
        """What ended a look before the model: of the guard, or Reason.FROZEN. None for a picture that is whole."""
        told = []
        for known in _with(self._faults, reason):
            switch = self._faults.setdefault(known, _Switch(1, FAULT_OVER_AFTER))
            if switch.saw(known is reason):
                code, level = _said(known.value, switch.on, "error")
                told.append(Transition(code, level, why if switch.on else f"no longer {known.value}"))
        return told

    def drifted(self, drift: Drift) -> list[Transition]:
        """After every part that was judged."""
        states = {
            "score_drift": (drift.scores, "scores have crept up: look at the parts, the light and the lens"),
            "part_drift": (
                drift.parts,
                f"parts look other than those learnt from ({drift.distance:.1f} standard deviations on average)",
            ),
        }
        told = []
        for name, (yes, text) in states.items():
            switch = self._drifts.setdefault(name, _Switch(1, 1))
            if switch.saw(yes):
                code, level = _said(name, switch.on, "warning")
                over = f"{name.replace('_', ' ')} is over"
                told.append(Transition(code, level, text if yes else over, {"distance": round(drift.distance, 3)}))
        return told

    def forget(self) -> list[Transition]:
        """At a change of recipe: what was wrong with the old scene says nothing of the new one."""
        self._warnings.clear()
        self._drifts.clear()
        over = [reason for reason, switch in self._faults.items() if switch.on and reason is not Reason.FROZEN]
        for reason in over:
            del self._faults[reason]
        return [Transition(f"{reason.value}_over", "info", "another recipe") for reason in over]


def _with(known: Iterable[Reason], reason: Reason | None) -> list[Reason]:
    reasons = list(known)
    return reasons if reason is None or reason in reasons else [*reasons, reason]


def _said(code: str, begins: bool, level: Level) -> tuple[str, Level]:
    return (code, level) if begins else (f"{code}_over", "info")
