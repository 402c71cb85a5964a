"""What lies in the pictures' folder, and in which order it goes when there is too much.

Sampled PASS pictures go before INVALID, INVALID before FAIL, and of a kind the oldest first. A picture goes together
with its overlay. Only the next few names of each verdict are held in memory, not those of a year.
"""

from __future__ import annotations

import heapq
import logging
import os
from collections import Counter, deque
from contextlib import suppress
from pathlib import Path

from sad_runtime.files import reason_of
from sad_runtime.journal.picture_names import CAMERA, MODEL, OVERLAY, days_in
from sad_runtime.verdict import Verdict

log = logging.getLogger("sad.pictures")
FIRST_TO_GO = ("", Verdict.PASS.value, Verdict.INVALID.value, Verdict.FAIL.value)
"""The first is for files that are none of ours, like a note that somebody left there."""
LOOK_AHEAD = 512


class PictureStock:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.bytes = 0
        self._count: dict[str, Counter[str]] = {}
        """Files by verdict, by day."""
        self._next: dict[str, deque[Path]] = {verdict: deque() for verdict in FIRST_TO_GO}

    def take(self) -> None:
        """Sweeps what a kill left half written, and an overlay whose picture is gone; then counts what is there."""
        for leftover in self._folder.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        self.bytes, self._count = 0, {}
        for day in days_in(self._folder):
            with os.scandir(day) as entries:
                sizes = {entry.name: entry.stat().st_size for entry in entries if entry.is_file(follow_symlinks=False)}
            for name, size in sizes.items():
                if name.endswith(OVERLAY) and not any(_twin(name, end) in sizes for end in (CAMERA, MODEL)):
                    (day / name).unlink(missing_ok=True)
                else:
                    self._add(day.name, name, size)
            _remove_if_empty(day)

    def add(self, path: Path, size: int) -> None:
        self._add(path.parent.name, path.name, size)

    def _add(self, day: str, name: str, size: int) -> None:
        self.bytes += size
        self._count.setdefault(day, Counter())[_verdict(name)] += 1

    def remove_first(self) -> bool:
        """Deletes the picture that is wanted least, with its overlay. False when there is none."""
        for verdict in FIRST_TO_GO:
            path = self._oldest(verdict)
            if path is not None:
                self._remove(path)
                return True
        return False

    def remove_day(self, day: Path) -> None:
        for path in sorted(day.iterdir()):
            if path.is_file():
                self._remove(path)
        _remove_if_empty(day)

    def days(self) -> list[Path]:
        return days_in(self._folder)

    def _oldest(self, verdict: str) -> Path | None:
        """The oldest of this verdict. Names sort by time."""
        ahead = self._next[verdict]
        while not ahead:
            day = min((day for day, count in self._count.items() if count[verdict] > 0), default=None)
            if day is None:
                return None
            with suppress(FileNotFoundError), os.scandir(self._folder / day) as entries:
                files = (entry for entry in entries if entry.is_file(follow_symlinks=False))
                found = (entry.name for entry in files if _verdict(entry.name) == verdict)
                ahead.extend(self._folder / day / name for name in heapq.nsmallest(LOOK_AHEAD, found))
            if not ahead:  # an operator was quicker
                self._count[day][verdict] = 0
        return ahead.popleft()

    def _remove(self, path: Path) -> None:
        """The overlay first: a kill in between leaves a picture without one, which is in order."""
        stem = path.name.partition(".")[0]
        for end in (OVERLAY, MODEL, CAMERA) if _verdict(path.name) else (path.name[len(stem) :],):
            self._unlink(path.with_name(stem + end))
        _remove_if_empty(path.parent)

    def _unlink(self, path: Path) -> None:
        size = 0
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:  # not met again until the next start, else it would be for ever
            log.warning("%s cannot be removed: %s", path, reason_of(error))
            size = 0
        self.bytes -= size
        count = self._count.get(path.parent.name, Counter())
        verdict = _verdict(path.name)
        count[verdict] = max(0, count[verdict] - 1)


def _verdict(name: str) -> str:
    """As the file is called; empty for one that is none of ours. Quicker than `kept_name`, for there are many."""
    words = name.partition(".")[0].rsplit("-", 3)
    return words[2] if len(words) == 4 and words[1].isdigit() and words[2] in FIRST_TO_GO else ""


def _twin(name: str, end: str) -> str:
    return name.partition(".")[0] + end


def _remove_if_empty(day: Path) -> None:
    with suppress(OSError):  # not empty yet
        day.rmdir()
