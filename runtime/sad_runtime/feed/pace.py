"""Holds a flood back: so many a second on average, after a burst. Pure but for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """A bucket of `burst` tokens, refilled at `per_s`."""

    def __init__(self, per_s: float, burst: int, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._burst, self._clock_s = per_s, float(burst), clock_s
        self._tokens, self._filled_s = float(burst), clock_s()

    def wait_s(self) -> float:
        """How long to wait before the next one; 0.0 takes a token."""
        now_s = self._clock_s()
        self._tokens = min(self._burst, self._tokens + (now_s - self._filled_s) * self._per_s)
        self._filled_s = now_s
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._per_s
