"""From good pictures to the cuts of a station: score, review and pixel threshold, and the cold end of the colours.

The very backend that ships scores the pictures, so a threshold belongs to that backend and model file. Where the
pictures come from is samples.py; where thresholds are kept is sad_runtime.thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sad_calibration.conformal import Promise, percent, promise, rank
from sad_runtime.backends.base import Backend
from sad_runtime.decide import Thresholds
from sad_runtime.errors import DataError, UsageError
from sad_runtime.inspector import Inspector


@dataclass(frozen=True)
class Calibration:
    """What the model says of good parts, in the order of the pictures."""

    scores: list[float]
    pixel_maxima: list[float]
    """The highest heatmap value of each picture."""
    heatmap_low: float
    """The heatmap value of a typical good pixel: the median picture's median pixel."""


@dataclass(frozen=True)
class Cuts:
    """Thresholds set on good parts, ready for a manifest or a history; `promise` is that of the score threshold."""

    score_threshold: float
    review_threshold: float | None
    pixel_threshold: float
    heatmap_low: float
    promise: Promise


def measure(inspector_or_backend: Inspector | Backend, pictures: Iterable[NDArray[np.uint8]]) -> Calibration:
    """Runs an open backend over good pictures, one at a time.

    An inspector crops to its ROI, so it takes full camera frames; a bare backend takes pictures of the ROI, at model
    size or to be resized. Raises DataError when there are none, BackendError when a score is not finite.
    """
    inspector = _inspector(inspector_or_backend)
    scores, maxima, medians = [], [], []
    for picture in pictures:
        inspection = inspector.inspect(picture)
        scores.append(inspection.score)
        maxima.append(float(inspection.heatmap.max()))
        medians.append(float(np.median(inspection.heatmap)))
    if not scores:
        raise DataError("no pictures of good parts to set a threshold on")
    return Calibration(scores, maxima, float(np.median(medians)))


def cuts(calibration: Calibration, *, target: float | None, review_rate: float | None = None) -> Cuts:
    """The thresholds for a false reject rate `target` (None: the least the pictures support).

    `review_rate`: the larger share of good parts at which a PASS is flagged for review. Raises UsageError when it is
    not larger than the target, DataError when the pictures are too few to tell the two apart.
    """
    score = promise(calibration.scores, target)
    pixel = promise(calibration.pixel_maxima, target)
    return Cuts(
        score_threshold=score.threshold,
        review_threshold=None if review_rate is None else _review(calibration.scores, score, review_rate),
        pixel_threshold=pixel.threshold,
        heatmap_low=calibration.heatmap_low,
        promise=score,
    )


def _review(scores: list[float], score: Promise, review_rate: float) -> float:
    if score.target_false_reject is not None and review_rate <= score.target_false_reject:
        raise UsageError(
            f"a review band at {percent(review_rate, 4)} lies inside the rejects at "
            f"{percent(score.target_false_reject, 4)}; ask for a larger share"
        )
    rejected = round(score.guaranteed_false_reject * (score.n + 1))
    if rank(score.n, review_rate) <= rejected:
        least = percent(math.ceil(1e4 * (rejected + 1) / (score.n + 1)) / 1e4, 4)
        raise DataError(
            f"{score.n} calibration parts cannot tell a review band at {percent(review_rate, 4)} from the rejects at "
            f"{percent(score.guaranteed_false_reject)}; ask for {least} or bring more parts"
        )
    return promise(scores, review_rate).threshold


def _inspector(given: Inspector | Backend) -> Inspector:
    """A bare backend gets thresholds that are never looked at: no region is above an infinite pixel threshold."""
    return given if isinstance(given, Inspector) else Inspector(given, Thresholds(0.0, math.inf, 0.0))
