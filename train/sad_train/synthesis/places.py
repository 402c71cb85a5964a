"""Where in a picture a patch may come from or go to: boxes drawn until one holds enough of the part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_DRAWS = 200
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Box:
    y: int
    x: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


def source_place(part: Mask, outline: Mask, min_object: float, rng: np.random.Generator) -> Box | None:
    """A box of `outline`'s size (h, w) in which the part (H, W) fills more than `min_object` of the outline."""
    enough = min_object * np.count_nonzero(outline)
    for box in _draws(part.shape, outline.shape, rng):
        if np.count_nonzero(part[box.slices] & outline) > enough:
            return box
    return None


def destination_place(
    part: Mask, patch_part: Mask, min_object: float | None, min_overlap: float, rng: np.random.Generator
) -> Box | None:
    """A box of the patch's size in which the part covers more than `min_overlap` of the patch's own part.

    And fills more than `min_object` of it, unless that is None.
    """
    enough = -1.0 if min_object is None else min_object * patch_part.size
    overlap = min_overlap * np.count_nonzero(patch_part)
    for box in _draws(part.shape, patch_part.shape, rng):
        here = part[box.slices]
        if np.count_nonzero(here) > enough and np.count_nonzero(here & patch_part) > overlap:
            return box
    return None


def _draws(shape: tuple[int, ...], size: tuple[int, ...], rng: np.random.Generator) -> Iterator[Box]:
    """MAX_DRAWS boxes of one size anywhere in the picture."""
    room = shape[0] - size[0] + 1, shape[1] - size[1] + 1
    corners = (rng.random((MAX_DRAWS, 2)) * room).astype(int)
    return (Box(int(y), int(x), size[0], size[1]) for y, x in corners)
