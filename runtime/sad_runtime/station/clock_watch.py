"""Tells when the wall clock jumps: NTP's first answer, a dead battery, a hand that sets it, a computer that slept.

Control never reads the wall clock (DESIGN 4.5); what is dated by it is what people read, and how long records are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable

STEP_S = 1.0
"""NTP slews by at most 0.5 ms a second, so between two looks a real clock never gains as much."""
TORN_S = 0.1
"""Two readings of the clocks further apart than this say nothing: this thread was put to sleep between them."""


class ClockWatch:
    """Compares the wall clock with the monotonic one. Not thread-safe; look every second or so."""

    def __init__(
        self,
        *,
        step_s: float = STEP_S,
        wall_ns: Callable[[], int] = time.time_ns,
        mono_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._step_ns = int(step_s * 1e9)
        self._wall_ns, self._mono_ns = wall_ns, mono_ns
        self._offset_ns = self._offset()

    def look(self) -> float | None:
        """Seconds by which the wall clock jumped since the last look, forwards positive; None when it did not."""
        now_ns = self._offset()
        if now_ns is None:
            return None
        before_ns, self._offset_ns = self._offset_ns, now_ns
        if before_ns is None or abs(now_ns - before_ns) <= self._step_ns:
            return None
        return (now_ns - before_ns) / 1e9

    def _offset(self) -> int | None:
        """Wall minus monotonic, ns; None when the two could not be read together."""
        before_ns = self._mono_ns()
        wall_ns = self._wall_ns()
        after_ns = self._mono_ns()
        if after_ns - before_ns > TORN_S * 1e9:
            return None
        return wall_ns - (before_ns + after_ns) // 2
