"""What a station counts of itself while it runs. Needs no library; metrics.py shows it to Prometheus.

`saw` is called once a part, by whoever answers it; it costs some microseconds. Everything else is read when asked for.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from sad_runtime.cameras.base import Frame
from sad_runtime.messages import Decision, Event
from sad_runtime.ops.latency_window import Counted, LatencyWindow

CAMERA_LOST = "camera_lost"


class Measures:
    """Any thread may tell, any thread may read."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.parts: Counter[tuple[str, str]] = Counter()
        """By verdict and reason."""
        self.flags: Counter[str] = Counter()
        self.events: Counter[tuple[str, str]] = Counter()
        """By code and level."""
        self.frames = self.skipped = self.incomplete = 0
        self._window = LatencyWindow(clock_ns())
        self.lock = threading.Lock()
        """Hold it to read `parts`, `flags` or `events` from another thread than the one that tells."""
        self._clock_ns = clock_ns
        self._last_frame_id: int | None = None

    def saw(self, decision: Decision) -> None:
        """A part was answered."""
        with self.lock:
            self.parts[decision.verdict.value, decision.reason.value] += 1
            for flag in decision.flags:
                self.flags[flag] += 1
            self._window.saw(decision.latency_ms, decision.age_ms, self._clock_ns())

    def told(self, event: Event) -> None:
        with self.lock:
            self.events[event.code, event.level] += 1
            if event.code == CAMERA_LOST:
                self._last_frame_id = None  # a camera that comes back may count from anywhere

    def saw_frame(self, frame: Frame) -> None:
        """The camera delivered. A hole in its count is as many pictures that nobody took. The loop's thread only."""
        self.frames += 1
        self.incomplete += not frame.complete
        last, self._last_frame_id = self._last_frame_id, frame.frame_id
        if last is not None and frame.frame_id > last + 1:
            self.skipped += frame.frame_id - last - 1

    def latencies(self) -> dict[str, Counted]:
        """By step; `total` is the whole of it."""
        with self.lock:
            return self._window.now(self._clock_ns())
