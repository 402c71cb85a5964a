"""Slow drift that no single picture shows: of the scores, by their p-values, and of what the model sees, by embeddings.

An alarm for people, never a verdict: a part is judged by its own score, whatever the line has been doing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sad_runtime.scene.embedding import Embeddings

BET = 0.5
UNLUCKY = 0.01
"""The chance that the calibration parts themselves were so unusual that the promise on false alarms does not hold."""
SPAN = 200
"""Parts over which the running mean of the embeddings forgets."""
SETTLED = 100
"""Parts before that mean says anything."""
APART = 1.0
CLIPPED = 4.0
CALM = 0.8


@dataclass(frozen=True)
class Drift:
    """After a part. An alarm stays up until what raised it has gone."""

    scores: bool
    parts: bool
    distance: float
    """Of the running mean of embeddings from that of the good parts, in standard deviations of these."""


class ScoreDrift:
    """Whether p-values of the line's parts have become too small for good parts like those of the calibration.

    A conformal test martingale (Vovk, Gammerman and Shafer 2005) that bets 1 + 0.5 (1 - 2 p), run as a CUSUM: it is
    never below 1, and an alarm above `parts` comes at most once in so many good parts on average (Vovk et al., Retrain
    or not retrain, 2021). Since n calibration parts only estimate their distribution, each p-value is first raised by
    the one-sided Dvoretzky-Kiefer-Wolfowitz bound for 1 %; fewer calibration parts, slower alarm, and
    with 12 or fewer none (`too_few`). A defective part adds
    at most log 1.5: up to about one in ten never sums up.
    """

    def __init__(self, good_count: int, parts: int) -> None:
        """`good_count`: of the calibration parts; with none, or `parts` 0, there is never an alarm."""
        self._caution = math.sqrt(math.log(1 / UNLUCKY) / (2 * good_count)) if good_count else 1.0
        self.too_few = bool(good_count) and self._caution + 1 / (good_count + 1) >= 0.5
        """With so few calibration parts the smallest p-value there is raises no suspicion."""
        self._off = not good_count or not parts or self.too_few
        self._alarm_at = math.log(parts) if parts else math.inf
        self._sum = 0.0
        self.alarm = False

    def saw(self, p_value: float) -> bool:
        """The p-value of a part that was judged, 0 to 1."""
        if self._off or not math.isfinite(p_value):
            return self.alarm
        bold = min(1.0, max(0.0, p_value) + self._caution)
        self._sum = min(self._alarm_at + 1.0, max(0.0, self._sum + math.log1p(BET * (1 - 2 * bold))))
        self.alarm = self._sum > (0.0 if self.alarm else self._alarm_at)
        return self.alarm


class PartDrift:
    """Whether the line's parts, on average, look like others than the good ones that were learnt from."""

    def __init__(self, good: Embeddings) -> None:
        self._good = good
        self._mean = np.zeros_like(good.mean, dtype=np.float64)
        self._count = 0
        self._limit = APART + 2 / math.sqrt(max(1, good.count))
        self.distance = 0.0
        self.alarm = False

    def saw(self, embedding: NDArray[np.float32]) -> bool:
        """`embedding` (K,). A wild part counts as 4 standard deviations and no more; one of another size as none."""
        if embedding.shape != self._good.mean.shape or not np.isfinite(embedding).all():
            return self.alarm
        apart = np.clip((embedding - self._good.mean) / self._good.spread, -CLIPPED, CLIPPED)
        self._count += 1
        self._mean += (apart - self._mean) / min(self._count, SPAN)
        self.distance = math.sqrt(float(np.mean(self._mean**2)))
        if self._count >= SETTLED:
            self.alarm = self.distance > self._limit * (CALM if self.alarm else 1.0)
        return self.alarm


class DriftWatch:
    """Both, for one recipe on one backend: begin anew with another."""

    def __init__(self, scores: ScoreDrift, parts: PartDrift | None) -> None:
        self._scores = scores
        self._parts = parts

    def saw(self, embedding: NDArray[np.float32], p_value: float) -> Drift:
        """Of a part that was judged, PASS or FAIL."""
        parts = self._parts.saw(embedding) if self._parts is not None else False
        return Drift(self._scores.saw(p_value), parts, self._parts.distance if self._parts is not None else 0.0)
