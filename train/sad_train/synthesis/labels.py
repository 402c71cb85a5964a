"""What a pixel of a synthetic anomaly is worth: NSA's binary, continuous and logistic labels.

Differences are in grey levels, mean over channels. The reference code takes a float median over a disk of radius 5
(40 ms a picture). Here it is an 8-bit median inside the patch's box, at half resolution where the window is wide: 10x10
pixels for the disk's 81. On rendered washers and fabrics that moves a logistic label by less than 0.025 on average
where there is one and by less than 0.18 in 99 of 100 pixels; over the whole picture by 0.002 on average.

The paper's patches are at least 15 px wide; in ours of 5 px a window of 11 px would find nothing but the surroundings.
So the windows of both medians are at most a third of the patch, and as in the paper from 33 px on.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from sad_train.config import LabelMode
from sad_train.pixels import majority

MEDIAN_PX = 11
"""The paper's window, as a square."""
SUPPORT_PX = 5
TOLERANCE = 1.0
VECTOR_COLUMNS = 72


def anomaly_label(
    before: NDArray[np.uint8],
    after: NDArray[np.uint8],
    touched: NDArray[np.bool_],
    mode: LabelMode,
    logistic: tuple[float, float],
    *,
    patch_px: int = 3 * MEDIAN_PX,
) -> NDArray[np.float32]:
    """(H, W) float32 in 0..1 for two pictures (H, W, C); only `touched` pixels can differ from 0.

    `logistic` is (k, x0): the label is 1 / (1 + exp(-k (difference - x0))) on the support. `patch_px` is the smaller
    side of the patch whose box the pictures show.
    """
    channels = [np.asarray(channel, dtype=np.uint16) for channel in cv2.split(cv2.absdiff(before, after))]
    total = channels[0]
    for channel in channels[1:]:
        total += channel
    total *= touched
    support = majority(total > TOLERANCE * len(channels), odd_third(patch_px, SUPPORT_PX))
    support &= touched  # a median also fills gaps
    if mode == "binary":
        return support.astype(np.float32)
    total *= support
    difference = np.rint(total * np.float32(1 / len(channels))).astype(np.uint8)
    smooth = _smoothed(difference, odd_third(patch_px, MEDIAN_PX)).astype(np.float32)
    if mode == "continuous":
        return np.asarray(smooth * support / 255, dtype=np.float32)
    k, x0 = logistic
    return np.asarray(support * expit(k * (smooth - x0)), dtype=np.float32)


def odd_third(patch_px: int, most_px: int) -> int:
    """The widest window, odd and at most `most_px`, that a patch holds three of."""
    return min(most_px, max(1, (patch_px // 3 - 1) // 2 * 2 + 1))


def _smoothed(difference: NDArray[np.uint8], window_px: int) -> NDArray[np.uint8]:
    """The median over about `window_px`: 3 and 5 as they are, 7 and 9 as 3 and 11 as 5 pixels at half resolution.

    OpenCV's medians of 3 and 5 cost a tenth to a hundredth of its wider ones.
    """
    if window_px == 1:
        return difference
    if window_px <= 5:
        return _median(difference, window_px)
    height, width = difference.shape
    half = cv2.resize(difference, ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA)
    half = _median(np.asarray(half, dtype=np.uint8), 5 if window_px == MEDIAN_PX else 3)
    return np.asarray(cv2.resize(half, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _median(picture: NDArray[np.uint8], window_px: int) -> NDArray[np.uint8]:
    """OpenCV's median of 3 or 5, on at least so many columns that it works in vectors: 13 times as fast."""
    width = picture.shape[1]
    if width < VECTOR_COLUMNS:
        picture = cv2.copyMakeBorder(picture, 0, 0, 0, VECTOR_COLUMNS - width, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    return np.asarray(cv2.medianBlur(picture, window_px), dtype=np.uint8)[:, :width]
