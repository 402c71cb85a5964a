"""A region on the part with an uneven, more or less soft outline: where other generators change a picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_train.synthesis.places import Mask

MAX_DRAWS = 50
ASPECT = 2.5
"""Most that a region is longer than wide."""
LEAST_EDGE_PX = 0.7


@dataclass(frozen=True)
class Region:
    place: tuple[slice, slice]
    """Rows and columns of the picture."""
    alpha: NDArray[np.float32]
    """(h, w) of the place: 0 outside, 1 well inside."""
    radius_px: float
    """Of the disk of about its area."""


def drawn_region(
    part: Mask, radius_px: tuple[float, float], rng: np.random.Generator, *, wobble: float = 0.5
) -> Region | None:
    """A region centred on the part, its radius even on a log scale; None when no drawn place is on the part."""
    centre = drawn_place(part, rng)
    if centre is None:
        return None
    radius = float(np.exp(rng.uniform(*np.log(radius_px))))
    longer = float(np.exp(rng.uniform(0, np.log(ASPECT)) / 2))
    reach = int(np.ceil(radius * longer * (1 + wobble))) + 2
    rows, columns = (
        slice(max(0, at - reach), min(side, at + reach + 1)) for at, side in zip(centre, part.shape, strict=True)
    )
    down = np.arange(rows.start, rows.stop, dtype=np.float32)[:, np.newaxis] - centre[0]
    right = np.arange(columns.start, columns.stop, dtype=np.float32)[np.newaxis] - centre[1]
    turn = rng.uniform(0, np.pi)
    along = (np.cos(turn) * right + np.sin(turn) * down) / (radius * longer)
    across = (np.cos(turn) * down - np.sin(turn) * right) / (radius / longer)
    distance = np.hypot(along, across)
    distance *= 1 + wobble * uneven(distance.shape, max(2.0, 0.7 * radius), rng)
    edge = rng.uniform(LEAST_EDGE_PX, max(LEAST_EDGE_PX, radius / 2)) / radius
    alpha = np.clip((1 - distance) / edge + 0.5, 0, 1).astype(np.float32)
    return Region((rows, columns), alpha, radius)


def drawn_place(part: Mask, rng: np.random.Generator) -> tuple[int, int] | None:
    """Row and column of a pixel on the part."""
    for y, x in (rng.random((MAX_DRAWS, 2)) * part.shape).astype(int):
        if part[y, x]:
            return int(y), int(x)
    return None


def uneven(shape: tuple[int, ...], grain_px: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """(h, w) smooth noise, about -1 to 1, whose hills are `grain_px` wide."""
    coarse = [int(np.ceil(side / grain_px)) + 2 for side in shape]
    hills = rng.uniform(-1, 1, coarse).astype(np.float32)
    wide = cv2.resize(hills, (round(coarse[1] * grain_px), round(coarse[0] * grain_px)), interpolation=cv2.INTER_CUBIC)
    top, left = (int(rng.integers(0, have - want + 1)) for have, want in zip(wide.shape, shape, strict=True))
    return np.asarray(wide[top : top + shape[0], left : left + shape[1]], dtype=np.float32)
