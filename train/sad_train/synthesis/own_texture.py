"""Clouds of the part's own texture: a strongly changed copy of a good picture shows through an uneven mask.

After DRAEM (Zavrtanik et al., ICCV 2021), whose masks are thresholded Perlin noise and whose textures are others'
photographs, and MemSeg (Yang et al., 2022), which takes them from the good pictures too. Opacity is drawn as in DRAEM.
"""

from __future__ import annotations

import numpy as np

from sad_train.pixels import Picture
from sad_train.synthesis.hard_augmentation import hardened
from sad_train.synthesis.pasted import Pasted
from sad_train.synthesis.places import Mask
from sad_train.synthesis.region import drawn_region, uneven

RADIUS = (0.03, 0.25)
"""As shares of the picture's side."""
OPACITY = (0.15, 1.0)


def own_texture(picture: Picture, source: Picture, part: Mask, rng: np.random.Generator) -> Pasted | None:
    """`picture` with clouds of `source`, same shape (H, W, C); None when no place for them was found."""
    side = min(part.shape)
    region = drawn_region(part, (RADIUS[0] * side, RADIUS[1] * side), rng)
    if region is None:
        return None
    shape = region.alpha.shape
    grain = float(np.exp(rng.uniform(np.log(2.0), np.log(max(2.5, region.radius_px)))))
    clouds = region.alpha * (uneven(shape, grain, rng) > rng.uniform(-0.3, 0.2))
    changed = hardened(source, rng)
    top, left = (int(rng.integers(0, have - want + 1)) for have, want in zip(part.shape, shape, strict=True))
    texture = changed[top : top + shape[0], left : left + shape[1]].astype(np.float32)
    made = picture.copy()
    here = made[region.place]
    weight = (clouds * np.float32(rng.uniform(*OPACITY)))[..., np.newaxis]
    here[:] = np.rint(here + weight * (texture - here)).astype(np.uint8)
    mask = np.zeros(part.shape, bool)
    mask[region.place] = clouds > 0.3
    return Pasted(made, mask)
