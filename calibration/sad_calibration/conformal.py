"""Split-conformal thresholds: what a number of good parts can promise about false rejects.

A part is rejected when its p-value (1 + #{s_i >= s}) / (n + 1) is at most the rate asked for. When the parts on the
line come from the same process as the calibration parts (they are exchangeable), good parts are then rejected at most
at that rate, on average over calibration draws, whatever the model (Vovk et al. 2005; Lei et al. 2018).
Rates below 1 / (n + 1) cannot be promised; extreme.py estimates them, and says that it does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sad_runtime.errors import DataError, UsageError

METHOD = "split-conformal"
ROUNDING = 1e-12
"""Rates are decimal fractions that a float misses: 0.29 * 100 is 28.999999999999996, and 29 is meant."""


@dataclass(frozen=True)
class Promise:
    """A threshold and what holds for it. Rates are fractions: 0.005 is 0.5 %."""

    threshold: float
    """A part passes up to and including it (decide.judge)."""
    guaranteed_false_reject: float
    target_false_reject: float | None
    n: int
    supported: bool
    """False: the target is below what `n` parts can promise, and the least they can is promised in its place."""
    needed: int | None
    """How many calibration parts the target takes; None when there is no target or these are enough."""
    text: str


def promise(scores: Sequence[float], target: float | None) -> Promise:
    """The lowest threshold that rejects at most a share `target` of good parts; None asks for the least possible.

    `scores`: of good parts that training never saw. Raises DataError when they are none or not all finite,
    UsageError for a target that is not between 0 and 1.
    """
    if target is not None and not 0 < target < 1:
        raise UsageError(
            f"a target of {target:g} is no false reject rate; ask for one above 0 and below 1 (0.5% = 0.005)"
        )
    ordered = sorted((float(score) for score in scores), reverse=True)
    if not ordered:
        raise DataError("no scores of good parts: a threshold needs calibration pictures")
    if not all(map(math.isfinite, ordered)):
        raise DataError("a score of a calibration part is not a finite number; the model or its backend is broken")
    n = len(ordered)
    asked = 1 if target is None else rank(n, target)
    k = max(asked, 1)
    guaranteed = k / (n + 1)
    needed = None if target is None or asked >= 1 else parts_needed(target)
    return Promise(
        threshold=ordered[k - 1],
        guaranteed_false_reject=guaranteed,
        target_false_reject=target,
        n=n,
        supported=asked >= 1,
        needed=needed,
        text=_text(n, guaranteed, target, needed),
    )


def rank(n: int, rate: float) -> int:
    """k: the k-th largest of `n` good scores is the threshold for `rate`. 0 when `n` parts cannot promise it."""
    return min(n, math.floor(rate * (n + 1) * (1 + ROUNDING)))


def parts_needed(rate: float) -> int:
    """The smallest number of calibration parts that can promise `rate`."""
    return max(1, math.ceil((1 - ROUNDING) / rate) - 1)


def percent(rate: float, digits: int = 2) -> str:
    """`0.02439` as `2.4 %`."""
    return f"{float(f'{100 * rate:.{digits}g}'):g} %"


def _text(n: int, guaranteed: float, target: float | None, needed: int | None) -> str:
    parts = "1 calibration part" if n == 1 else f"{n} calibration parts"
    if target is None:
        return f"with {parts} at most {percent(guaranteed)} of good parts are rejected, the least that can be promised"
    if needed is not None:
        return (
            f"with {parts} the least that can be promised is {percent(guaranteed)}; "
            f"for {percent(target, 4)} bring {needed}"
        )
    return f"with {parts} at most {percent(target, 4)} of good parts are rejected, as asked for"
