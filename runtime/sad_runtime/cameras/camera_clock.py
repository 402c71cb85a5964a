"""A camera's own clock, put onto CLOCK_MONOTONIC.

A camera stamps each picture on a clock that began when it was plugged in, or stands in another century; and it drifts
against ours by some 50 ppm, 4 seconds a day. What is stable is the way of a picture from the camera to us: never
shorter than the wire, often longer. The smallest difference between arrival and stamp that was seen of late is
therefore the clocks' offset, and what a picture exceeds it by is how long it was on its way.
"""

from __future__ import annotations

WINDOW_NS = 10_000_000_000
"""The offset is the smallest one of this window and the one before. 100 ppm make 2 ms of drift in both."""


class CameraClock:
    """A camera without a clock (stamp 0), or one heard more rarely than the windows last, gives the arrival."""

    def __init__(self) -> None:
        self._began_ns = 0
        self._now: int | None = None
        self._before: int | None = None

    def taken_ns(self, stamp_ns: int, arrived_ns: int) -> int:
        """When the picture was taken, on CLOCK_MONOTONIC; never after it arrived. Both in nanoseconds."""
        if stamp_ns <= 0:
            return arrived_ns
        self._turn(arrived_ns)
        difference = arrived_ns - stamp_ns
        self._now = difference if self._now is None else min(self._now, difference)
        offset = self._now if self._before is None else min(self._now, self._before)
        return stamp_ns + offset

    def _turn(self, arrived_ns: int) -> None:
        age_ns = arrived_ns - self._began_ns
        if self._now is None or age_ns >= WINDOW_NS:
            self._before = self._now if age_ns < 2 * WINDOW_NS else None
            self._now, self._began_ns = None, arrived_ns
