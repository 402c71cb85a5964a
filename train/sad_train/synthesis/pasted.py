"""A picture that something was pasted into, and whether the paste can be seen at all.

A piece of plain background pasted on plain background changes nothing: called anomalous it would teach a classifier to
guess. Generators draw again until the paste shows, and say so when it never does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sad_train.pixels import Picture

MAX_DRAWS = 20
VISIBLE = 6.0
"""Grey levels that a pixel must change by to count: three times the strongest sensor noise of the fast presets."""
LEAST_SHARE = 0.1
"""Of the pasted pixels, so many must count."""


@dataclass(frozen=True)
class Pasted:
    picture: Picture
    mask: NDArray[np.bool_]
    """(H, W): the pixels that were pasted over."""

    def shows(self, before: Picture) -> bool:
        """Whether enough of the pasted pixels differ visibly from `before`, in any channel."""
        there = before[self.mask].astype(np.float32)
        change = np.abs(self.picture[self.mask].astype(np.float32) - there).max(axis=1, initial=0.0)
        return bool(change.size) and float((change > VISIBLE).mean()) >= LEAST_SHARE


def first_that_shows(picture: Picture, draw: Callable[[], Pasted]) -> Pasted | None:
    """Draws up to MAX_DRAWS times; None when none of them shows on `picture`."""
    for _ in range(MAX_DRAWS):
        pasted = draw()
        if pasted.shows(picture):
            return pasted
    return None
