"""What can be said of a picture before any model looks at it. Pure functions of the picture as the graph takes it.

Each is meant to move with one fault and to stay put under the others and under a defect: focus does not know how bright
it is, colour is a median over the picture and not its mean, position is against a reference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_runtime.preprocess import Picture
from sad_runtime.scene.limits import Measure
from sad_runtime.scene.position import Reference, Shift, grey, small

DARK = 8
"""Grey levels up to this one are dark."""
BRIGHT = 250
"""Grey levels from this one on are saturated."""
FINE_PX, COARSE_PX = 2, 16
"""Differences over 2 px against those over 16 px. Over 1 px sensor noise says more than the lens does, and over 8 px a
strong blur looks like a mild one: measured on eight sets with noise of 1.5 grey levels."""
THINNED = 64
"""Rows or columns that are enough for shares and for equal lines."""
BLOCKS = 16
TINT_OFFSET = 4.0
"""Grey levels added, so that black pixels have no colour of their own."""
LEVELS = np.arange(256, dtype=np.float64)
NO_SHIFT = Shift(0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Measures:
    """Grey levels are 0 to 255, shares 0 to 1."""

    brightness: float
    """Mean grey level over pixels and channels."""
    highlights: float
    """The grey level that 1 % of the values exceed: low where the lamp is off, whatever the part is."""
    dark: float
    """Share of the values up to 8."""
    saturated: float
    """Share of the values from 250 on."""
    contrast: float
    """Standard deviation of the grey levels."""
    focus: float
    """Fine detail over coarse, from 0 (none) to about 1: root of the ratio of mean squared differences."""
    blue: float
    """Blue over green, the median of 16 x 16 blocks; 1 for a grey picture."""
    red: float
    shift: float
    """How far the scene lies from the reference, in model pixels; 0 without one."""
    likeness: float
    """Correlation with the reference there, 0 to 1; 1 without one."""
    repeated: float
    """Longest run of rows (or columns) that are the same as the one before, as a share of the picture. An incomplete
    transfer leaves such a block; sensor noise never does."""

    def value(self, measure: Measure) -> float:
        return float(getattr(self, measure))


def measured(picture: Picture, reference: Reference | None = None) -> Measures:
    """`picture` (H, W) or (H, W, C) uint8 at model size, C 1 or 3 (BGR). Takes 0.35 ms at 256x256x3."""
    height, width = picture.shape[:2]
    plane = grey(picture)
    counts = histogram(picture)
    brightness, contrast = mean_and_spread(counts)
    blue, red = tint(picture)
    shift = reference.shift_of(small(plane), height, width) if reference is not None else NO_SHIFT
    return Measures(
        brightness=brightness,
        highlights=level_below(counts, 0.99),
        dark=float(counts[: DARK + 1].sum()),
        saturated=float(counts[BRIGHT:].sum()),
        contrast=contrast,
        focus=focus(plane),
        blue=blue,
        red=red,
        shift=shift.length_px,
        likeness=shift.likeness,
        repeated=max(repeated(plane), repeated(plane.T)),
    )


def histogram(picture: Picture) -> NDArray[np.float64]:
    """(256,) shares over the channels of about 64 rows: a red at its end is saturated, whatever green says."""
    rows = picture[:: _step(picture.shape[0], THINNED)]
    flat = np.ascontiguousarray(rows).reshape(rows.shape[0], -1)
    counts = cv2.calcHist([flat], [0], None, [256], [0, 256]).reshape(256).astype(np.float64)
    return np.asarray(counts / flat.size, dtype=np.float64)


def _step(length: int, wanted: int) -> int:
    """Every how many of `length` to take, so that about `wanted` remain."""
    return max(1, length // wanted)


def mean_and_spread(counts: NDArray[np.float64]) -> tuple[float, float]:
    mean = float(counts @ LEVELS)
    return mean, math.sqrt(max(0.0, float(counts @ (LEVELS - mean) ** 2)))


def level_below(counts: NDArray[np.float64], share: float) -> float:
    """The grey level up to which `share` of the values lie."""
    return float(np.searchsorted(np.cumsum(counts), share - 1e-9))


def focus(plane: Picture) -> float:
    """`plane` (H, W). Light and contrast cancel; blur takes the fine differences first. 0 for a flat picture."""
    coarse = _differences(plane, min(COARSE_PX, min(plane.shape) // 2))
    return math.sqrt(_differences(plane, FINE_PX) / coarse) if coarse else 0.0


def _differences(plane: Picture, step_px: int) -> float:
    """Mean squared difference of pixels so far apart, down plus across."""
    down = cv2.norm(plane[step_px:], plane[:-step_px], cv2.NORM_L2SQR) / plane[step_px:].size
    across = cv2.norm(plane[:, step_px:], plane[:, :-step_px], cv2.NORM_L2SQR) / plane[:, step_px:].size
    return float(down + across)


def tint(picture: Picture) -> tuple[float, float]:
    """(blue, red) over green: medians over blocks. A coloured stain moves few of them, a lamp that ages moves all.

    Saturated blocks have lost their colour, and count only where they are most of the picture.
    """
    if picture.ndim == 2 or picture.shape[2] == 1:
        return 1.0, 1.0
    down, across = (_step(side, 4 * BLOCKS) for side in picture.shape[:2])
    thinned = np.ascontiguousarray(picture[::down, ::across])
    blocks = cv2.resize(thinned, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA).reshape(-1, 3)
    coloured = blocks[blocks.max(axis=1) < BRIGHT]
    chosen = (coloured if 2 * len(coloured) >= len(blocks) else blocks).astype(np.float32) + TINT_OFFSET
    middle = len(chosen) // 2
    blue, red = (float(np.partition(chosen[:, end] / chosen[:, 1], middle)[middle]) for end in (0, 2))
    return blue, red


def repeated(plane: Picture) -> float:
    """`plane` (H, W): the longest run of rows equal to the one before, as a share of H.

    White rows do not count: a saturated background is no sign of anything, and `saturated` has an eye on it.
    """
    thin = np.ascontiguousarray(plane[:, :: _step(plane.shape[1], THINNED)])
    same = (thin[1:] == thin[:-1]).all(axis=1)
    if not same.any():
        return 0.0
    same &= (thin[1:] < BRIGHT).any(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], same.astype(np.int8), [0]))))
    return float((edges[1::2] - edges[::2]).max() + 1) / plane.shape[0] if len(edges) else 0.0
