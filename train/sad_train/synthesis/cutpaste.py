"""CutPaste: a rectangle of the picture, its colours shaken, pasted elsewhere into the same picture with a hard edge.

Source: Li, Sohn, Yoon, Pfister, "CutPaste: Self-Supervised Learning for Anomaly Detection and Localization", CVPR 2021,
section 2.2. There is no official code; the draw of the aspect ratio (either half of its range, then evenly in its
logarithm) is that of common re-implementations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sad_train.pixels import Picture
from sad_train.synthesis.colour_jitter import colour_jittered
from sad_train.synthesis.pasted import Pasted, first_that_shows


@dataclass(frozen=True)
class CutPasteRecipe:
    area: tuple[float, float]
    """Of the rectangle, as a share of the picture's. Paper: 0.02 to 0.15."""
    aspect: tuple[float, float]
    """Width to height. Paper: 0.3 to 1 or 1 to 3.3."""
    jitter: float
    """Strength of the colour jitter. Paper: 0.1."""


def cutpaste(picture: Picture, recipe: CutPasteRecipe, rng: np.random.Generator) -> Pasted | None:
    """`picture` (H, W, C) with one rectangle pasted; None when none of the draws shows."""
    return first_that_shows(picture, lambda: _drawn(picture, recipe, rng))


def _drawn(picture: Picture, recipe: CutPasteRecipe, rng: np.random.Generator) -> Pasted:
    height, width = picture.shape[:2]
    tall, wide = _drawn_size(height, width, recipe, rng)
    (top, to_top), (left, to_left) = (
        rng.integers(0, side - length + 1, 2) for side, length in ((height, tall), (width, wide))
    )
    patch = colour_jittered(picture[top : top + tall, left : left + wide], recipe.jitter, rng)
    place = (slice(to_top, to_top + tall), slice(to_left, to_left + wide))
    made, mask = picture.copy(), np.zeros((height, width), bool)
    made[place], mask[place] = patch, True
    return Pasted(made, mask)


def _drawn_size(height: int, width: int, recipe: CutPasteRecipe, rng: np.random.Generator) -> tuple[int, int]:
    area = rng.uniform(*recipe.area) * height * width
    least, most = recipe.aspect
    low, high = (least, 1.0) if rng.random() < 0.5 else (1.0, most)
    aspect = math.exp(rng.uniform(math.log(low), math.log(high)))
    tall, wide = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
    return min(height, max(1, tall)), min(width, max(1, wide))
