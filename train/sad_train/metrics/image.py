"""One number a picture: AUROC, average precision, the best F1. Ties count exactly as in scikit-learn.

`is_defect` (N,) bool, `scores` (N,) float, higher is worse. None is returned where a class is missing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class BestF1(NamedTuple):
    """The highest F1 of any threshold, chosen with the answers in hand, so optimistic. Reject above `threshold`."""

    f1: float
    threshold: float


class _Counts(NamedTuple):
    """Defects and good pictures rejected when every score from `cut` up is, by falling cut."""

    cut: NDArray[np.float64]
    defects: NDArray[np.int64]
    goods: NDArray[np.int64]


def image_auroc(is_defect: ArrayLike, scores: ArrayLike) -> float | None:
    """Chance that a defect scores above a good picture; a tie counts half."""
    counts = _counts(is_defect, scores)
    if not _both(counts):
        return None
    defects = np.concatenate([[0], counts.defects])
    twice = int(np.sum(np.diff(counts.goods, prepend=0) * (defects[1:] + defects[:-1])))
    return twice / (2 * int(defects[-1]) * int(counts.goods[-1]))


def image_ap(is_defect: ArrayLike, scores: ArrayLike) -> float | None:
    """Sum of precision times gain in recall over falling thresholds, without interpolation."""
    counts = _counts(is_defect, scores)
    if not _both(counts):
        return None
    precision = counts.defects / (counts.defects + counts.goods)
    return float(np.sum(np.diff(counts.defects, prepend=0) * precision) / counts.defects[-1])


def best_f1(is_defect: ArrayLike, scores: ArrayLike) -> BestF1 | None:
    """Of equal F1 the highest threshold. It lies midway between the lowest rejected and the highest passed score."""
    counts = _counts(is_defect, scores)
    if not _both(counts):
        return None
    f1 = 2 * counts.defects / (counts.defects + counts.goods + counts.defects[-1])
    best = int(np.argmax(f1))
    cut = float(counts.cut[best])
    below = float(counts.cut[best + 1]) if best + 1 < len(counts.cut) else float(np.nextafter(cut, -np.inf))
    middle = (cut + below) / 2
    return BestF1(float(f1[best]), middle if middle < cut else below)


def spearman(a: ArrayLike, b: ArrayLike) -> float | None:
    """Rank correlation, ties sharing their mean rank. None for fewer than 3 pairs, or when one side is constant."""
    ranks_a, ranks_b = _ranks(np.asarray(a, np.float64)), _ranks(np.asarray(b, np.float64))
    if len(ranks_a) < 3 or ranks_a.std() == 0 or ranks_b.std() == 0:
        return None
    return float(np.corrcoef(ranks_a, ranks_b)[0, 1])


def _counts(is_defect: ArrayLike, scores: ArrayLike) -> _Counts:
    labels = np.asarray(is_defect, bool)
    values = np.asarray(scores, np.float64)
    if labels.shape != values.shape or labels.ndim != 1:
        raise ValueError(f"labels {labels.shape} and scores {values.shape} are not two lists of one length")
    if not np.isfinite(values).all():
        raise ValueError("a score is not a finite number")
    order = np.argsort(-values, kind="stable")
    values, labels = values[order], labels[order]
    last = np.flatnonzero(np.append(np.diff(values) != 0, True)) if len(values) else np.zeros(0, np.int64)
    defects = np.cumsum(labels, dtype=np.int64)[last]
    return _Counts(values[last], defects, last + 1 - defects)


def _both(counts: _Counts) -> bool:
    return len(counts.cut) > 0 and counts.defects[-1] > 0 and counts.goods[-1] > 0


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[inverse.ravel()], dtype=np.float64)
