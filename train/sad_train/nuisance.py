"""Harmless changes of light, focus and pose: what a line does to good parts, and a model must not mind.

All lengths scale with the picture; all draws come from the generator handed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_train.config import NuisanceConfig
from sad_train.pixels import Picture, with_channel_axis

NOISE_ROLL = 1 << 20


@dataclass(frozen=True)
class Pose:
    """One drawn displacement: the 2x3 matrix that `cv2.warpAffine` takes."""

    matrix: NDArray[np.float64]

    def moved(self, picture: Picture) -> Picture:
        height, width, channels = picture.shape
        if channels == 3:  # OpenCV warps four channels in vectors: the same pixels in two thirds of the time
            picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA), dtype=np.uint8)
        warped = cv2.warpAffine(picture, self.matrix, (width, height), borderMode=cv2.BORDER_REFLECT_101)
        if channels == 3:
            warped = cv2.cvtColor(warped, cv2.COLOR_BGRA2BGR)
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
    height, width, channels = picture.shape
    gamma = float(np.exp(rng.uniform(-config.gamma, config.gamma)))
    curve = (255 * (np.arange(256) / 255) ** gamma).astype(np.float32)
    light = np.asarray(cv2.LUT(picture.reshape(height, width * channels), curve), dtype=np.float32)
    tint = np.asarray(rng.uniform(1 - config.white_balance, 1 + config.white_balance, channels))
    tint *= rng.uniform(1 - config.gain, 1 + config.gain)
    for factors in _illumination(height, width, tint, config.vignette, rng):
        light *= factors
    if config.blur_px and rng.random() < 0.3:
        sigma = float(rng.uniform(0.2, max(0.21, config.blur_px)))
        blurred = cv2.GaussianBlur(light.reshape(picture.shape), (0, 0), sigma)
        light = np.asarray(blurred, dtype=np.float32).reshape(light.shape)
    noise = _noise(light.size, rng).reshape(light.shape)
    levels = cv2.addWeighted(light, 1.0, noise, float(rng.uniform(0, config.noise)), 0.0, dtype=cv2.CV_8U)
    return np.asarray(levels, dtype=np.uint8).reshape(picture.shape)


def _illumination(
    height: int, width: int, tint: NDArray[np.float64], strength: float, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Factors of rows (H, 1) and of columns with the tint (C,) in them (W * C,).

    Together they are a light falloff about a drawn centre and a slope in a drawn direction. Each changes the middle of
    an edge by up to half of `strength`; a corner can see about twice `strength` of both.
    """
    down = np.linspace(-1, 1, height) - rng.uniform(-0.5, 0.5)
    across = np.linspace(-1, 1, width) - rng.uniform(-0.5, 0.5)
    fall, slope, direction = rng.uniform(0, strength / 2), rng.uniform(0, strength / 2), rng.uniform(0, 2 * np.pi)
    rows = 1 - fall * down**2 / 2 + slope * np.sin(direction) * down
    columns = 1 - fall * across**2 / 2 + slope * np.cos(direction) * across
    return rows[:, np.newaxis].astype(np.float32), np.multiply.outer(columns, tint).ravel().astype(np.float32)


def _noise(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """`count` normal numbers: a stretch of a fixed roll, from a drawn place on. Beyond its end the roll begins anew.

    Drawing them afresh takes ten times as long as all the rest of an example's light.
    """
    start = int(rng.integers(max(NOISE_ROLL - count, NOISE_ROLL // 2)))
    stretch = _noise_roll()[start : start + count]
    return stretch if stretch.size == count else np.resize(stretch, count)


@lru_cache(maxsize=1)
def _noise_roll() -> NDArray[np.float32]:
    """4 MB of normal numbers, always the same."""
    return np.random.default_rng(7919).standard_normal(NOISE_ROLL, dtype=np.float32)
