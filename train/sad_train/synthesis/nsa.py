"""Natural Synthetic Anomalies: patches of another good picture, Poisson-blended in.

Source: Schlüter, Tan, Hou, Kainz, "Natural Synthetic Anomalies for Self-supervised Anomaly Detection and Localization",
ECCV 2022, section 3; constants after the authors' code (hmsch/natural-synthetic-anomalies, MIT). Step by step:
gamma-distributed half-sizes, a source place that holds enough of the part, a resize, a destination place that overlaps
the part enough, the mask of part pixels, the blend, the label. Places are drawn again up to 200 times; a patch that
finds none is dropped and counted, and an example without any patch says so instead of posing as an anomaly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_train.pixels import Picture, with_channel_axis
from sad_train.synthesis.foreground import Background, foreground
from sad_train.synthesis.labels import anomaly_label
from sad_train.synthesis.poisson import poisson_blend

MAX_DRAWS = 200
GAMMA_SHAPE = 2.0
RIM_PX = 4
"""Kept to the destination's gradients along a patch's edge: `cv2.seamlessClone`, which the paper uses, erodes so.
Patches smaller than the paper's keep a quarter of their side, so that something of them is left."""
SMALLEST_PX = 5
MARGIN_PX = 8
"""Room around a patch that labels are computed in: more than the reach of their medians."""


@dataclass(frozen=True)
class NsaRecipe:
    """The constants of NSA for one part. Lengths are shares of the picture's side."""

    label: Literal["binary", "continuous", "logistic"]
    mixed: bool
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


@dataclass(frozen=True)
class Anomaly:
    picture: Picture
    label: NDArray[np.float32]
    """(H, W) 0..1; all 0 when `patches` is 0."""
    patches: int
    dropped: int
    """Patches for which no legal place was found."""


@dataclass(frozen=True)
class _Box:
    y: int
    x: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)


def nsa_anomaly(destination: Picture, source: Picture, recipe: NsaRecipe, rng: np.random.Generator) -> Anomaly:
    """One example: `destination` (H, W, C) with one to `max_patches` patches of `source`, same shape."""
    part = foreground(destination, recipe.background)
    source_part = foreground(source, recipe.background)
    picture = destination.copy()
    touched = np.zeros(part.shape, bool)
    patches = dropped = 0
    for index in range(recipe.max_patches):
        if index and rng.random() < 0.5:
            continue
        blended = _blend_patch(picture, source, part, source_part, recipe, rng)
        if blended is None:
            dropped += 1
            continue
        box, changed = blended
        patches += 1
        touched[box.slices] |= changed
    return Anomaly(picture, _label(destination, picture, touched, recipe), patches, dropped)


def _blend_patch(
    picture: Picture,
    source: Picture,
    part: NDArray[np.bool_],
    source_part: NDArray[np.bool_],
    recipe: NsaRecipe,
    rng: np.random.Generator,
) -> tuple[_Box, NDArray[np.bool_]] | None:
    """Changes `picture` in place; returns where and which pixels count, or None when no legal place was found.

    The blend covers the whole box but its rim, so that no edge is drawn along the part's outline; what counts as
    changed is the part in either picture.
    """
    height, width = part.shape
    size = _drawn_size(height, width, recipe, rng)
    cut = _source_place(source_part, size, recipe.min_object, rng)
    if cut is None:
        return None
    patch, patch_part = _resized(source[cut.slices], source_part[cut.slices], recipe, (height, width), rng)
    place = _destination_place(part, patch_part, recipe, rng)
    if place is None:
        return None
    changed = patch_part | part[place.slices]
    if int(changed.sum()) < recipe.min_changed_px:
        return None
    picture[place.slices] = poisson_blend(picture[place.slices], patch, _all_but_rim(changed.shape), mixed=recipe.mixed)
    return place, changed


def _drawn_size(height: int, width: int, recipe: NsaRecipe, rng: np.random.Generator) -> tuple[int, int]:
    """Height and width of a patch in pixels: twice the gamma-distributed half-sizes, within the bounds."""
    least, scale = recipe.sizes[int(rng.integers(len(recipe.sizes)))]
    half = least + rng.gamma(GAMMA_SHAPE, scale, size=2)
    tall = float(np.clip(half[0], *recipe.half_height)) * height
    wide = float(np.clip(half[1], *recipe.half_width)) * width
    return _side(2 * tall, height), _side(2 * wide, width)


def _side(wanted: float, of: int) -> int:
    """Whole pixels, enough to show anything, and one short of the picture's border on both sides."""
    return max(SMALLEST_PX, min(of - 2, round(wanted)))


def _source_place(
    part: NDArray[np.bool_], size: tuple[int, int], min_object: float, rng: np.random.Generator
) -> _Box | None:
    for box in _draws(part.shape, size, rng):
        if part[box.slices].mean() > min_object:
            return box
    return None


def _destination_place(
    part: NDArray[np.bool_], patch_part: NDArray[np.bool_], recipe: NsaRecipe, rng: np.random.Generator
) -> _Box | None:
    count = max(1, int(patch_part.sum()))
    for box in _draws(part.shape, patch_part.shape, rng):
        here = part[box.slices]
        if here.mean() > recipe.min_object and (here & patch_part).sum() / count > recipe.min_overlap:
            return box
    return None


def _draws(shape: tuple[int, ...], size: tuple[int, ...], rng: np.random.Generator) -> Iterator[_Box]:
    """MAX_DRAWS boxes of one size anywhere in the picture."""
    ys = rng.integers(0, shape[0] - size[0] + 1, MAX_DRAWS)
    xs = rng.integers(0, shape[1] - size[1] + 1, MAX_DRAWS)
    return (_Box(int(y), int(x), size[0], size[1]) for y, x in zip(ys, xs, strict=True))


def _resized(
    patch: Picture,
    patch_part: NDArray[np.bool_],
    recipe: NsaRecipe,
    picture_size: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[Picture, NDArray[np.bool_]]:
    """The patch at clip(N(1, 0.5), resize bounds) times its size, aspect kept, within the bounds."""
    factor = float(np.clip(rng.normal(1.0, 0.5), *recipe.resize))
    bounds = [
        (2 * low * side / length, 2 * high * side / length)
        for (low, high), side, length in zip(
            (recipe.half_height, recipe.half_width), picture_size, patch_part.shape, strict=True
        )
    ]
    factor = min(max(factor, *(low for low, _ in bounds)), *(high for _, high in bounds))
    height, width = (_side(length * factor, side) for length, side in zip(patch_part.shape, picture_size, strict=True))
    if (height, width) == patch_part.shape:
        return patch, patch_part
    resized = with_channel_axis(np.asarray(cv2.resize(patch, (width, height)), dtype=np.uint8))
    resized_part = cv2.resize(patch_part.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    return resized, np.asarray(resized_part, dtype=bool)


def _all_but_rim(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    down, right = (min(RIM_PX, max(1, side // 4)) for side in shape)
    mask[down:-down, right:-right] = True
    return mask


def _label(before: Picture, after: Picture, touched: NDArray[np.bool_], recipe: NsaRecipe) -> NDArray[np.float32]:
    """The label, worked out only in the box around what was touched."""
    label = np.zeros(touched.shape, np.float32)
    if not touched.any():
        return label
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    box = (
        slice(max(0, rows[0] - MARGIN_PX), rows[-1] + 1 + MARGIN_PX),
        slice(max(0, columns[0] - MARGIN_PX), columns[-1] + 1 + MARGIN_PX),
    )
    label[box] = anomaly_label(before[box], after[box], touched[box], recipe.label, recipe.logistic)
    return label
