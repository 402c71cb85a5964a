"""Harmless changes of light, focus and pose: what a line does to good parts, and a model must not mind.

All lengths scale with the picture; all draws come from the generator handed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_train.config import NuisanceConfig
from sad_train.pixels import Picture, with_channel_axis


@dataclass(frozen=True)
class Pose:
    """One drawn displacement: the 2x3 matrix that `cv2.warpAffine` takes."""

    matrix: NDArray[np.float64]

    def moved(self, picture: Picture) -> Picture:
        height, width = picture.shape[:2]
        warped = cv2.warpAffine(picture, self.matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        return with_channel_axis(np.asarray(warped, dtype=np.uint8))


def drawn_pose(shape: tuple[int, ...], config: NuisanceConfig, rotation_deg: float, rng: np.random.Generator) -> Pose:
    """A shift of up to `config.shift` and a turn of up to `rotation_deg` about the centre."""
    height, width = shape[:2]
    angle = rng.uniform(-rotation_deg, rotation_deg)
    matrix = np.asarray(cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0), np.float64)
    matrix[:, 2] += rng.uniform(-config.shift, config.shift, 2) * (width, height)
    return Pose(matrix)


def relit(picture: Picture, config: NuisanceConfig, rng: np.random.Generator) -> Picture:
    """The picture (H, W, C) under another light, focus and sensor noise."""
    light: NDArray[np.float32] = picture.astype(np.float32) / np.float32(255)
    light **= float(np.exp(rng.uniform(-config.gamma, config.gamma)))
    tint = 1 + rng.uniform(-config.white_balance, config.white_balance, light.shape[2])
    light *= np.asarray(rng.uniform(1 - config.gain, 1 + config.gain) * tint, dtype=np.float32)
    if config.vignette:
        light *= _vignette(light.shape[:2], config.vignette, rng)
    light *= 255
    if config.blur_px and rng.random() < 0.3:
        sigma = float(rng.uniform(0.2, max(0.21, config.blur_px)))
        light = np.asarray(cv2.GaussianBlur(light, (0, 0), sigma), dtype=np.float32).reshape(picture.shape)
    if config.noise:
        light += rng.standard_normal(light.shape, dtype=np.float32) * np.float32(rng.uniform(0, config.noise))
    return np.asarray(np.clip(np.rint(light), 0, 255), dtype=np.uint8)


def _vignette(shape: tuple[int, ...], strength: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A light falloff about a drawn centre plus a slope in a drawn direction, (H, W, 1).

    Each changes the middle of an edge by up to half of `strength`; a corner can see about twice `strength` of both.
    """
    rows = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, np.newaxis] - np.float32(rng.uniform(-0.5, 0.5))
    columns = np.linspace(-1, 1, shape[1], dtype=np.float32)[np.newaxis, :] - np.float32(rng.uniform(-0.5, 0.5))
    fall, slope, direction = rng.uniform(0, strength / 2), rng.uniform(0, strength / 2), rng.uniform(0, 2 * np.pi)
    field = 1 - fall * (rows**2 + columns**2) / 2 + slope * (np.cos(direction) * columns + np.sin(direction) * rows)
    return np.asarray(field[..., np.newaxis], dtype=np.float32)
