"""Counts who was not let in, and says so in the log: each peer and reason now and then, all of them never too often."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable

SAME_AGAIN_S = 60.0
"""How long one peer with one reason is not mentioned again."""
BURST, BURST_S = 10, 10.0
"""Lines at most in so long, whoever knocks."""

log = logging.getLogger(__name__)


class Refusals:
    """`note` from the doorkeeper's thread; `counts` from any."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._told: dict[tuple[str, str, str], float] = {}
        self._lines: list[float] = []
        self._unsaid = 0

    def note(self, socket: str, peer: str, kind: str, words: str) -> None:
        """`kind`: a word to count by. `words`: `its key is not on the list`."""
        with self._lock:
            self._counts[kind] += 1
        now_s = self._clock_s()
        if now_s - self._told.get((socket, peer, words), -SAME_AGAIN_S) < SAME_AGAIN_S:
            return
        self._lines = [line_s for line_s in self._lines if now_s - line_s < BURST_S]
        if len(self._lines) >= BURST:
            self._unsaid += 1
            return
        if self._unsaid:
            log.warning("%d more refusals were not written down", self._unsaid)
            self._unsaid = 0
        self._lines.append(now_s)
        self._told = {key: told_s for key, told_s in self._told.items() if now_s - told_s < SAME_AGAIN_S}
        self._told[socket, peer, words] = now_s
        log.warning("%s refused on the %s socket: %s", peer, socket, words)

    def counts(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)
