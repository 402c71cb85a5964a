"""Small truths about pictures in memory: (H, W, C) uint8 with C = 3 in BGR order or C = 1."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def grey(picture: Picture) -> Picture:
    """(H, W) uint8."""
    if picture.shape[2] == 1:
        return picture[..., 0]
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), dtype=np.uint8)


def with_channel_axis(picture: Picture) -> Picture:
    """OpenCV drops the axis of one-channel pictures; this puts it back."""
    return picture[..., np.newaxis] if picture.ndim == 2 else picture
