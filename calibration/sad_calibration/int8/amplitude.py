"""Which |x| becomes 127: the four ways to choose it from a tensor's histogram. Symmetric int8, zero point 0.

`max` clips nothing. `percentile` gives up one value in 10,000. `entropy` is TensorRT's own choice (entropy.py), `mse`
the least squared error (mean_square.py). All but `max` spend the 127 steps on what is common and clip the rare; in a
heatmap the rare is what is looked for, so which one is right is settled by judging pictures, not by these numbers.
On a trained NSA network (bottle, 256 px) `max` and `mse` ranked parts as fp32 did (Spearman 0.99); `entropy` took a
quarter of the first Relu's range and did not (0.54).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sad_calibration.int8.entropy import least_divergence
from sad_calibration.int8.histogram import Histogram
from sad_calibration.int8.mean_square import STEPS, least_square_error
from sad_runtime.errors import UsageError

PERCENTILE = 99.99
DEAD_AMPLITUDE = STEPS * 2.0**-14
"""For a tensor that was never anything but 0 (0.00775): its step is the smallest normal float16, so that neither an
fp32 nor an fp16 engine ever divides by 0."""


def maximum(histogram: Histogram) -> float:
    return histogram.maximum


def percentile(histogram: Histogram, percent: float = PERCENTILE) -> float:
    """The value that `percent` of all values stay below, to a bin. Where nearly all are 0: of those that are not."""
    wanted = percent / 100 * histogram.count - histogram.zeros
    if wanted <= 0:
        wanted = percent / 100 * int(histogram.counts.sum())
    below = np.cumsum(histogram.counts)
    index = int(np.searchsorted(below, wanted))
    inside = 1 - float(below[index] - wanted) / float(histogram.counts[index])
    # Within the first bin nothing is known, and its lower end would be no range at all.
    return min(max(index + inside, 1.0) * histogram.width, histogram.maximum)


METHODS = ("max", "percentile", "entropy", "mse")
"""Names that stand in caches and on command lines."""
_CHOICES: dict[str, Callable[[Histogram], float]] = {
    "max": maximum,
    "percentile": percentile,
    "entropy": least_divergence,
    "mse": least_square_error,
}


def amplitude(histogram: Histogram, method: str) -> float:
    """Finite, above 0 and never above the largest value seen, but DEAD_AMPLITUDE for a dead tensor."""
    check_method(method)
    if not histogram.count:
        raise UsageError(f"tensor '{histogram.tensor}': no value was ever counted, so it has no range")
    return DEAD_AMPLITUDE if histogram.dead else _CHOICES[method](histogram)


def check_method(method: str) -> None:
    """Raises UsageError for a method that is not in the table."""
    if method not in METHODS:
        raise UsageError(f"calibration method '{method}': there are {', '.join(METHODS)}")
