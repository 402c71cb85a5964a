"""The clip with the least mean squared error of rounding to 127 steps and clipping what is beyond.

Within a bin, values are taken to lie evenly; the error is then an integral with a closed form, exact also where a step
is narrower than a bin. (Bin centres instead, as most tools take them, would call small ranges free of error.)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sad_calibration.int8.histogram import Histogram

STEPS = 127
CANDIDATES = 256
REFINED = 33
Floats = NDArray[np.float64]


def least_square_error(histogram: Histogram) -> float:
    """The amplitude, to 1 part in 4096 of the largest value; the histogram must not be dead."""
    largest = histogram.maximum / histogram.width
    coarse = np.linspace(0, largest, CANDIDATES + 1)[1:]
    best = coarse[np.argmin(square_errors(histogram, coarse))]
    spacing = largest / CANDIDATES
    fine = np.linspace(max(best - spacing, spacing / 2), min(best + spacing, largest), REFINED)
    return float(min(fine[np.argmin(square_errors(histogram, fine))] * histogram.width, histogram.maximum))


def square_errors(histogram: Histogram, amplitudes: Floats) -> Floats:
    """Sum over all values of (x - int8(x))**2, for each of `amplitudes`; in bin widths, as those are."""
    edges = np.arange(histogram.used + 1, dtype=np.float64)
    edges[-1] = max(histogram.maximum / histogram.width, edges[-2] + 1e-3)  # nothing lies above the largest value
    density = histogram.counts[: histogram.used] / np.diff(edges)
    weights = -np.diff(density, prepend=0.0, append=0.0)
    return _integral(edges, amplitudes[:, None] / STEPS) @ weights


def _integral(upper: Floats, step: Floats) -> Floats:
    """Of (t - round(t / step) * step)**2 for t from 0 to `upper`, where no more than 127 steps can be had.

    Each whole step holds step**3 / 12; the rest is a cube around the nearest step, which for what is clipped is the
    last one.
    """
    nearest = np.minimum(np.rint(upper / step), STEPS)
    return nearest * step**3 / 12 + (upper - nearest * step) ** 3 / 3
