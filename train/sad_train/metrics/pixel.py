"""One number a set of heatmaps: pixel AUROC, pixel AP, AUPRO and AUPIMO, all from the counts of pixel_counts.py.

AUPRO: Bergmann et al., "The MVTec Anomaly Detection Dataset" (IJCV 2021). AUPIMO: Bertoldo et al., arXiv 2401.01984;
reference code jpcbertoldo/aupimo.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sad_train.metrics.pixel_counts import JudgedMap, PixelCounts, counts_of, cuts_for, no_counts

AUPRO_LIMIT = 0.3
AUPIMO_BOUNDS = (1e-5, 1e-4)


@dataclass(frozen=True)
class PixelMetrics:
    """None where it is not defined: no masked defect, or (AUPIMO) too few good pixels to tell one in 100,000."""

    auroc: float | None = None
    ap: float | None = None
    aupro: float | None = None
    aupimo: float | None = None


def pixel_metrics(maps: Mapping[str, Sequence[JudgedMap]], good: Sequence[JudgedMap]) -> dict[str, PixelMetrics]:
    """The metrics of each type of defect in `maps`, held against all good pictures, and under "" those of all types."""
    defects = [judged for judgeds in maps.values() for judged in judgeds]
    if not defects:
        return {name: PixelMetrics() for name in ("", *maps)}
    cuts = cuts_for([*good, *defects])
    of_good, shares = no_counts(len(cuts)), np.zeros(len(cuts))
    for judged in good:
        counts = counts_of(judged, cuts)
        of_good.add(counts)
        shares += counts.good / (max(int(counts.good[0]), 1) * len(good))
    per_type, recalls = {}, {}
    for name, judgeds in maps.items():
        per_type[name], recalls[name] = _counts_of_type(judgeds, cuts, shares if _fine_enough(of_good) else None)
    per_type[""] = _sum(per_type.values(), len(cuts))
    recalls[""] = [recall for found in recalls.values() for recall in found]
    return {name: _metrics(counts, of_good, recalls[name]) for name, counts in per_type.items()}


def pixel_auroc(counts: PixelCounts) -> float | None:
    """As image AUROC, a pixel at a time."""
    good, defect = _falling(counts.good), _falling(counts.defect)
    if not good[-1] or not defect[-1]:
        return None
    return _rate(np.sum(np.diff(good) * (defect[1:] + defect[:-1])) / (2 * good[-1] * defect[-1]))


def pixel_ap(counts: PixelCounts) -> float | None:
    """As image average precision, a pixel at a time."""
    good, defect = _falling(counts.good), _falling(counts.defect)
    if not good[-1] or not defect[-1]:
        return None
    precision = defect[1:] / np.maximum(defect[1:] + good[1:], 1)
    return _rate(np.sum(np.diff(defect) * precision) / defect[-1])


def aupro(counts: PixelCounts, limit: float = AUPRO_LIMIT) -> float | None:
    """Mean covered share of the connected defects, averaged over pixel false-positive rates from 0 to `limit`."""
    good = _falling(counts.good)
    if not good[-1] or not counts.defects:
        return None
    return _rate(_area_up_to(good / good[-1], _falling(counts.overlap) / counts.defects, limit) / limit)


def aupimo_of(recall: NDArray[np.float64], good_share: NDArray[np.float64]) -> float:
    """Of one picture: its recall (K,) averaged over the logarithm of the false-positive rate from 1e-5 to 1e-4.

    `good_share` (K,): mean share of a good picture's pixels at or above the cut. At each rate the recall is the highest
    that a threshold within that rate reaches (a staircase, where the reference code draws a line between thresholds).
    """
    low, high = np.log(AUPIMO_BOUNDS)
    with np.errstate(divide="ignore"):
        at = np.log(_falling(good_share)[1:])
    steps = np.clip(np.append(at, high), low, high)
    return _rate(np.sum(np.diff(steps) * _falling(recall)[1:]) / (high - low))


def _counts_of_type(
    judgeds: Sequence[JudgedMap], cuts: NDArray[np.float32], good_share: NDArray[np.float64] | None
) -> tuple[PixelCounts, list[float]]:
    total, recalls = no_counts(len(cuts)), []
    for judged in judgeds:
        counts = counts_of(judged, cuts)
        total.add(counts)
        if good_share is not None and counts.defect[0]:
            recalls.append(aupimo_of(counts.defect / counts.defect[0], good_share))
    return total, recalls


def _metrics(counts: PixelCounts, of_good: PixelCounts, recalls: Sequence[float]) -> PixelMetrics:
    both = _sum([counts, of_good], len(counts.good))
    return PixelMetrics(
        auroc=pixel_auroc(both),
        ap=pixel_ap(both),
        aupro=aupro(both),
        aupimo=float(np.mean(recalls)) if recalls else None,
    )


def _sum(parts: Iterable[PixelCounts], cuts: int) -> PixelCounts:
    total = no_counts(cuts)
    for part in parts:
        total.add(part)
    return total


def _rate(value: float | np.floating[Any]) -> float:
    """Never above 1 by a rounding error."""
    return min(float(value), 1.0)


def _fine_enough(of_good: PixelCounts) -> bool:
    return bool(of_good.good[0] * AUPIMO_BOUNDS[0] >= 1)


def _falling(counts: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    """From no pixel to all of them: the counts by falling cut, with a zero in front."""
    return np.concatenate([[0.0], counts[::-1]])


def _area_up_to(x: NDArray[np.float64], y: NDArray[np.float64], limit: float) -> float:
    """Area below the line through (x, y), x ascending, from 0 to `limit`."""
    inside = x <= limit
    end = int(inside.sum())
    xs, ys = x[:end], y[:end]
    if end < len(x):
        slope = (y[end] - y[end - 1]) / (x[end] - x[end - 1])
        xs, ys = np.append(xs, limit), np.append(ys, y[end - 1] + slope * (limit - x[end - 1]))
    return float(np.sum(np.diff(xs) * (ys[1:] + ys[:-1])) / 2)
