"""What a line asks: how many defects are caught at a false-reject rate, how many good parts are lost at an escape rate.

A rate is held when at most `floor(rate x n)` of the n pictures are on the wrong side; so 0.1 % of 20 good pictures
means none of them. `good` and `defect` are scores, higher is worse; a part is rejected above the threshold.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

FALSE_REJECT_RATES = (0.001, 0.005, 0.01)
ESCAPE_RATES = (0.0, 0.01, 0.05)


def recall_at_frr(good: ArrayLike, defect: ArrayLike, false_reject_rate: float) -> float | None:
    """Share of the defects above the lowest threshold that rejects no more good pictures than the rate allows."""
    goods, defects = np.sort(np.asarray(good, np.float64)), np.asarray(defect, np.float64)
    if not len(goods) or not len(defects):
        return None
    allowed = _allowed(false_reject_rate, len(goods))
    return 1.0 if allowed >= len(goods) else float(np.mean(defects > goods[len(goods) - 1 - allowed]))


def frr_at_escape(good: ArrayLike, defect: ArrayLike, escape_rate: float) -> float | None:
    """Share of the good pictures rejected by the highest threshold that keeps escapes within the rate."""
    goods, defects = np.asarray(good, np.float64), np.sort(np.asarray(defect, np.float64))
    if not len(goods) or not len(defects):
        return None
    allowed = _allowed(escape_rate, len(defects))
    return 0.0 if allowed >= len(defects) else float(np.mean(goods >= defects[allowed]))


def _allowed(rate: float, count: int) -> int:
    return math.floor(rate * count + 1e-9)
