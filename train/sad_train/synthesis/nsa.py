"""Natural Synthetic Anomalies: patches of another good picture, Poisson-blended in.

Source: Schlüter, Tan, Hou, Kainz, "Natural Synthetic Anomalies for Self-supervised Anomaly Detection and Localization",
ECCV 2022, section 3; constants after the authors' code (hmsch/natural-synthetic-anomalies, MIT). Step by step:
gamma-distributed half-sizes, a source place that holds enough of the part, a resize, a destination place that overlaps
the part enough, the mask of part pixels, the blend, the label. Places are drawn again up to 200 times; a patch that
finds none is dropped and counted, and an example without any patch says so instead of posing as an anomaly.

nsa_batched.py makes the same on a GPU, a batch at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_train.config import GradientMode, LabelMode
from sad_train.pixels import Picture, with_channel_axis
from sad_train.synthesis.ellipses import ellipse_mask
from sad_train.synthesis.foreground import Background, foreground
from sad_train.synthesis.labels import anomaly_label
from sad_train.synthesis.places import Box, Mask, destination_place, source_place
from sad_train.synthesis.poisson import poisson_blend

GAMMA_SHAPE = 2.0
RIM_PX = 4
"""Kept to the destination's gradients along a patch's edge: `cv2.seamlessClone`, which the paper uses, erodes so.
Patches smaller than the paper's keep a quarter of their side, so that something of them is left."""
SMALLEST_PX = 5


@dataclass(frozen=True)
class NsaRecipe:
    """The constants of NSA for one part. Lengths are shares of the picture's side."""

    label: LabelMode
    gradients: GradientMode
    """Of the Poisson blend; `swap` pastes without blending, the paper's ablation."""
    max_patches: int
    sizes: tuple[tuple[float, float], ...]
    """(least, scale) of half-sizes, least + Gamma(2, scale); a patch draws one of the pairs. Paper: (0.03, 0.05)."""
    half_height: tuple[float, float]
    half_width: tuple[float, float]
    resize: tuple[float, float]
    background: Background | None
    min_object: float
    min_overlap: float
    min_changed_px: int
    """A patch that changes fewer pixels of the part is not made."""
    logistic: tuple[float, float]
    shape: Literal["box", "ellipses"] = "box"
    min_object_of: Literal["source", "destination"] = "destination"
    """Whose part must fill `min_object` of a destination. The authors ask the patch's own, so that a patch may lie
    mostly on the background as long as it overlaps the part; the stricter one keeps patches on the part."""


@dataclass(frozen=True)
class Anomaly:
    picture: Picture
    label: NDArray[np.float32]
    """(H, W) 0..1; all 0 when `patches` is 0."""
    patches: int
    dropped: int
    """Patches for which no legal place was found."""

    @property
    def shows(self) -> bool:
        """Whether anything was changed that counts: there may be no patch, or one that changed nothing."""
        return bool(self.label.any())


def nsa_anomaly(destination: Picture, source: Picture, recipe: NsaRecipe, rng: np.random.Generator) -> Anomaly:
    """One example: `destination` (H, W, C) with one to `max_patches` patches of `source`, same shape."""
    part = foreground(destination, recipe.background)
    source_part = foreground(source, recipe.background)
    picture = destination.copy()
    touched = np.zeros(part.shape, bool)
    boxes: list[Box] = []
    dropped = 0
    for index in range(recipe.max_patches):
        if index and rng.random() < 0.5:
            continue
        blended = _blend_patch(picture, source, part, source_part, recipe, rng)
        if blended is None:
            dropped += 1
            continue
        box, changed = blended
        boxes.append(box)
        touched[box.slices] |= changed
    return Anomaly(picture, _label(destination, picture, touched, boxes, recipe), len(boxes), dropped)


def _blend_patch(
    picture: Picture, source: Picture, part: Mask, source_part: Mask, recipe: NsaRecipe, rng: np.random.Generator
) -> tuple[Box, Mask] | None:
    """Changes `picture` in place; returns where and which pixels count, or None when no legal place was found.

    What counts as changed is the part in either picture, within the outline. The blend covers that and the background
    that both have in common, but for a rim, so that no edge is drawn along the part's outline.
    """
    height, width = part.shape
    outline = _outline(_drawn_size(height, width, recipe, rng), recipe, (height, width), rng)
    cut = source_place(source_part, outline, recipe.min_object, rng)
    if cut is None:
        return None
    patch, inside, patch_part = _resized(
        source[cut.slices], outline, source_part[cut.slices] & outline, recipe, part.shape, rng
    )
    place = _destination(part, inside, patch_part, recipe, rng)
    if place is None:
        return None
    either = patch_part | part[place.slices]
    changed = either & inside
    if np.count_nonzero(changed) < recipe.min_changed_px:
        return None
    here = picture[place.slices]
    if recipe.gradients == "swap":
        here[changed] = patch[changed]
    else:
        blended = _all_but_rim(changed.shape) & (inside | ~either)
        here[:] = poisson_blend(here, patch, blended, mixed=recipe.gradients == "mixed")
    return place, changed


def _destination(part: Mask, inside: Mask, patch_part: Mask, recipe: NsaRecipe, rng: np.random.Generator) -> Box | None:
    if recipe.min_object_of == "destination":
        return destination_place(part, patch_part, recipe.min_object, recipe.min_overlap, rng)
    if np.count_nonzero(patch_part) <= recipe.min_object * np.count_nonzero(inside):
        return None
    return destination_place(part, patch_part, None, recipe.min_overlap, rng)


def _drawn_size(height: int, width: int, recipe: NsaRecipe, rng: np.random.Generator) -> tuple[int, int]:
    """Height and width of a patch in pixels: twice the gamma-distributed half-sizes, within the bounds."""
    least, scale = recipe.sizes[int(rng.integers(len(recipe.sizes)))]
    half = least + rng.gamma(GAMMA_SHAPE, scale, size=2)
    tall = _within(float(half[0]), recipe.half_height) * height
    wide = _within(float(half[1]), recipe.half_width) * width
    return _side(2 * tall, height), _side(2 * wide, width)


def _within(value: float, bounds: tuple[float, float]) -> float:
    return min(max(value, bounds[0]), bounds[1])


def _side(wanted: float, of: int) -> int:
    """Whole pixels, enough to show anything, and one short of the picture's border on both sides."""
    return max(SMALLEST_PX, min(of - 2, round(wanted)))


def _outline(size: tuple[int, int], recipe: NsaRecipe, picture_size: tuple[int, int], rng: np.random.Generator) -> Mask:
    if recipe.shape == "box":
        return np.ones(size, bool)
    least_px = (recipe.half_height[0] * picture_size[0], recipe.half_width[0] * picture_size[1])
    return ellipse_mask(size, least_px, rng)


def _resized(
    patch: Picture,
    outline: Mask,
    patch_part: Mask,
    recipe: NsaRecipe,
    picture_size: tuple[int, ...],
    rng: np.random.Generator,
) -> tuple[Picture, Mask, Mask]:
    """The patch at clip(N(1, 0.5), resize bounds) times its size, aspect kept, within the bounds; its masks too."""
    factor = _within(float(rng.normal(1.0, 0.5)), recipe.resize)
    bounds = [
        (2 * low * side / length, 2 * high * side / length)
        for (low, high), side, length in zip(
            (recipe.half_height, recipe.half_width), picture_size, outline.shape, strict=True
        )
    ]
    factor = min(max(factor, *(low for low, _ in bounds)), *(high for _, high in bounds))
    height, width = (_side(length * factor, side) for length, side in zip(outline.shape, picture_size, strict=True))
    if (height, width) == outline.shape:
        return patch, outline, patch_part
    resized = with_channel_axis(np.asarray(cv2.resize(patch, (width, height)), dtype=np.uint8))
    return resized, _resized_mask(outline, (height, width)), _resized_mask(patch_part, (height, width))


def _resized_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    resized = cv2.resize(mask.view(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized).view(np.bool_)


def _all_but_rim(shape: tuple[int, ...]) -> Mask:
    mask = np.zeros(shape, bool)
    down, right = (min(RIM_PX, max(1, side // 4)) for side in shape)
    mask[down:-down, right:-right] = True
    return mask


def _label(before: Picture, after: Picture, touched: Mask, boxes: list[Box], recipe: NsaRecipe) -> NDArray[np.float32]:
    """The label, worked out in each patch's box for its size; where patches overlap, the higher."""
    label = np.zeros(touched.shape, np.float32)
    for box in boxes:
        here, patch_px = box.slices, min(box.height, box.width)
        of_patch = anomaly_label(
            before[here], after[here], touched[here], recipe.label, recipe.logistic, patch_px=patch_px
        )
        np.maximum(label[here], of_patch, out=label[here])
    return label
