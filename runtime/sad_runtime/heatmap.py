"""Heatmaps for eyes and for the wire, on one fixed scale tied to the threshold, never per picture.

Level 0 is an ordinary good pixel (`heatmap_low`), level 127.5 is exactly the pixel threshold, 255 lies as far above it.
So a picture that looks cold was cold, and two pictures of a bundle can be compared by eye.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_runtime.decide import Thresholds
from sad_runtime.preprocess import Picture


def scale_of(thresholds: Thresholds) -> tuple[float, float]:
    """(scale, offset): heatmap value = offset + scale * level, level 0 to 255."""
    span = max(thresholds.pixel - thresholds.heatmap_low, 1e-6)
    return 2.0 * span / 255.0, thresholds.pixel - span


def levels(heatmap: NDArray[np.float32], thresholds: Thresholds) -> NDArray[np.uint8]:
    """(H, W) uint8 on the fixed scale; values outside it are clipped, NaN is shown as hot as can be."""
    scale, offset = scale_of(thresholds)
    level = np.nan_to_num(np.rint((heatmap - offset) / scale), nan=255.0)
    return np.asarray(np.clip(level, 0, 255), dtype=np.uint8)


def overlay(picture: Picture, heatmap: NDArray[np.float32], thresholds: Thresholds) -> Picture:
    """The picture (H, W, C) with its heatmap over it, (H, W, 3) BGR; above the threshold an outline is drawn."""
    colour = np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR) if picture.shape[2] == 1 else picture)
    level = levels(heatmap, thresholds)
    heat = cv2.applyColorMap(level, cv2.COLORMAP_TURBO)
    weight = (np.clip(level.astype(np.float32) / 127.5, 0, 1) * 0.6)[..., np.newaxis]
    mixed = (colour * (1 - weight) + heat * weight).astype(np.uint8)
    contours, _ = cv2.findContours(
        (heatmap > thresholds.pixel).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    cv2.drawContours(mixed, contours, -1, (255, 255, 255), 1)
    return np.asarray(mixed, dtype=np.uint8)


def encode_jpeg(picture: NDArray[np.uint8], quality: int = 90) -> bytes:
    ok, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise ValueError(f"OpenCV could not encode a picture of shape {picture.shape}")
    return bytes(data)
