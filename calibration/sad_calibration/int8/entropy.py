"""The clip that loses least information: TensorRT's entropy calibration.

S. Migacz, "8-bit Inference with TensorRT", GTC 2017, slides 30 to 38, with the two details that NVIDIA's published
calibrators add (pytorch-quantization, ModelOpt): the first bin is taken to be like the second, for a Relu's zeros
would outweigh everything else; and of equal divergences the widest range wins.

For every i from 128 bins up, P is the histogram cut after bin i with all that was cut off heaped on its last bin, and
Q is the cut histogram, without the heap, rounded to 128 levels: a level's mass is spread evenly over those of its bins
that are not empty. Where the last bin is empty, Q gives no chance to what P has there: that cut is out. The cut with
the least KL(P, Q) is the answer. Levels are sums, so one table of running sums serves all cuts at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sad_calibration.int8.histogram import Histogram

LEVELS = 128
Floats = NDArray[np.float64]


def least_divergence(histogram: Histogram) -> float:
    """The amplitude; the histogram must not be dead."""
    cuts = np.arange(LEVELS, histogram.used + 1)
    found = divergences(histogram.counts[: histogram.used], cuts)
    best = int(cuts[len(cuts) - 1 - int(np.argmin(found[::-1]))])
    return min(best * histogram.width, histogram.maximum)


def divergences(counts: NDArray[np.int64], cuts: NDArray[np.int64]) -> Floats:
    """KL(P, Q) in nats for each number of bins kept in `cuts`, infinity where it is out."""
    bins = counts.astype(np.float64)
    bins[0] = bins[1]
    mass, filled, information = _running(bins), _running(bins > 0), _running(_x_log_x(bins))
    edges = -(-np.arange(LEVELS + 1) * cuts[:, None] // LEVELS)  # bin j belongs to level floor(128 j / i)
    level_mass = np.diff(mass[edges], axis=1)
    level_height = level_mass / np.maximum(np.diff(filled[edges], axis=1), 1)
    kept, last = mass[cuts], bins[cuts - 1]
    heap = mass[-1] - kept
    p_log_p = information[cuts - 1] + _x_log_x(last + heap)
    p_log_q = (level_mass * _log(level_height)).sum(axis=1) + heap * _log(level_height[:, -1])
    with np.errstate(divide="ignore"):
        normalised = (p_log_p - p_log_q) / mass[-1] + np.log(kept) - np.log(mass[-1])
    out = (kept == 0) | ((last == 0) & (heap > 0))
    return np.where(out, np.inf, normalised)


def _running(values: NDArray[np.generic]) -> Floats:
    """Sums of the first 0, 1, ... values."""
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _log(values: Floats) -> Floats:
    """0 where there is nothing: it is only ever multiplied by nothing."""
    return np.log(np.where(values > 0, values, 1.0))


def _x_log_x(values: Floats) -> Floats:
    return values * _log(values)
