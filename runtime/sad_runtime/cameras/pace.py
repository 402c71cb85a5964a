"""Keeps a stand-in camera to its pictures per second."""

from __future__ import annotations

import time


class Pace:
    """`fps` 0 means at once. A late caller is not punished: the next picture is due one period after this one."""

    def __init__(self, fps: float) -> None:
        self._period_s = 1.0 / fps if fps > 0 else 0.0
        self._due_s = 0.0

    def wait(self, timeout_s: float) -> bool:
        """True when the next picture is due within `timeout_s`; it has then waited until that moment."""
        now_s = time.monotonic()
        if self._due_s - now_s > timeout_s:
            time.sleep(timeout_s)
            return False
        if self._due_s > now_s:
            time.sleep(self._due_s - now_s)
        self._due_s = max(self._due_s, now_s) + self._period_s
        return True
