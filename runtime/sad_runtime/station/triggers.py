"""What makes a part: a bounded queue of triggers, and the clock that fills it in `interval` mode.

In free run there is no queue; every picture is a part. A trigger that finds the queue full is the station's to answer.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from sad_runtime.station.part import Part


class TriggerQueue:
    """Parts that wait for their picture, in order. Any thread may put; the loop takes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._parts: deque[Part] = deque()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._parts)

    def put(self, part: Part) -> bool:
        """False when the queue is full."""
        with self._changed:
            while self._parts and self._parts[0].answered:
                self._parts.popleft()
            if len(self._parts) >= self._size:
                return False
            self._parts.append(part)
            self._changed.notify()
            return True

    def take(self, timeout_s: float) -> Part | None:
        """The next part that still wants an answer, or None."""
        end_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                while self._parts:
                    part = self._parts.popleft()
                    if not part.answered:
                        return part
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    return None
                self._changed.wait(left_s)

    def empty(self) -> list[Part]:
        """Takes out all parts that still want an answer."""
        with self._changed:
            parts = [part for part in self._parts if not part.answered]
            self._parts.clear()
            return parts


class Clock(threading.Thread):
    """Calls `pull` every `interval_ms` while opened with `with`. A tick that comes late does not move the next one."""

    def __init__(self, interval_ms: int, pull: Callable[[], None]) -> None:
        super().__init__(name="trigger clock", daemon=True)
        self._interval_s = interval_ms / 1e3
        self._pull = pull
        self._ended = threading.Event()

    def __enter__(self) -> Clock:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        due_s = time.monotonic() + self._interval_s
        while not self._ended.wait(max(0.0, due_s - time.monotonic())):
            self._pull()
            due_s += self._interval_s
