"""The guard before the model: measures a picture and holds it against the limits. Never says PASS, only what is wrong.

One fault is told, the most telling one: half a picture may also be dark, and a black one is also blurred.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sad_runtime.errors import DataError
from sad_runtime.preprocess import Picture
from sad_runtime.scene.limits import Band, Measure, SceneLimits
from sad_runtime.scene.measures import Measures, measured
from sad_runtime.scene.position import Reference
from sad_runtime.verdict import Reason

FAULTS: tuple[tuple[Measure, str, Reason], ...] = (
    ("highlights", "low", Reason.BLACK),
    ("repeated", "high", Reason.INCOMPLETE),
    ("brightness", "low", Reason.BLACK),
    ("dark", "high", Reason.BLACK),
    ("saturated", "high", Reason.SATURATED),
    ("brightness", "high", Reason.SATURATED),
    ("shift", "high", Reason.MOVED),
    ("focus", "low", Reason.BLURRED),
    ("contrast", "low", Reason.SCENE),
    ("contrast", "high", Reason.SCENE),
    ("blue", "low", Reason.SCENE),
    ("blue", "high", Reason.SCENE),
    ("red", "low", Reason.SCENE),
    ("red", "high", Reason.SCENE),
    ("likeness", "low", Reason.SCENE),
)
"""What a measure beyond which limit means, the most telling first."""
SHARES: tuple[Measure, ...] = ("dark", "saturated", "repeated")
SAID: Mapping[Measure, str] = {
    "brightness": "brightness {:.0f} of 255",
    "highlights": "brightest grey level {:.0f} of 255",
    "dark": "{:.1f} % of the picture dark",
    "saturated": "{:.1f} % of the picture saturated",
    "contrast": "contrast {:.1f} grey levels",
    "focus": "focus {:.3f}",
    "blue": "blue over green {:.3f}",
    "red": "red over green {:.3f}",
    "shift": "{:.1f} px off",
    "likeness": "likeness to the good pictures {:.2f}",
    "repeated": "{:.1f} % of the picture are equal lines",
}


@dataclass(frozen=True)
class Remark:
    """A measure beyond a limit, for people."""

    measure: Measure
    text: str


@dataclass(frozen=True)
class Look:
    """What the guard found on one picture. With a `fault` there must be no verdict but INVALID."""

    measures: Measures
    fault: Reason | None
    why: str
    """Of the fault, for people; empty without one."""
    remarks: tuple[Remark, ...]
    """Every measure beyond its warn limit; those beyond their fault limit too."""

    @property
    def warnings(self) -> list[str]:
        return [remark.text for remark in self.remarks]


class SceneFault(DataError):
    """A picture that the model cannot judge."""

    def __init__(self, reason: Reason, look: Look) -> None:
        super().__init__(look.why)
        self.reason = reason
        self.look = look


class SceneGuard:
    """Has no state: every picture is judged by itself."""

    def __init__(self, limits: SceneLimits, reference: Reference | None = None, *, warn: bool = True) -> None:
        """Without a `reference` nothing has moved."""
        self.limits = limits
        self._reference = reference
        self._warn = warn

    def look(self, picture: Picture) -> Look:
        """`picture` as the graph takes it: (H, W, C) uint8."""
        found = measured(picture, self._reference)
        bands = {name: band for name, band in self.limits.bands.items() if self._counts(name, found)}
        remarks = tuple(_remarks(found, bands)) if self._warn else ()
        for name, side, reason in FAULTS:
            limit = _limit(bands, name, side)
            value = found.value(name)
            if limit is not None and (value < limit if side == "low" else value > limit):
                return Look(found, reason, said(name, value, side, limit), remarks)
        return Look(found, None, "", remarks)

    def check(self, picture: Picture) -> Look:
        """`look` that raises SceneFault."""
        look = self.look(picture)
        if look.fault is not None:
            raise SceneFault(look.fault, look)
        return look

    def _counts(self, measure: Measure, found: Measures) -> bool:
        if measure == "likeness":
            return self._reference is not None
        return measure != "shift" or (self._reference is not None and found.likeness >= self.limits.least_likeness)


def said(measure: Measure, value: float, side: str, limit: float) -> str:
    """`focus 0.210, at least 0.350`"""
    bound = "at least" if side == "low" else "at most"
    if measure in SHARES:
        return f"{SAID[measure].format(100 * value)}; {bound} {100 * limit:.1f} % expected"
    return f"{SAID[measure].format(value)}; {bound} {limit:.4g} expected"


def _limit(bands: Mapping[Measure, Band], measure: Measure, side: str) -> float | None:
    band = bands.get(measure)
    return None if band is None else band.low if side == "low" else band.high


def _remarks(found: Measures, bands: Mapping[Measure, Band]) -> list[Remark]:
    remarks = []
    for name, band in bands.items():
        value = found.value(name)
        if band.warn_low is not None and value < band.warn_low:
            remarks.append(Remark(name, said(name, value, "low", band.warn_low)))
        elif band.warn_high is not None and value > band.warn_high:
            remarks.append(Remark(name, said(name, value, "high", band.warn_high)))
    return remarks
