"""The limits that a bundle carries for its scene, learnt by sad_export, and those for a bundle without any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from sad_runtime.schema import Strict

Measure = Literal[
    "brightness", "highlights", "dark", "saturated", "contrast", "focus", "blue", "red", "shift", "likeness", "repeated"
]
"""Fields of measures.Measures, which says what they are."""


class Band(Strict):
    """One measure. Outside `low` and `high` no verdict is given; outside the warn limits somebody should look.

    A limit that is None does not exist. `usual` is the good pictures' median, for people.
    """

    low: float | None = None
    warn_low: float | None = None
    warn_high: float | None = None
    high: float | None = None
    usual: float | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Band:
        given = [value for value in (self.low, self.warn_low, self.warn_high, self.high) if value is not None]
        if given != sorted(given):
            raise ValueError("low, warn_low, warn_high and high must rise in this order")
        return self


class SceneLimits(Strict):
    pictures: int = Field(ge=0)
    """How many good pictures they were learnt from."""
    bands: dict[Measure, Band] = {}
    """A measure that is not here is not judged: the good pictures vary in it too much, or it would notice nothing."""
    least_likeness: float = Field(default=0.0, ge=0, le=1)
    """The shift counts only on a picture that looks so much like the reference."""
    file: str | None = None
    """In the bundle: the reference, and what embeddings of good pictures look like."""


FIXED = SceneLimits(
    pictures=0,
    bands={
        "brightness": Band(low=3.0),
        "highlights": Band(low=12.0),
        "saturated": Band(high=0.95),
        "repeated": Band(high=0.4),
    },
)
"""For bundles without learnt limits: what no line's good picture looks like."""


def with_overrides(
    limits: SceneLimits, overrides: Mapping[Measure, tuple[float | None, float | None] | None]
) -> SceneLimits:
    """`overrides`: [low, high] in place of the fault limits, None for a measure that is not judged.

    Warn limits stay where they fit inside.
    """
    bands = {name: band for name, band in limits.bands.items() if name not in overrides}
    for name, given in overrides.items():
        if given is not None:
            bands[name] = _moved(limits.bands.get(name, Band()), *given)
    return limits.model_copy(update={"bands": bands})


def _moved(band: Band, low: float | None, high: float | None) -> Band:
    def inside(value: float | None) -> float | None:
        fits = value is not None and (low is None or value >= low) and (high is None or value <= high)
        return value if fits else None

    return Band(low=low, warn_low=inside(band.warn_low), warn_high=inside(band.warn_high), high=high, usual=band.usual)
