"""AnoSeg's anomalies: a region of a strongly changed copy of a good picture, pasted back into it.

Source: Song et al., "AnoSeg: Anomaly Segmentation Network Using Self-Supervised Learning", arXiv 2110.03396, section
3.1 (no code was published). A copy of the picture is turned, cut up and recoloured, each with a chance of a half; a
rectangle of it is pasted somewhere else, as in CutPaste (Li et al., CVPR 2021). What the paper does not publish is
chosen here, and said where it stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_train.config import AnoSegConfig
from sad_train.data.profile import Profile
from sad_train.pixels import Picture

CHANCE = 0.5
"""Of each augmentation."""
GRID = 2
"""Permuted tiles a side: as in CSI (Tack et al., NeurIPS 2020), from which hard augmentation comes."""
JITTER = (0.15, 0.4)
"""Brightness, contrast and colourfulness change by a share between these. The upper end is CSI's; the lower one keeps
away from changes of light that must stay PASS (`nuisance.gain`)."""
HUE = (0.03, 0.1)
"""Turn of the hue, as a share of the circle; the upper end is CSI's."""
ASPECT = (0.3, 3.3)
"""Height by width of a region: CutPaste's (0.3, 1) and (1, 3.3)."""
MAX_DRAWS = 20
LEAST_CHANGED_PX = 16
"""A paste that shows on fewer pixels is not made; NSA's bound at these sizes."""
SMALLEST_PX = 5
SMOOTHED_PX = 5
"""Side of the square over which a change is averaged, so that sensor noise is none."""


@dataclass(frozen=True)
class HardRecipe:
    areas: tuple[tuple[float, float], ...]
    """(least, most) share of the picture; each region draws one of the pairs."""
    most_regions: int
    tolerance: float
    """Grey levels, mean over channels and SMOOTHED_PX squared: a smaller change does not show."""


@dataclass(frozen=True)
class HardAnomaly:
    picture: Picture
    mask: NDArray[np.bool_]
    """(H, W) True where the picture was changed; nothing else was."""

    @property
    def made(self) -> bool:
        return bool(self.mask.any())


def hard_recipe(config: AnoSegConfig, profile: Profile) -> HardRecipe:
    """The tolerance is what a blend that shows nothing changes in these pictures."""
    return HardRecipe(config.areas, config.most_regions, profile.noise_floor)


def hard_anomaly(good: Picture, recipe: HardRecipe, rng: np.random.Generator) -> HardAnomaly:
    """`good` (H, W, C) with one to `most_regions` pasted regions; unchanged when nothing drawn would show."""
    picture = good.copy()
    touched = np.zeros(good.shape[:2], bool)
    for index in range(recipe.most_regions):
        if index == 0 or rng.random() < 0.5:
            _paste(picture, touched, hardened(good, rng), recipe, rng)
    mask = touched & _shows(good, picture, recipe.tolerance)  # one region can take back what another did
    if mask.sum() < LEAST_CHANGED_PX:
        mask[:] = False
    return HardAnomaly(np.where(mask[..., np.newaxis], picture, good), mask)


def hardened(picture: Picture, rng: np.random.Generator) -> Picture:
    """A copy turned, permuted and recoloured: each with a chance of a half, drawn again when it is none."""
    drawn = rng.random(3) < CHANCE
    while not drawn.any():
        drawn = rng.random(3) < CHANCE
    changes = [change for change, wanted in zip((turned, permuted, recoloured), drawn, strict=True) if wanted]
    for change in changes:
        picture = change(picture, rng)
    return picture


def turned(picture: Picture, rng: np.random.Generator) -> Picture:
    """By one to three quarters, as in CSI: any other angle blurs, and blur would give the region away.

    A picture that is not square keeps its shape and can only be turned upside down.
    """
    square = picture.shape[0] == picture.shape[1]
    quarters = int(rng.integers(1, 4)) if square else 2
    return np.asarray(np.ascontiguousarray(np.rot90(picture, quarters)), dtype=np.uint8)


def permuted(picture: Picture, rng: np.random.Generator) -> Picture:
    """Its GRID x GRID tiles in another order; an odd last row or column stays where it is."""
    height, width = picture.shape[0] // GRID, picture.shape[1] // GRID
    corners = [(row * height, column * width) for row in range(GRID) for column in range(GRID)]
    order = rng.permutation(len(corners))
    while (order == np.arange(len(corners))).all():
        order = rng.permutation(len(corners))
    made: Picture = picture.copy()
    for (y, x), taken in zip(corners, order, strict=True):
        from_y, from_x = corners[taken]
        made[y : y + height, x : x + width] = picture[from_y : from_y + height, from_x : from_x + width]
    return made


def recoloured(picture: Picture, rng: np.random.Generator) -> Picture:
    """Colour jitter: brightness and contrast, in colour pictures also colourfulness and hue."""
    light = picture.astype(np.float32)
    light *= _factor(rng)
    light += (light.mean() - light) * (1 - _factor(rng))
    if picture.shape[2] == 3:
        grey = cv2.cvtColor(light, cv2.COLOR_BGR2GRAY)[..., np.newaxis]
        light += (grey - light) * (1 - _factor(rng))
        light = light @ _hue_turn(float(rng.choice((-1, 1)) * rng.uniform(*HUE))).T
    return np.asarray(np.clip(np.rint(light), 0, 255), dtype=np.uint8)


def _factor(rng: np.random.Generator) -> float:
    return float(1 + rng.choice((-1, 1)) * rng.uniform(*JITTER))


def _hue_turn(share: float) -> NDArray[np.float32]:
    """The matrix that turns colours about the grey axis by a share of the circle."""
    angle = 2 * np.pi * share
    along = np.full((3, 3), 1 / 3)
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    return np.asarray(np.cos(angle) * np.eye(3) + (1 - np.cos(angle)) * along + np.sin(angle) * across, np.float32)


def _paste(
    picture: Picture, touched: NDArray[np.bool_], copy: Picture, recipe: HardRecipe, rng: np.random.Generator
) -> None:
    """Changes `picture` and `touched` in place where the region shows; leaves them when no drawn place does."""
    for _ in range(MAX_DRAWS):
        height, width = _drawn_size(picture.shape, recipe, rng)
        (y, x), (from_y, from_x) = (_drawn_corner(picture.shape, height, width, rng) for _ in range(2))
        here = picture[y : y + height, x : x + width]
        region = copy[from_y : from_y + height, from_x : from_x + width]
        shows = _shows(here, region, recipe.tolerance)
        if shows.sum() >= LEAST_CHANGED_PX:
            here[shows] = region[shows]
            touched[y : y + height, x : x + width] |= shows
            return


def _drawn_size(shape: tuple[int, ...], recipe: HardRecipe, rng: np.random.Generator) -> tuple[int, int]:
    """Height and width in pixels: an area and, evenly on a log scale, an aspect."""
    area = rng.uniform(*recipe.areas[int(rng.integers(len(recipe.areas)))]) * shape[0] * shape[1]
    aspect = float(np.exp(rng.uniform(*np.log(ASPECT))))
    height, width = (
        max(SMALLEST_PX, min(side, round(length)))
        for side, length in zip(shape, (np.sqrt(area * aspect), np.sqrt(area / aspect)), strict=False)
    )
    return height, width


def _drawn_corner(shape: tuple[int, ...], height: int, width: int, rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(shape[0] - height + 1)), int(rng.integers(shape[1] - width + 1))


def _shows(before: Picture, after: Picture, tolerance: float) -> NDArray[np.bool_]:
    """(h, w) where the change, averaged over a small square, is above the tolerance."""
    change = np.abs(after.astype(np.float32) - before.astype(np.float32)).mean(axis=2)
    smooth = cv2.blur(change, (SMOOTHED_PX, SMOOTHED_PX), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(smooth > tolerance, dtype=bool)
