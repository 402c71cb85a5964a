"""Spots: one to five small blobs of another colour, down to two pixels wide. Dirt, pinholes, splashes, sparks of light.

Ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sad_train.pixels import Picture
from sad_train.synthesis.pasted import Pasted
from sad_train.synthesis.places import Mask
from sad_train.synthesis.region import drawn_region

MOST = 5
LEAST_RADIUS_PX = 1.0
MOST_RADIUS = 0.035
"""As a share of the picture's side."""
CONTRAST = (18.0, 140.0)
"""Grey levels, even on a log scale. The lower end is nine times the strongest sensor noise of the presets."""
TINT = 0.35


def spot(picture: Picture, part: Mask, rng: np.random.Generator) -> Pasted | None:
    """`picture` (H, W, C) with spots on the part; None when no place for any was found."""
    made = picture.astype(np.float32)
    mask = np.zeros(part.shape, bool)
    radius = (LEAST_RADIUS_PX, max(1.5, MOST_RADIUS * min(part.shape)))
    for index in range(MOST):
        if index and rng.random() < 0.6:
            break
        region = drawn_region(part, radius, rng, wobble=0.3)
        if region is None:
            continue
        here = made[region.place]
        centre = (here.shape[0] // 2, here.shape[1] // 2)
        weight = region.alpha[..., np.newaxis] * np.float32(rng.uniform(0.4, 1.0))
        here += weight * (shade_of(here, centre, rng) - here)
        mask[region.place] |= region.alpha > 0.3
    return Pasted(np.clip(np.rint(made), 0, 255).astype(np.uint8), mask) if mask.any() else None


def shade_of(
    picture: NDArray[np.uint8] | NDArray[np.float32], place: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float32]:
    """(C,) a colour lighter or darker than that of the place, on whichever side there is room; sometimes tinted."""
    here = picture[place].astype(np.float32)
    contrast = float(np.exp(rng.uniform(*np.log(CONTRAST))))
    lighter = rng.random() < 0.5
    if float(here.mean()) + contrast > 255:
        lighter = False
    elif float(here.mean()) - contrast < 0:
        lighter = True
    tint = 1 + (rng.uniform(-TINT, TINT, here.shape) if rng.random() < 0.5 else 0)
    return np.asarray(np.clip(here + (contrast if lighter else -contrast) * tint, 0, 255), dtype=np.float32)
