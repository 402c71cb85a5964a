"""Something that should be there is not, or not where it should be: filled in smoothly, moved, or turned about itself.

Ours: for the defects that patches of other places rarely show, such as a missing hole, chip or letter.
"""

from __future__ import annotations

import cv2
import numpy as np

from sad_train.pixels import Picture, with_channel_axis
from sad_train.synthesis.pasted import Pasted
from sad_train.synthesis.places import Mask
from sad_train.synthesis.poisson import poisson_blend
from sad_train.synthesis.region import Region, drawn_region

RADIUS = (0.025, 0.14)
"""As shares of the picture's side."""
MOVED = (0.4, 1.5)
"""How far, in radii."""
TURN_DEG = (20.0, 180.0)


def missing_part(picture: Picture, part: Mask, rng: np.random.Generator) -> Pasted | None:
    """`picture` (H, W, C) with one region gone, moved or turned; None when no place for it was found."""
    side = min(part.shape)
    region = drawn_region(part, (max(2.0, RADIUS[0] * side), RADIUS[1] * side), rng, wobble=0.15)
    if region is None:
        return None
    made = picture.copy()
    mask = np.zeros(part.shape, bool)
    inside = region.alpha > 0.5
    mask[region.place] = inside
    kind = rng.random()
    if kind < 0.3:
        _laid(made, region, _turned(picture[region.place], rng))
        return Pasted(made, mask)
    _laid(made, region, filled(picture[region.place], inside))
    if kind < 0.65:
        target = _moved_place(region, part.shape, rng)
        if target is None:
            return None
        _laid(made, Region(target, region.alpha, region.radius_px), picture[region.place])
        mask[target] |= inside
    return Pasted(made, mask)


def filled(here: Picture, inside: Mask) -> Picture:
    """(h, w, C) with nothing inside but what its surroundings lead to: as smooth as a soap film.

    The rim of the rectangle stays; other surroundings give way a little.
    """
    inner = inside.copy()
    inner[[0, -1]] = inner[:, [0, -1]] = False
    wide = np.asarray(cv2.dilate(inner.astype(np.uint8), np.ones((3, 3), np.uint8)), dtype=bool)
    return poisson_blend(here, np.full_like(here, 128), wide, mixed=False)


def _turned(here: Picture, rng: np.random.Generator) -> Picture:
    height, width = here.shape[:2]
    angle = float(rng.choice((-1, 1)) * rng.uniform(*TURN_DEG))
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    turned = cv2.warpAffine(here, matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
    return with_channel_axis(np.asarray(turned, dtype=np.uint8))


def _laid(picture: Picture, region: Region, over: Picture) -> None:
    here = picture[region.place]
    weight = region.alpha[..., np.newaxis]
    here[:] = np.rint(here + weight * (over.astype(np.float32) - here)).astype(np.uint8)


def _moved_place(region: Region, shape: tuple[int, ...], rng: np.random.Generator) -> tuple[slice, slice] | None:
    """Where the whole of the region's box is still in the picture."""
    for _ in range(10):
        angle, distance = rng.uniform(0, 2 * np.pi), region.radius_px * rng.uniform(*MOVED)
        by = (round(distance * np.sin(angle)), round(distance * np.cos(angle)))
        rows, columns = (
            slice(place.start + step, place.stop + step) for place, step in zip(region.place, by, strict=True)
        )
        if any(by) and min(rows.start, columns.start) >= 0 and rows.stop <= shape[0] and columns.stop <= shape[1]:
            return rows, columns
    return None
