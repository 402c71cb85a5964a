"""From scores and heatmaps to a verdict. Pure functions; PASS must be proved."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_runtime.verdict import Verdict

MAX_REGIONS = 16


@dataclass(frozen=True)
class Thresholds:
    """The cuts that a station judges by, and the number (`revision`) under which its history keeps them."""

    score: float
    pixel: float
    heatmap_low: float
    review: float | None = None
    revision: int = 0


@dataclass(frozen=True)
class Region:
    """One connected area of the heatmap above the pixel threshold: a box in model pixels and its highest value."""

    x: int
    y: int
    width: int
    height: int
    score: float


def judge(score: float, threshold: float) -> Verdict:
    """PASS up to and including the threshold, FAIL above it; NaN, infinity or a missing number is INVALID."""
    if not (math.isfinite(score) and math.isfinite(threshold)):
        return Verdict.INVALID
    return Verdict.PASS if score <= threshold else Verdict.FAIL


def wants_review(score: float, thresholds: Thresholds) -> bool:
    """True between the two thresholds. A review never changes the verdict."""
    if thresholds.review is None or not math.isfinite(score):
        return False
    low, high = sorted((thresholds.review, thresholds.score))
    return low < score <= high


def p_value(score: float, good_scores: Sequence[float]) -> float:
    """Split-conformal p-value (1 + #{s_i >= score}) / (n + 1); `good_scores` ascending. 1.0 when there are none.

    0.0, less than any part can have, when the score is no number.
    """
    if math.isnan(score):
        return 0.0
    n = len(good_scores)
    return (1 + n - bisect_left(good_scores, score)) / (n + 1)


def regions(heatmap: NDArray[np.float32], pixel_threshold: float) -> list[Region]:
    """Connected areas of `heatmap` (H, W) above the threshold, highest first, at most MAX_REGIONS."""
    above = heatmap > pixel_threshold
    if not above.any():
        return []
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above.astype(np.uint8), connectivity=8)
    peaks = np.full(count, -np.inf, heatmap.dtype)
    np.maximum.at(peaks, labels[above].astype(np.intp), heatmap[above])
    highest = 1 + np.argsort(-peaks[1:], kind="stable")[:MAX_REGIONS]
    return [_region(stats[label], peaks[label]) for label in highest]


def _region(stats: NDArray[np.int32], peak: np.float32) -> Region:
    x, y, width, height = (int(value) for value in stats[:4])
    return Region(x, y, width, height, float(peak))
