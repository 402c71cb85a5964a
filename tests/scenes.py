"""Pictures of a line that stands still, and what can happen to them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE_PX = 128


def part(seed: int = 0, *, x: float = 0.0, channels: int = 3, blur_px: float = 0.0) -> NDArray[np.uint8]:
    """A bright ring and a bar on a textured belt, with sensor noise; `x` px to the right of its place."""
    texture = np.random.default_rng(7).normal(0, 9, (SIDE_PX, SIDE_PX))
    plane = 90 + cv2.GaussianBlur(texture.astype(np.float32), (0, 0), 0.8)
    middle = SIDE_PX / 2
    down, across = np.mgrid[:SIDE_PX, :SIDE_PX].astype(np.float32)
    radius = np.hypot(across - middle - x, down - middle)
    plane[(radius > 18) & (radius < 34)] += 90
    plane[(np.abs(across - middle - x) < 40) & (np.abs(down - 16) < 5)] -= 55
    if blur_px:
        plane = cv2.GaussianBlur(plane, (0, 0), blur_px)
    rng = np.random.default_rng(seed)
    colours = plane[:, :, None] * np.array([0.9, 1.0, 1.1][:channels] if channels == 3 else [1.0])
    noisy = colours + rng.normal(0, 1.5, colours.shape)
    return np.asarray(np.clip(np.round(noisy), 0, 255), dtype=np.uint8)


def exposed(picture: NDArray[np.uint8], factor: float) -> NDArray[np.uint8]:
    return np.asarray(np.clip(np.round(picture * factor), 0, 255), dtype=np.uint8)
