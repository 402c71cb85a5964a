"""What an age limit may delete, when the wall clock that dates everything may be wrong.

A clock with a dead battery starts in 1970; one set by hand, or by a first answer of NTP, may leap by years. So

- what is dated before `FLOOR_NS` or later than now has no age: it is never deleted for its age,
- while the clock itself stands before `FLOOR_NS`, nothing is,
- after a leap forwards of more than a day, and at a start more than a week after the newest record, nothing is for
  `SETTLE_S`: a wrong clock gets a day to be noticed (event `clock_step`) before it costs a record.

A clock that stays wrong for longer cannot be told from one that is right. Limits on rows and bytes act all the time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from sad_runtime.station.clock_watch import ClockWatch

DAY_NS = 86_400 * 10**9
FLOOR_NS = 1_735_689_600 * 10**9
"""2025-01-01 UTC: this was written later, so no clock that says less is right."""
LEAP_S = 86_400.0
GAP_NS = 7 * DAY_NS
SETTLE_S = 86_400.0


class Span(NamedTuple):
    """Wall-clock ns since 1970. Dated from `from_ns` on and before `to_ns`: too old. Outside `from_ns` to `now_ns`:
    of no age."""

    from_ns: int
    to_ns: int
    now_ns: int


class AgeLimit:
    """One a keeper of records. Not thread-safe."""

    def __init__(
        self,
        days: float,
        *,
        wall_ns: Callable[[], int] = time.time_ns,
        mono_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._keep_ns = int(days * DAY_NS)
        self._wall_ns, self._mono_ns = wall_ns, mono_ns
        self._watch = ClockWatch(step_s=LEAP_S, wall_ns=wall_ns, mono_ns=mono_ns)
        self._held_until_ns: int | None = None

    def begin(self, newest_ns: int | None) -> None:
        """`newest_ns`: the newest record that is there at the start."""
        if newest_ns is not None and self._wall_ns() - newest_ns > GAP_NS:
            self._hold()

    def span(self) -> Span | None:
        """None: nothing is to be deleted for its age now."""
        step_s = self._watch.look()
        if step_s is not None and step_s > 0:
            self._hold()
        now_ns = self._wall_ns()
        if self._held_until_ns is not None and self._mono_ns() < self._held_until_ns:
            return None
        return Span(FLOOR_NS, now_ns - self._keep_ns, now_ns) if now_ns - self._keep_ns > FLOOR_NS else None

    def _hold(self) -> None:
        self._held_until_ns = self._mono_ns() + int(SETTLE_S * 1e9)
