"""Changes of what is there, within a region: bent, blurred, faded, stained or roughened. Dents, wear, smears, shine.

Ours. All but the bend leave the part's outlines where they are, which pasted patches never do.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_train.pixels import Picture, with_channel_axis
from sad_train.synthesis.pasted import Pasted
from sad_train.synthesis.places import Mask
from sad_train.synthesis.region import Region, drawn_region, uneven

RADIUS = (0.02, 0.2)
"""As shares of the picture's side."""
Planes = NDArray[np.float32]


def local_change(picture: Picture, part: Mask, rng: np.random.Generator) -> Pasted | None:
    """`picture` (H, W, C) with one region changed; None when no place for it was found."""
    side = min(part.shape)
    region = drawn_region(part, (RADIUS[0] * side, RADIUS[1] * side), rng)
    if region is None:
        return None
    change = CHANGES[int(rng.integers(len(CHANGES)))]
    made = picture.copy()
    here = made[region.place].astype(np.float32)
    changed = here + region.alpha[..., np.newaxis] * (change(here, region, rng) - here)
    made[region.place] = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
    mask = np.zeros(part.shape, bool)
    mask[region.place] = region.alpha > 0.2
    return Pasted(made, mask)


def _bent(here: Planes, region: Region, rng: np.random.Generator) -> Planes:
    """Pushed aside, pinched or swollen: every place looks a little way off, most in the region's middle."""
    height, width = here.shape[:2]
    down, right = (axis.astype(np.float32) for axis in np.mgrid[:height, :width])
    strength = region.radius_px * float(rng.uniform(0.25, 0.7)) * region.alpha
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        by = (strength * np.float32(np.sin(angle)), strength * np.float32(np.cos(angle)))
    else:
        sign = float(rng.choice((-0.8, 0.8)))
        by = tuple(
            strength * np.float32(sign) * (axis - side / 2) / max(side / 2, 1)
            for axis, side in ((down, height), (right, width))
        )
    bent = cv2.remap(here, right + by[1], down + by[0], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(with_channel_axis(bent), dtype=np.float32)  # type: ignore[arg-type]


def _blurred(here: Planes, region: Region, rng: np.random.Generator) -> Planes:
    sigma = float(rng.uniform(1.0, max(1.5, region.radius_px / 3)))
    return np.asarray(with_channel_axis(cv2.GaussianBlur(here, (0, 0), sigma)), dtype=np.float32)  # type: ignore[arg-type]


def _faded(here: Planes, region: Region, rng: np.random.Generator) -> Planes:
    """Towards its own mean: what is printed or structured pales."""
    mean = here.mean((0, 1))
    return np.asarray(mean + (here - mean) * np.float32(rng.uniform(0.0, 0.5)), dtype=np.float32)


def _stained(here: Planes, region: Region, rng: np.random.Generator) -> Planes:
    """Lighter or darker, with a tint; more than light may change over a whole part."""
    by = float(rng.choice((-1, 1)) * rng.uniform(0.15, 0.6))
    tint = rng.uniform(0.6, 1.4, here.shape[2])
    return np.asarray(here * (1 + by * tint), dtype=np.float32)


def _roughened(here: Planes, region: Region, rng: np.random.Generator) -> Planes:
    grain = float(rng.uniform(1.0, max(1.5, region.radius_px / 3)))
    rough = uneven(here.shape[:2], max(1.0, grain), rng) * np.float32(rng.uniform(15, 60))
    return np.asarray(here + rough[..., np.newaxis], dtype=np.float32)


CHANGES: tuple[Callable[[Planes, Region, np.random.Generator], Planes], ...] = (
    *(_bent, _blurred, _faded, _stained, _roughened),
)
