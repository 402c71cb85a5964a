"""Estimates thresholds for rates that the good parts are too few to promise: a generalised Pareto tail.

The exceedances over the 90 % quantile are fitted by L-moments, which hold up on few points (Hosking & Wallis 1987),
and the fitted tail is read at the rate asked for (peaks over threshold; Pickands 1975). This is an extrapolation, so
it carries a bootstrap interval and is always called an estimate; the promise stays that of conformal.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sad_calibration.conformal import percent
from sad_runtime.errors import DataError

METHOD = "gpd-estimate"
MIN_SCORES = 30
TAIL_SHARE = 0.1
MIN_EXCEEDANCES = 8
"""Below 80 scores the tail starts lower than the 90 % quantile: a fit on three points is no fit."""
SHAPE_LIMIT = 0.5
DRAWS = 1000
CONFIDENCE = 0.9


@dataclass(frozen=True)
class Estimate:
    """An estimated threshold for `target`, with the bootstrap interval `low` to `high` (90 %)."""

    threshold: float
    low: float
    high: float
    target: float
    shape: float
    scale: float
    exceedances: int
    n: int

    @property
    def text(self) -> str:
        return (
            f"estimate, not a promise: {percent(self.target, 4)} of good parts would score above {self.threshold:.4g} "
            f"(90 % interval {self.low:.4g} to {self.high:.4g}, from the highest {self.exceedances} of {self.n} scores)"
        )


def estimate(scores: Sequence[float], target: float, *, seed: int = 0) -> Estimate:
    """The threshold that a share `target` of good parts would exceed, were the tail generalised Pareto.

    Never below the highest good score, so that the promise of 1 / (n + 1) holds for it too. Raises DataError, with the
    reason, when the scores cannot carry an estimate or the target needs none.
    """
    values = np.asarray(scores, np.float64)
    n = values.size
    if not np.isfinite(values).all():
        raise DataError("no estimate: a score of a calibration part is not a finite number")
    if n < MIN_SCORES:
        raise DataError(f"no estimate from {n} scores: a tail fitted to fewer than {MIN_SCORES} is a guess")
    if not 0 < target < 1 / (n + 1):
        raise DataError(f"no estimate at {percent(target, 4)}: {n} parts can promise it")
    threshold, shape, scale = _tail(values, target)
    if scale <= 0:
        raise DataError("no estimate: the highest scores are all the same, so they have no tail to fit")
    highest = float(values.max())
    draws = _bootstrap(values, target, seed)
    edge = (1 - CONFIDENCE) / 2
    low, high = (float(value) for value in np.quantile(draws, [edge, 1 - edge]))
    return Estimate(
        threshold=max(threshold, highest),
        low=low,
        high=max(high, highest),
        target=target,
        shape=shape,
        scale=scale,
        exceedances=_exceedances(n),
        n=n,
    )


def pareto_from_moments(exceedances: NDArray[np.float64]) -> tuple[float, float]:
    """(shape, scale) of the generalised Pareto distribution on `exceedances` >= 0, ascending, by L-moments.

    l1 = scale / (1 - shape), l2 = l1 / (2 - shape). The shape is clipped to -0.5 .. 0.5.
    """
    count = exceedances.size
    l1 = float(exceedances.mean())
    l2 = 2.0 * float(np.dot(np.arange(count), exceedances)) / (count * (count - 1)) - l1
    if l1 <= 0:
        return 0.0, 0.0
    shape = -SHAPE_LIMIT if l2 <= 0 else min(max(2.0 - l1 / l2, -SHAPE_LIMIT), SHAPE_LIMIT)
    return shape, l1 * (1.0 - shape)


def pareto_quantile(shape: float, scale: float, exceeded: float) -> float:
    """The value that a share `exceeded` of exceedances lies above."""
    if abs(shape) < 1e-9:
        return -scale * math.log(exceeded)
    return scale / shape * (math.pow(exceeded, -shape) - 1.0)


def _exceedances(n: int) -> int:
    return max(math.ceil(TAIL_SHARE * n), MIN_EXCEEDANCES)


def _tail(values: NDArray[np.float64], target: float) -> tuple[float, float, float]:
    """(threshold, shape, scale) of the fitted tail."""
    ordered = np.sort(values)
    count = _exceedances(values.size)
    start = float(ordered[-count - 1])
    shape, scale = pareto_from_moments(ordered[-count:] - start)
    return start + pareto_quantile(shape, scale, target * values.size / count), shape, scale


def _bootstrap(values: NDArray[np.float64], target: float, seed: int) -> list[float]:
    rng = np.random.default_rng(seed)
    return [_tail(rng.choice(values, values.size), target)[0] for _ in range(DRAWS)]
