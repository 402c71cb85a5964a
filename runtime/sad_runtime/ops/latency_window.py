"""How long each step of a part takes: percentiles over the last minute in fixed memory, and counts since the start.

Latencies are counted in buckets, 32 to each doubling, from a microsecond to an hour; a percentile is told as the upper
edge of its bucket, so it is never too low and at most 3.2 % too high. The idea is that of HdrHistogram
(http://hdrhistogram.org). The window moves in steps of a sixth: between 50 and 60 s of parts are in it.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

SLICES = 6
SLICE_NS = 10_000_000_000
WINDOW_S = SLICES * SLICE_NS // 1_000_000_000
SHARES = (0.5, 0.99, 0.999)
TOTAL = "total"
"""From the trigger (in free run the capture) to publishing: a decision's `age_ms`."""

_PARTS = 32
"""Buckets to a doubling."""
_LOWEST = -10
"""2**-10 ms: what is quicker counts as about a microsecond."""
_HIGHEST = 22
"""2**22 ms, over an hour: what takes longer is counted in the last bucket."""
_BUCKETS = (_HIGHEST - _LOWEST) * _PARTS


class Percentiles(NamedTuple):
    """ms; `n` is how many there were in the window."""

    n: int
    p50: float
    p99: float
    p999: float


class Counted(NamedTuple):
    """One step as it stood at one moment."""

    counts: array[int]
    before: array[int]
    """What stood in `counts` when the window's oldest slice began."""
    sum_ms: float

    def percentiles(self) -> Percentiles | None:
        """Of the window, by nearest rank as tally.py has them; None when nothing went through."""
        recent = [now - then for now, then in zip(self.counts, self.before, strict=True)]
        n = sum(recent)
        if not n:
            return None
        ranks = [min(n - 1, int(share * n)) for share in SHARES]
        found: list[float] = []
        passed = 0
        for bucket, count in enumerate(recent):
            passed += count
            while len(found) < len(ranks) and ranks[len(found)] < passed:
                found.append(_upper_edge_ms(bucket))
        return Percentiles(n, *found)

    def powers(self) -> list[tuple[float, int]]:
        """Since the start: (upper edge in ms, how many took less), an edge for each power of two."""
        cumulative, edges = 0, []
        for doubling in range(_HIGHEST - _LOWEST):
            cumulative += sum(self.counts[doubling * _PARTS : (doubling + 1) * _PARTS])
            edges.append((2.0 ** (_LOWEST + doubling + 1), cumulative))
        return edges


class Latencies:
    """Of one step. The counts only grow; the window is what they grew by since its oldest slice began."""

    def __init__(self) -> None:
        self.sum_ms = 0.0
        self._counts = array("Q", bytes(8 * _BUCKETS))
        self._begins: deque[array[int]] = deque([self._counts[:]], maxlen=SLICES)

    def saw(self, ms: float) -> None:
        self._counts[_bucket(ms)] += 1
        self.sum_ms += ms

    def turn(self) -> None:
        """Begins the next slice; what the oldest one held leaves the window."""
        self._begins.append(self._counts[:])

    def now(self) -> Counted:
        """A copy, to work on while parts go on being counted."""
        return Counted(self._counts[:], self._begins[0], self.sum_ms)


class LatencyWindow:
    """All steps of a station's parts. Not thread-safe; times are CLOCK_MONOTONIC."""

    def __init__(self, now_ns: int) -> None:
        self._steps: dict[str, Latencies] = {}
        self._turns_ns = now_ns + SLICE_NS

    def saw(self, latency_ms: Mapping[str, float], age_ms: float, now_ns: int) -> None:
        if now_ns >= self._turns_ns:
            self._turn(now_ns)
        for step, ms in latency_ms.items():
            self._step(step).saw(ms)
        self._step(TOTAL).saw(age_ms)

    def now(self, now_ns: int) -> dict[str, Counted]:
        """Every step by name."""
        if now_ns >= self._turns_ns:
            self._turn(now_ns)
        return {name: step.now() for name, step in self._steps.items()}

    def _step(self, name: str) -> Latencies:
        step = self._steps.get(name)
        if step is None:
            step = self._steps[name] = Latencies()
        return step

    def _turn(self, now_ns: int) -> None:
        turns = (now_ns - self._turns_ns) // SLICE_NS + 1
        self._turns_ns += turns * SLICE_NS
        for latencies in self._steps.values():
            for _ in range(min(turns, SLICES)):
                latencies.turn()


def _bucket(ms: float) -> int:
    if not ms > 0:  # also NaN
        return 0
    if math.isinf(ms):
        return _BUCKETS - 1
    share, doubling = math.frexp(ms)  # ms = share * 2**doubling, share from 0.5 to below 1
    bucket = (doubling - 1 - _LOWEST) * _PARTS + int((share - 0.5) * 2 * _PARTS)
    return min(max(bucket, 0), _BUCKETS - 1)


def _upper_edge_ms(bucket: int) -> float:
    doubling, part = divmod(bucket + 1, _PARTS)
    return 2.0 ** (_LOWEST + doubling) * (1 + part / _PARTS)
