"""Which picture belongs to which part, where the camera's own trigger makes pictures and a command announces each part.

The n-th picture belongs to the n-th announcement. Once that may be wrong by one, it stays wrong for every part to come,
and silently: so one picture too few or too many, a hole in the camera's numbers, or a picture that comes too early or
too late for its command, and the two are out of step. From then on nothing is judged until somebody who sees the line
says `resync`. Early and late must together be less than the time between two parts; else the picture of the next part
looks like one that is late.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from sad_runtime.cameras.base import Frame
from sad_runtime.station.part import Part


class Pairing:
    """Announced from the command thread, paired by the loop."""

    def __init__(self, most: int, *, announce_within_ms: int, picture_within_ms: int) -> None:
        """`most`: how many parts may wait for their picture. `announce_within_ms`: the command comes at most so long
        after its picture, by the way through a gateway; `picture_within_ms`: or so long before it.
        """
        self.out_of_step = ""
        """Why nothing can be told apart any more; empty while in step."""
        self._most = most
        self._early_ns, self._late_ns = announce_within_ms * 1_000_000, picture_within_ms * 1_000_000
        self._lock = threading.Lock()
        self._parts: deque[Part] = deque()
        self._last_id: int | None = None
        self._seen_id: int | None = None

    def __len__(self) -> int:
        return len(self._parts)

    def put(self, part: Part) -> bool:
        """Announces a part. False when too many wait already; that is out of step, since its picture will come."""
        with self._lock:
            if len(self._parts) >= self._most:
                self._lose("more parts announced than may wait (trigger.queue)")
                return False
            self._parts.append(part)
            return True

    def look(self) -> None:
        """Notices parts whose picture did not come. Called while no picture comes."""
        latest_ns = time.monotonic_ns() - self._late_ns
        with self._lock:
            overdue = [part for part in self._parts if part.answered or part.started_ns < latest_ns]
            if overdue:
                self._lose(f"{_named(overdue[0])} got no picture: a trigger pulse or a picture was lost")

    def saw(self, frame: Frame) -> None:
        """Every picture that came, whether it counts or not: after `resync` the numbers go on from there."""
        with self._lock:
            self._seen_id = frame.frame_id

    def pair(self, frame: Frame) -> Part | None:
        """The part that `frame` is of; None where no announcement has come (yet), or out of step."""
        with self._lock:
            if self.out_of_step:
                return None
            if not self._parts:
                return None
            part = self._parts[0]
            if part.answered:
                self._lose(f"{_named(part)} got no picture in time, and this one may be its own or the next one's")
            elif self._last_id is not None and frame.frame_id != self._last_id + 1:
                self._lose(f"pictures {self._last_id + 1} to {frame.frame_id - 1} of the camera never came")
            elif (late_ns := part.started_ns - frame.mono_ns) > self._early_ns:
                self._lose(f"{_named(part)} was announced {late_ns / 1e6:.0f} ms after the picture that is its turn")
            elif -late_ns > self._late_ns:
                late_ms = -late_ns / 1e6
                self._lose(f"a picture came {late_ms:.0f} ms after {_named(part)}, and may be the next one's")
            else:
                self._last_id = frame.frame_id
                return self._parts.popleft()
            return None

    def lose(self, why: str) -> None:
        with self._lock:
            self._lose(why)

    def begin_anew(self) -> None:
        """The camera was opened again and counts anew."""
        with self._lock:
            self._last_id = self._seen_id = None

    def resync(self) -> None:
        """In step from here on. What waits now was announced after whoever asked for it was answered."""
        with self._lock:
            self.out_of_step = ""
            self._last_id = self._seen_id

    def empty(self) -> list[Part]:
        """Takes out whatever waits, to be refused; their pictures may still come, so that is out of step."""
        with self._lock:
            parts = self._emptied()
            if parts:
                self._lose("parts were refused while their pictures were on the way")
            return parts

    def _emptied(self) -> list[Part]:
        parts = [part for part in self._parts if not part.answered]
        self._parts.clear()
        return parts

    def _lose(self, why: str) -> None:
        self.out_of_step = self.out_of_step or why


def _named(part: Part) -> str:
    if part.part_id is not None:
        return f"part {part.part_id}"
    return f"trigger {part.trigger_id}" if part.trigger_id is not None else "an announced part"
