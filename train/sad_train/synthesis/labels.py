"""What a pixel of a synthetic anomaly is worth: NSA's binary, continuous and logistic labels.

Differences are in grey levels, mean over channels. The reference code takes a float median over a disk of radius 5
(40 ms a picture); here it is an 8-bit 11x11 median inside the patch's box only, which differs along sharp edges of the
change: by 0.002 on average over a picture.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from sad_train.pixels import majority

MEDIAN_PX = 11
TOLERANCE = 1.0


def anomaly_label(
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    touched: NDArray[np.bool_],
    mode: Literal["binary", "continuous", "logistic"],
    logistic: tuple[float, float],
) -> NDArray[np.float32]:
    """(H, W) float32 in 0..1 for two pictures (H, W, C); only `touched` pixels can differ from 0.

    `logistic` is (k, x0): the label is 1 / (1 + exp(-k (difference - x0))) on the support.
    """
    difference = np.abs(after.astype(np.float32) - before.astype(np.float32)).mean(axis=2)
    difference[~touched] = 0
    support = majority(difference > TOLERANCE, 5).astype(np.float32)
    support *= touched  # a median also fills gaps
    if mode == "binary":
        return support
    smooth = cv2.medianBlur(np.rint(difference * support).astype(np.uint8), MEDIAN_PX).astype(np.float32)
    if mode == "continuous":
        return np.asarray(smooth * support / 255, dtype=np.float32)
    k, x0 = logistic
    return np.asarray(support * expit(k * (smooth - x0)), dtype=np.float32)
