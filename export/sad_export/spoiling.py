"""Good pictures spoiled on purpose, as cameras and lamps spoil them: what a scene guard has to notice."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_runtime.preprocess import Picture


def blurred(good: Picture, sigma_px: float) -> Picture:
    return np.asarray(cv2.GaussianBlur(good, (0, 0), sigma_px), dtype=np.uint8).reshape(good.shape)


def shifted(good: Picture, right_px: float, down_px: float = 0.0) -> Picture:
    """What comes in from outside mirrors the edge: a flat one would look like an incomplete picture."""
    matrix = np.array([[1, 0, right_px], [0, 1, down_px]], np.float64)
    size = (good.shape[1], good.shape[0])
    moved = cv2.warpAffine(good, matrix, size, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, dtype=np.uint8).reshape(good.shape)


def exposed(good: Picture, factor: float | NDArray[np.float64]) -> Picture:
    return np.asarray(np.clip(np.round(good * factor), 0, 255), dtype=np.uint8)


def tinted(good: Picture, share: float) -> Picture:
    """More red by `share`."""
    return exposed(good, np.array([1, 1, 1 + share])) if good.shape[2] == 3 else good


def cut_short(good: Picture) -> Picture:
    """The lower half never came: the buffer's grey."""
    spoilt = np.array(good, dtype=np.uint8)
    spoilt[good.shape[0] // 2 :] = 128
    return spoilt


SPOILT: Mapping[str, Callable[[Picture, int], Picture]] = {
    "black": lambda good, _: exposed(good, 0.0),
    "lamp at 30 %": lambda good, _: exposed(good, 0.3),
    "over-exposed twofold": lambda good, _: exposed(good, 2.0),
    "blur of 1/128 of the picture": lambda good, side: blurred(good, side / 128),
    "blur of 1/64 of the picture": lambda good, side: blurred(good, side / 64),
    "moved by 1/25 of the picture": lambda good, side: shifted(good, side / 25),
    "colour cast of 15 %": lambda good, _: tinted(good, 0.15),
    "lower half missing": lambda good, _: cut_short(good),
}
"""(good picture, its shorter side in px) -> the picture with a fault. Shown in the report."""
