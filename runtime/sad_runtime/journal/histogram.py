"""Quantiles of any number of values in a few kilobytes: counts in classes that are each 1 % wider than the last."""

from __future__ import annotations

import math
from collections import Counter

WIDTH = math.log(1.01)


class Histogram:
    """Of values above 0; quantiles are right to half a per cent. Zero and less count as the smallest."""

    def __init__(self) -> None:
        self.count = 0
        self.largest = 0.0
        self._classes: Counter[int] = Counter()

    def add(self, value: float) -> None:
        self.count += 1
        self.largest = max(self.largest, value)
        self._classes[round(math.log(max(value, 1e-6)) / WIDTH)] += 1

    def quantile(self, share: float) -> float:
        """The value that `share` (0 to 1) of all do not exceed. NaN when there are none."""
        wanted, seen = max(1, math.ceil(share * self.count)), 0
        for number in sorted(self._classes):
            seen += self._classes[number]
            if seen >= wanted:
                return min(math.exp(number * WIDTH), self.largest)
        return math.nan
