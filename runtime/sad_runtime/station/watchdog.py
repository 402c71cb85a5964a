"""Answers every part whose deadline comes before its verdict, whatever the loop is doing or hanging in."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from sad_runtime.station.part import Part


class Watchdog(threading.Thread):
    """Started by `start`. `on_overdue` is called in its thread, once for a part that nobody has answered yet."""

    def __init__(self, on_overdue: Callable[[Part], None]) -> None:
        super().__init__(name="watchdog", daemon=True)
        self._on_overdue = on_overdue
        self._changed = threading.Condition()
        self._parts: list[Part] = []
        self._wakes_ns = math.inf
        self._stopping = False

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self.join()

    def watch(self, part: Part) -> None:
        with self._changed:
            self._parts.append(part)
            if part.last_call_ns < self._wakes_ns:  # else it wakes early enough by itself; a notify a part costs 50 µs
                self._changed.notify()

    def run(self) -> None:
        while True:
            with self._changed:
                if self._stopping:
                    return
                due = self._take_due()
                if not due:
                    self._wakes_ns = min((part.last_call_ns for part in self._parts), default=math.inf)
                    self._changed.wait(self._sleep_s())
            for part in due:
                self._on_overdue(part)

    def _take_due(self) -> list[Part]:
        now_ns = time.monotonic_ns()
        self._parts = [part for part in self._parts if not part.answered]
        due = [part for part in self._parts if part.last_call_ns <= now_ns]
        self._parts = [part for part in self._parts if part.last_call_ns > now_ns]
        return due

    def _sleep_s(self) -> float | None:
        if math.isinf(self._wakes_ns):
            return None
        return max(0.0, (self._wakes_ns - time.monotonic_ns()) / 1e9)
