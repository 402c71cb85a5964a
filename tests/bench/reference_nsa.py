"""An NSA example as the authors' recipe makes it, written plainly: the peer that our generator is measured against.

After the description in Schlüter et al., ECCV 2022, and the order of steps in the authors' code
(hmsch/natural-synthetic-anomalies): `cv2.seamlessClone` for the blend, `skimage.filters.median` with a disk of radius 5
on float differences for the label, redraws one at a time. Takes our recipe, so that both make the same kind of example.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from skimage.filters import median
from skimage.morphology import disk

from sad_train.synthesis.nsa import NsaRecipe

GAMMA_SHAPE = 2.0
MAX_DRAWS = 200
MIN_MASK_PX = 50

Picture = NDArray[np.uint8]
Mask = NDArray[np.uint8]


def reference_example(
    destination: Picture, source: Picture, recipe: NsaRecipe, rng: np.random.Generator
) -> tuple[Picture, NDArray[np.float64]]:
    """(picture, logistic label) of one example; pictures (H, W, 3)."""
    here, there = part_of(destination, recipe), part_of(source, recipe)
    picture = destination.copy()
    touched = np.zeros(here.shape, np.uint8)
    for number in range(recipe.max_patches):
        if number == 0 or rng.integers(2):
            picture = with_patch(picture, source, here, there, touched, recipe, rng)
    return picture, logistic_label(destination, picture, touched, recipe)


def part_of(picture: Picture, recipe: NsaRecipe) -> Mask:
    if recipe.background is None:
        return np.ones(picture.shape[:2], np.uint8)
    far = np.abs(picture.mean(axis=2) - recipe.background.level) > recipe.background.tolerance
    return np.asarray(cv2.medianBlur(far.astype(np.uint8), 7), np.uint8)


def with_patch(
    picture: Picture,
    source: Picture,
    here: Mask,
    there: Mask,
    touched: Mask,
    recipe: NsaRecipe,
    rng: np.random.Generator,
) -> Picture:
    """`picture` with one more patch, marked in `touched`; as it was when no place was found in so many draws."""
    height, width = here.shape
    least, scale = recipe.sizes[rng.integers(len(recipe.sizes))]
    half = least + rng.gamma(GAMMA_SHAPE, scale, 2)
    tall = max(5, int(2 * np.clip(half[0], *recipe.half_height) * height))
    wide = max(5, int(2 * np.clip(half[1], *recipe.half_width) * width))
    for _ in range(MAX_DRAWS):
        y, x = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
        if there[y : y + tall, x : x + wide].mean() > recipe.min_object:
            break
    else:
        return picture
    factor = np.clip(rng.normal(1, 0.5), *recipe.resize)
    new_tall = int(np.clip(factor * tall, 5, min(2 * recipe.half_height[1] * height, height - 2)))
    new_wide = int(np.clip(factor * wide, 5, min(2 * recipe.half_width[1] * width, width - 2)))
    patch = np.asarray(cv2.resize(source[y : y + tall, x : x + wide], (new_wide, new_tall)), np.uint8)
    patch_part = np.asarray(cv2.resize(there[y : y + tall, x : x + wide], (new_wide, new_tall)), np.uint8)
    for _ in range(MAX_DRAWS):
        y, x = rng.integers(height - new_tall + 1), rng.integers(width - new_wide + 1)
        part = here[y : y + new_tall, x : x + new_wide]
        overlap = (part & patch_part).sum() / max(1, patch_part.sum())
        if part.mean() > recipe.min_object and overlap > recipe.min_overlap:
            break
    else:
        return picture
    changed = patch_part | part
    return cloned(picture, patch, changed, (y, x), touched, recipe)


def cloned(
    picture: Picture,
    patch: Picture,
    changed: Mask,
    place: tuple[int, int],
    touched: Mask,
    recipe: NsaRecipe,
) -> Picture:
    """The blend. Part and common background, which is all of the box, are in the mask; a rim of one pixel is not."""
    tall, wide = changed.shape
    mask = np.full(changed.shape, 255, np.uint8)
    mask[0] = mask[-1] = 0
    mask[:, 0] = mask[:, -1] = 0
    if (mask > 0).sum() < MIN_MASK_PX:
        return picture
    y, x = place
    touched[y : y + tall, x : x + wide] |= changed
    mode = cv2.MIXED_CLONE if recipe.gradients == "mixed" else cv2.NORMAL_CLONE
    return np.asarray(cv2.seamlessClone(patch, picture, mask, (x + wide // 2, y + tall // 2), mode), np.uint8)


def logistic_label(before: Picture, after: Picture, touched: Mask, recipe: NsaRecipe) -> NDArray[np.float64]:
    k, x0 = recipe.logistic
    mask = touched[..., np.newaxis]
    difference = np.abs(1.0 * mask * before - 1.0 * mask * after).mean(axis=2)
    support = cv2.medianBlur((difference > 1).astype(np.uint8), 5)
    difference = np.abs(support[..., np.newaxis] * before * 1.0 - support[..., np.newaxis] * after * 1.0).mean(axis=2)
    smooth = median(difference, disk(5))  # type: ignore[no-untyped-call]
    return np.asarray(support / (1 + np.exp(-k * (smooth - x0))), np.float64)
