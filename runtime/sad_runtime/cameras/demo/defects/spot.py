"""Where on a part a defect lies, how large it is and which way it points.

Faces, edges and print are found on the part itself, so a new part needs no list of places.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sad_runtime.cameras.demo.defects.table import Defect
from sad_runtime.cameras.demo.surface import SUPER, Feature, Surface

SMALLEST_PX = 3.0
DARTS = 12
"""Random points thrown before one that misses the part is moved to its nearest place."""
ALIKE = 0.15
"""Features whose size differs by less than this (natural logarithm) are equally good choices."""


@dataclass(frozen=True)
class Spot:
    """Centre and size in picture pixels, direction in radians."""

    x: float
    y: float
    size_px: float
    angle: float
    feature: Feature | None = None


def spot_for(surface: Surface, defect: Defect, rng: np.random.Generator, defect_px: float | None, attempt: int) -> Spot:
    """Draws the spot; `defect_px` fixes its size. Later attempts take features less like that size."""
    side = len(surface.height)
    size = _size(defect, rng, side // SUPER) if defect_px is None else defect_px
    angle = rng.uniform(0, 2 * math.pi)
    if defect.place == "feature":
        return _feature(surface.features, rng, size, ALIKE * (1 + attempt))
    if defect.place == "edge":
        y, x = _pick(_edges(surface), rng, side)
        return Spot((x + 0.5) / SUPER, (y + 0.5) / SUPER, size, _outwards(surface, y, x))
    y, x = _pick(_print(surface) if defect.place == "print" else _face(surface), rng, side)
    return Spot((x + 0.5) / SUPER, (y + 0.5) / SUPER, size, angle)


def _size(defect: Defect, rng: np.random.Generator, size_px: int) -> float:
    scale = size_px / 256
    low = max(SMALLEST_PX, defect.smallest_px * scale)
    high = max(low, defect.largest_px * scale)
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _feature(features: list[Feature], rng: np.random.Generator, size: float, alike_by: float) -> Spot:
    """One of the features that come nearest to the size asked for."""
    off = [abs(math.log(feature.span_px / size)) for feature in features]
    alike = [feature for feature, miss in zip(features, off, strict=True) if miss <= min(off) + alike_by]
    chosen = alike[int(rng.integers(len(alike)))]
    window = chosen.window
    x, y = (window.left + window.right) / 2, (window.top + window.bottom) / 2
    return Spot(x, y, chosen.span_px, 0.0, chosen)


def _face(surface: Surface) -> NDArray[np.intp]:
    """(N, 2) rows and columns on the part; every second of each is enough to choose from."""
    return 2 * np.argwhere(surface.cover[::2, ::2] > 0.95)


def _print(surface: Surface) -> NDArray[np.intp]:
    """(N, 2) rows and columns on print. In a small picture its strokes are thinner than a pixel, so pale."""
    return np.argwhere(surface.ink > 0.5 * surface.ink.max())


def _edges(surface: Surface) -> NDArray[np.intp]:
    """(N, 2) rows and columns where the part ends, away from the picture's border."""
    on = surface.cover[2:-2:2, 2:-2:2] > 0.5
    ends = (on[1:, 1:] != on[:-1, 1:]) | (on[1:, 1:] != on[1:, :-1])
    return 2 * np.argwhere(ends) + 4


def _outwards(surface: Surface, y: int, x: int) -> float:
    """The direction away from the part's material, from where it lies around an edge pixel."""
    near = surface.cover[y - 4 : y + 5, x - 4 : x + 5]
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in near.shape)
    return math.atan2(-float(rows @ near.sum(axis=1)), -float(columns @ near.sum(axis=0)))


def _pick(places: NDArray[np.intp], rng: np.random.Generator, side: int) -> tuple[int, int]:
    """The place nearest to a random point. Counting places would make one rounded pixel move every defect."""
    for _ in range(DARTS):
        dart = rng.uniform(0, side, 2)
        apart = np.square(places - dart).sum(axis=1)
        nearest = int(np.argmin(apart))
        if apart[nearest] <= 4:
            break
    y, x = places[nearest]
    return int(y), int(x)
