"""CutPaste-Scar: a thin strip of the picture, its colours shaken, turned, and pasted elsewhere into the same picture.

Source: Li et al., CVPR 2021 (see cutpaste.py), section 2.2.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_train.pixels import Picture, with_channel_axis
from sad_train.synthesis.colour_jitter import colour_jittered
from sad_train.synthesis.pasted import Pasted, first_that_shows

LEAST_ALPHA = 0.5
"""Pixels that the strip covers by half count as pasted over."""


@dataclass(frozen=True)
class ScarRecipe:
    """Lengths in pixels of the picture that is scarred."""

    width_px: tuple[float, float]
    """Paper: 2 to 16 at 256."""
    length_px: tuple[float, float]
    """Paper: 10 to 25 at 256."""
    rotation_deg: float
    """Either way. Paper: 45."""
    jitter: float
    """Strength of the colour jitter. Paper: 0.1."""


def scar(picture: Picture, recipe: ScarRecipe, rng: np.random.Generator) -> Pasted | None:
    """`picture` (H, W, C) with one scar; None when none of the draws shows."""
    return first_that_shows(picture, lambda: _drawn(picture, recipe, rng))


def _drawn(picture: Picture, recipe: ScarRecipe, rng: np.random.Generator) -> Pasted:
    height, width = picture.shape[:2]
    wide = _pixels(rng.uniform(*recipe.width_px), width)
    tall = _pixels(rng.uniform(*recipe.length_px), height)
    top, left = int(rng.integers(0, height - tall + 1)), int(rng.integers(0, width - wide + 1))
    strip = colour_jittered(picture[top : top + tall, left : left + wide], recipe.jitter, rng)
    turned, alpha = _turned(strip, float(rng.uniform(-recipe.rotation_deg, recipe.rotation_deg)), (height, width))
    to_top = int(rng.integers(0, height - alpha.shape[0] + 1))
    to_left = int(rng.integers(0, width - alpha.shape[1] + 1))
    place = (slice(to_top, to_top + alpha.shape[0]), slice(to_left, to_left + alpha.shape[1]))
    made, mask = picture.copy(), np.zeros((height, width), bool)
    weight = alpha[..., np.newaxis]
    made[place] = np.rint(weight * turned + (1 - weight) * made[place]).astype(np.uint8)
    mask[place] = alpha >= LEAST_ALPHA
    return Pasted(made, mask)


def _pixels(length: float, side: int) -> int:
    return min(side, max(1, round(length)))


def _turned(strip: Picture, degrees: float, most: tuple[int, int]) -> tuple[Picture, NDArray[np.float32]]:
    """The strip turned about its middle, in the box that holds it, and how far it covers each pixel of the box."""
    tall, wide = strip.shape[:2]
    matrix = cv2.getRotationMatrix2D(((wide - 1) / 2, (tall - 1) / 2), degrees, 1.0)
    cosine, sine = abs(matrix[0, 0]), abs(matrix[0, 1])
    box_wide = min(most[1], int(np.ceil(wide * cosine + tall * sine)))
    box_tall = min(most[0], int(np.ceil(wide * sine + tall * cosine)))
    matrix[:, 2] += ((box_wide - wide) / 2, (box_tall - tall) / 2)
    box = (box_wide, box_tall)
    turned = cv2.warpAffine(strip, matrix, box, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(np.ones((tall, wide), np.float32), matrix, box, flags=cv2.INTER_LINEAR)
    return with_channel_axis(np.asarray(turned, dtype=np.uint8)), np.asarray(alpha, dtype=np.float32)
