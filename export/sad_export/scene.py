"""Learns what a station may see before the model is asked: limits per measure from the run's good pictures.

A limit stands outside the good pictures' 2 and 98 % quantiles by a multiple of their robust spread, and never nearer to
their median than a floor: light ages, lenses are touched, and a set taken in one minute knows nothing of that.
Where the good pictures themselves lie all over, or where a fault would not show, there is no limit.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sad_export.spoiling import SPOILT, blurred, shifted
from sad_runtime.backends.base import Backend
from sad_runtime.scene.embedding import Embeddings
from sad_runtime.scene.guard import SceneGuard
from sad_runtime.scene.limits import Band, Measure, SceneLimits
from sad_runtime.scene.measures import Measures, measured
from sad_runtime.scene.position import Reference, thumbnail_of

FILE = "scene.npz"
MOST = 1000
"""Good pictures that are looked at, evenly over the set."""
PROBED = 24
"""Good pictures that are spoiled on purpose, to see whether a limit notices it."""
NOTICED = 0.8
"""The share of spoiled pictures that a limit has to notice to be worth having."""
WARN_SPREADS, FAULT_SPREADS = 3.0, 6.0
UNLIKE = 0.25
"""A limit for the likeness below this one is none: what texture has in common with texture."""


@dataclass(frozen=True)
class Floor:
    """How near to the median limits may stand: on a ratio scale as a factor (0.1: 10 % up or down), else as it is."""

    scale: Literal["ratio", "plain"]
    warn: float
    fault: float
    sides: Literal["low", "high", "both"] = "both"


FLOORS: Mapping[Measure, Floor] = {
    "brightness": Floor("ratio", 0.12, 0.28),
    "highlights": Floor("ratio", 0.20, 0.50, "low"),
    "dark": Floor("plain", 0.08, 0.20, "high"),
    "saturated": Floor("plain", 0.08, 0.25, "high"),
    "contrast": Floor("ratio", 0.35, 0.90),
    "focus": Floor("ratio", 0.10, 0.18, "low"),
    "blue": Floor("ratio", 0.05, 0.10),
    "red": Floor("ratio", 0.05, 0.10),
    "shift": Floor("plain", 1 / 100, 1 / 60, "high"),
    "likeness": Floor("plain", 0.25, 0.50, "low"),
    "repeated": Floor("plain", 0.05, 0.12, "high"),
}
"""Of `shift` as shares of the picture's shorter side."""


@dataclass(frozen=True)
class Learnt:
    """What goes into the manifest and beside it."""

    limits: SceneLimits
    reference: Reference
    left_out: Mapping[Measure, str]
    """Measures without a limit, and why."""
    ranges: Mapping[Measure, tuple[float, float]]
    """The lowest and highest value of the good pictures."""
    noticed: Mapping[str, float]
    """Share of spoiled good pictures that were INVALID, by what was done to them."""
    embeddings: Mapping[str, Embeddings]
    """By precision."""

    def to_npz(self) -> bytes:
        arrays: dict[str, NDArray[np.generic]] = {"reference": self.reference.thumbnail}
        for precision, one in self.embeddings.items():
            arrays[f"{precision}_embedding_mean"] = one.mean
            arrays[f"{precision}_embedding_spread"] = one.spread
            arrays[f"{precision}_embedding_count"] = np.array(one.count)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()


def learnt(goods: NDArray[np.uint8], embeddings: Mapping[str, Embeddings] | None = None) -> Learnt:
    """`goods` (n, H, W, C) uint8 at model size, n at least 1."""
    chosen = goods[:: -(-len(goods) // MOST)]
    side_px = min(goods.shape[1:3])
    reference = Reference(_mean_thumbnail(chosen))
    found = [measured(good, reference) for good in chosen]
    values = {name: np.array([one.value(name) for one in found]) for name in FLOORS}
    bands = {name: _band(name, values[name], side_px) for name in FLOORS if _exists(name, goods)}
    alike = max(0.0, bands["likeness"].low or 0.0)
    probed = chosen[:: -(-len(chosen) // PROBED)]
    left_out = _left_out(probed, reference, bands, alike)
    limits = SceneLimits(
        pictures=len(chosen),
        bands={name: band for name, band in bands.items() if name not in left_out},
        least_likeness=alike,
        file=FILE,
    )
    return Learnt(
        limits=limits,
        reference=reference,
        left_out=left_out,
        ranges={name: (float(array.min()), float(array.max())) for name, array in values.items()},
        noticed=_noticed(probed, SceneGuard(limits, reference)),
        embeddings=embeddings or {},
    )


def embeddings_of(backend: Backend, goods: NDArray[np.uint8]) -> Embeddings:
    """What an opened `backend` says of good pictures that were not learnt from, at most 256 of them."""
    chosen = goods[:: -(-len(goods) // 256)]
    return Embeddings.of(np.stack([backend.infer(good[np.newaxis]).embedding[0] for good in chosen]))


def _exists(measure: Measure, goods: NDArray[np.uint8]) -> bool:
    return goods.shape[3] == 3 or measure not in ("blue", "red")


def _mean_thumbnail(goods: NDArray[np.uint8]) -> NDArray[np.uint8]:
    total = np.zeros((64, 64), np.float64)
    for good in goods:
        total += thumbnail_of(good)
    return np.asarray(np.round(total / len(goods)), dtype=np.uint8)


# -- one measure


def _band(measure: Measure, values: NDArray[np.float64], side_px: int) -> Band:
    floor = FLOORS[measure]
    usual = float(np.median(values))
    unit = side_px if measure == "shift" else 1
    ratio = floor.scale == "ratio"
    scaled = np.log(np.maximum(values, 1e-6)) if ratio else values
    warn, fault = (
        (math.log1p(floor.warn), math.log1p(floor.fault)) if ratio else (floor.warn * unit, floor.fault * unit)
    )
    middle, spread = float(np.median(scaled)), _spread(scaled)
    least, most = (float(value) for value in np.quantile(scaled, (0.02, 0.98)))
    back: Callable[[float], float] = math.exp if ratio else float
    limits: dict[str, float] = {}
    if floor.sides != "high":
        warn_at = min(least - WARN_SPREADS * spread, middle - warn)
        limits |= {
            "warn_low": back(warn_at),
            "low": back(min(least - FAULT_SPREADS * spread, warn_at - (fault - warn))),
        }
    if floor.sides != "low":
        warn_at = max(most + WARN_SPREADS * spread, middle + warn)
        limits |= {
            "warn_high": back(warn_at),
            "high": back(max(most + FAULT_SPREADS * spread, warn_at + (fault - warn))),
        }
    return Band(usual=float(f"{usual:.6g}"), **{name: float(f"{value:.6g}") for name, value in limits.items()})


def _spread(values: NDArray[np.float64]) -> float:
    """A standard deviation that outliers do not move, widened by twice its own standard error."""
    middle = float(np.median(values))
    low, high = np.quantile(values, (0.1, 0.9))
    robust = max(1.4826 * float(np.median(np.abs(values - middle))), float(high - low) / 2.563)
    return robust * (1 + 2 / math.sqrt(2 * len(values)))


# -- what a limit is worth


def _left_out(
    goods: NDArray[np.uint8], reference: Reference, bands: Mapping[Measure, Band], alike: float
) -> dict[Measure, str]:
    """Limits that would notice nothing, found out by spoiling good pictures."""
    left_out: dict[Measure, str] = {}
    side_px = min(goods.shape[1:3])
    strong = [measured(blurred(good, side_px / 64)) for good in goods]
    if _share(strong, lambda one: one.focus < (bands["focus"].low or 0)) < NOTICED:
        left_out["focus"] = "a strong blur hardly shows on these parts"
    if alike < UNLIKE:
        left_out["shift"] = left_out["likeness"] = "good parts have too little shape in common"
        return left_out
    limit = bands["shift"].high or 0
    moved = [measured(shifted(good, side_px / 10), reference) for good in goods]
    if _share(moved, lambda one: one.shift > limit and one.likeness >= alike) < NOTICED:
        left_out["shift"] = "good parts lie all over the picture"
    return left_out


def _share(found: Sequence[Measures], true: Callable[[Measures], bool]) -> float:
    return sum(map(true, found)) / len(found)


def _noticed(goods: NDArray[np.uint8], guard: SceneGuard) -> dict[str, float]:
    side_px = min(goods.shape[1:3])
    return {
        name: sum(guard.look(spoil(good, side_px)).fault is not None for good in goods) / len(goods)
        for name, spoil in SPOILT.items()
        if goods.shape[3] == 3 or name != "colour cast of 15 %"
    }
