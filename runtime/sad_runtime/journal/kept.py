"""Keeps pictures of what was not PASS: the model's picture as PNG, and beside it a JPEG with the heatmap over it.

They lie in `pictures/YYYY-MM-DD/` (UTC), named by time, run and seq, under a size and an age limit; the oldest go
first. On a disk that is nearly full none are kept, so that the journal has room. A thread of its own writes. When it
cannot keep up, or the disk refuses, pictures are lost and counted; verdicts never wait.
"""

from __future__ import annotations

import heapq
import queue
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from sad_runtime.decide import Thresholds
from sad_runtime.errors import DataError
from sad_runtime.heatmap import encode_jpeg, overlay
from sad_runtime.inspector import Inspection
from sad_runtime.messages import Decision
from sad_runtime.pictures import encode_png
from sad_runtime.preprocess import Picture
from sad_runtime.station.config import PicturesConfig
from sad_runtime.station.happenings import Happenings

QUEUE = 32
LOOK_AHEAD = 512
CLOSE_S = 2.0
TELL_EVERY_S = 10.0


@dataclass(frozen=True)
class _Wanted:
    decision: Decision
    picture: Picture
    inspection: Inspection | None
    thresholds: Thresholds


class KeptPictures:
    """Opened by `with`. `keep` may be called from any thread and never waits."""

    def __init__(self, folder: Path, config: PicturesConfig, happenings: Happenings) -> None:
        self.lost = 0
        self._folder = folder
        self._config = config
        self._happenings = happenings
        self._queue: queue.Queue[_Wanted | None] = queue.Queue(QUEUE)
        self._bytes = 0
        self._oldest: deque[Path] = deque()
        self._day = ""
        self._told_s = 0.0
        self._thread = threading.Thread(target=self._write_on, name="kept pictures", daemon=True)

    def __enter__(self) -> KeptPictures:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._queue.put(None, timeout=CLOSE_S)
        except queue.Full:
            return
        self._thread.join(CLOSE_S)

    def keep(
        self, decision: Decision, picture: Picture | None, inspection: Inspection | None, thresholds: Thresholds
    ) -> None:
        """`picture`: as the camera gave it, kept where there was no inspection."""
        if decision.verdict not in self._config.keep or not self._config.max_mb:
            return
        shown = inspection.picture if inspection is not None else picture
        if shown is None:
            return
        try:
            self._queue.put_nowait(_Wanted(decision, shown, inspection, thresholds))
        except queue.Full:
            self._lose("the disk is too slow for them")

    def _write_on(self) -> None:
        self._try(self._take_stock)
        while (wanted := self._queue.get()) is not None:
            self._try(self._write, wanted)
            self._try(self._forget_old_ones)

    def _try(self, work: Callable[..., None], *given: object) -> None:
        try:
            work(*given)
        except (OSError, DataError, ValueError) as error:
            self._lose(str(error))

    def _write(self, wanted: _Wanted) -> None:
        decision, now_s = wanted.decision, time.time()
        if shutil.disk_usage(self._folder).free < self._config.leave_free_mb * 2**20:
            raise OSError(f"less than {self._config.leave_free_mb} MB free")
        stamp = time.strftime("%H%M%S", time.gmtime(now_s))
        day = self._folder / _day(now_s)
        day.mkdir(parents=True, exist_ok=True)
        stem = f"{stamp}-{decision.run[:8]}-{decision.seq:08}-{decision.verdict.value}-{decision.reason.value}"
        self._store(day / f"{stem}.png", encode_png(wanted.picture))
        if wanted.inspection is not None:
            shown = overlay(wanted.picture, wanted.inspection.heatmap, wanted.thresholds)
            self._store(day / f"{stem}.jpg", encode_jpeg(shown))

    def _store(self, path: Path, data: bytes) -> None:
        """Whole or not at all. Not synced: a picture lost in a power cut is no loss worth slowing the journal for."""
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            temporary.write_bytes(data)
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._bytes += len(data)

    def _take_stock(self) -> None:
        """Sweeps what a kill left half written, and counts what is there."""
        for leftover in self._folder.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        self._forget_old_ones()
        self._bytes = sum(path.stat().st_size for day in self._days() for path in day.iterdir())

    def _days(self) -> list[Path]:
        """The folders of the days, oldest first."""
        return sorted(self._folder.glob("????-??-??"))

    def _forget_old_ones(self) -> None:
        while self._bytes > self._config.max_mb * 2**20 and (path := self._take_oldest()):
            self._remove(path)
        today = _day(time.time())
        if today != self._day:
            self._day = today
            last = _day(time.time() - self._config.max_days * 86400)
            for path in (path for day in self._days() if day.name < last for path in sorted(day.iterdir())):
                self._remove(path)

    def _take_oldest(self) -> Path | None:
        """Names sort by time. Only the next few are held, not the names of a year."""
        for day in () if self._oldest else self._days():
            self._oldest.extend(heapq.nsmallest(LOOK_AHEAD, day.iterdir()))
            if self._oldest:
                break
        return self._oldest.popleft() if self._oldest else None

    def _remove(self, path: Path) -> None:
        if path.exists():  # or an operator was quicker
            self._bytes -= path.stat().st_size
            path.unlink()
        with suppress(OSError):  # not empty yet
            path.parent.rmdir()

    def _lose(self, why: str) -> None:
        self.lost += 1
        now_s = time.monotonic()
        if now_s - self._told_s > TELL_EVERY_S or self.lost == 1:
            self._told_s = now_s
            text = f"pictures are not kept ({why}); {self.lost} lost so far. Verdicts go on"
            self._happenings.tell("pictures_lost", "warning", text, lost=self.lost)


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
