"""Random brightness, contrast, saturation and hue; the strengths mean what they mean to torchvision's ColorJitter."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_train.pixels import Picture, grey

CIRCLE = 360
"""OpenCV's circle of hues for float32; uint8 would round grey levels by up to five, a trace of its own."""


def colour_jittered(picture: Picture, strength: float, rng: np.random.Generator) -> Picture:
    """`picture` (h, w, C) uint8 with each factor drawn within 1 ± strength, the hue within ± strength of the circle.

    Grey pictures have no saturation and no hue. The order is fixed: brightness, contrast, saturation, hue.
    """
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, 3).astype(np.float32)
    turn = float(rng.uniform(-strength, strength))
    values = picture.astype(np.float32) * brightness
    middle = np.float32(grey(picture).mean()) * brightness
    values = middle + (values - middle) * contrast
    if picture.shape[2] == 3:
        shade = cv2.cvtColor(values, cv2.COLOR_BGR2GRAY)[..., np.newaxis]
        values = _turned(shade + (values - shade) * saturation, turn)
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


def _turned(values: NDArray[np.float32], turn: float) -> NDArray[np.float32]:
    """Every hue moved by `turn` of the circle. (h, w, 3) grey levels, cut off at 0 and 255."""
    hsv = cv2.cvtColor(np.clip(values / 255, 0, 1), cv2.COLOR_BGR2HSV)
    hsv[..., 0] = (hsv[..., 0] + turn * CIRCLE) % CIRCLE
    return np.asarray(255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR), dtype=np.float32)
