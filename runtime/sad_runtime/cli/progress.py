"""Progress with an estimate of what is left, on stderr: a live line on a terminal, a line each ten seconds in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Iterator
from typing import TextIO, TypeVar

T = TypeVar("T")


class Progress:
    """Call `step` as often as you like; it prints when there is something new to say."""

    def __init__(self, what: str, total: int, *, done: int = 0, stream: TextIO | None = None) -> None:
        self.what, self.total, self.done = what, total, done
        self._first = done
        self._stream = stream if stream is not None else sys.stderr
        self._live = self._stream.isatty()
        self._start = time.monotonic()
        self._shown = self._start if not self._live else 0.0

    def step(self, done: int, note: str = "") -> None:
        self.done = done
        now = time.monotonic()
        last = done >= self.total
        if not last and now - self._shown < (0.2 if self._live else 10.0):
            return
        if last and not self._live and now - self._start < 5.0:
            return
        self._shown = now
        self._print(now, note, last)

    def _print(self, now: float, note: str, last: bool) -> None:
        elapsed_s = now - self._start
        fresh = self.done - self._first
        left_s = elapsed_s / fresh * (self.total - self.done) if fresh else 0.0
        when = f"{clock(elapsed_s)} done" if last else f"{clock(left_s)} left"
        line = f"{self.what}: {self.done}/{self.total} ({when}){'  ' + note if note else ''}"
        if self._live:
            print(f"\r\x1b[2K{line}", end="\n" if last else "", file=self._stream, flush=True)
        else:
            print(line, file=self._stream, flush=True)


def progressing(items: Collection[T], what: str) -> Iterator[T]:
    """`items`, with progress."""
    progress = Progress(what, len(items))
    for done, item in enumerate(items, start=1):
        yield item
        progress.step(done)


def clock(seconds: float) -> str:
    """`75` as `1:15`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
