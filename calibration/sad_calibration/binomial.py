"""What a count of rejects says about the rate behind it: the exact upper bound of Clopper and Pearson (1934).

Needs nothing but the standard library: the bound is found by bisection on the binomial tail.
"""

from __future__ import annotations

import math

from sad_calibration.conformal import percent


def rate_below(rejects: int, parts: int, confidence: float = 0.95) -> float:
    """One-sided upper bound: the true rate is below it with this confidence. 1.0 when every part was rejected."""
    if not 0 <= rejects <= parts or parts < 1:
        raise ValueError(f"{rejects} of {parts} is no count of rejects")
    if not 0 < confidence < 1:
        raise ValueError(f"{confidence} is no confidence; 0.95 is usual")
    if rejects == parts:
        return 1.0
    low, high = rejects / parts, 1.0
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if at_most(rejects, parts, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def at_most(rejects: int, parts: int, rate: float) -> float:
    """P(X <= rejects) for X ~ Binomial(parts, rate), 0 <= rejects < parts."""
    if rate <= 0:
        return 1.0
    if rate >= 1:
        return 0.0
    yes, no = math.log(rate), math.log1p(-rate)
    whole = math.lgamma(parts + 1)
    terms = (
        math.exp(whole - math.lgamma(x + 1) - math.lgamma(parts - x + 1) + x * yes + (parts - x) * no)
        for x in range(rejects + 1)
    )
    return min(1.0, math.fsum(terms))


def observed(rejects: int, parts: int, confidence: float = 0.95) -> str:
    """`0 of 60 good parts rejected: below 4.9 % with 95 % confidence`."""
    bound = percent(rate_below(rejects, parts, confidence))
    return f"{rejects} of {parts} good parts rejected: below {bound} with {percent(confidence)} confidence"
