"""Keeps pictures of what was not PASS, and of a share of what was: for people, and for `sad-journal rerun`.

The camera's whole picture is kept, lossless, so that any later bundle, with another ROI or input size, can judge it
again; `store: model` keeps the far smaller picture that this model saw. Beside it lies a JPEG with the heatmap over it
(names in picture_names.py). All is under a size and an age limit (picture_stock.py, ages.py). On a disk that is nearly
full none are kept, so that the journal has room. A thread of its own writes. When it cannot keep up, or the disk
refuses, pictures are lost and counted; verdicts never wait.
"""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from hashlib import blake2b
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from sad_runtime.decide import Thresholds
from sad_runtime.errors import DataError
from sad_runtime.heatmap import encode_jpeg, overlay
from sad_runtime.inspector import Inspection
from sad_runtime.journal.ages import DAY_NS, AgeLimit
from sad_runtime.journal.picture_names import CAMERA, MODEL, OVERLAY, day_of, stem_of
from sad_runtime.journal.picture_stock import PictureStock
from sad_runtime.messages import Decision
from sad_runtime.preprocess import Picture
from sad_runtime.station.config import PicturesConfig
from sad_runtime.station.happenings import Happenings
from sad_runtime.verdict import Verdict

QUEUE = 32
MAX_WAITING_BYTES = 128 * 2**20
"""Of pictures that wait for the disk: eight of 5 megapixels in colour, 25 in grey. One may always wait."""
CLOSE_S = 2.0
TELL_EVERY_S = 10.0
LOOK_EVERY_S = 600.0


@dataclass(frozen=True)
class _Wanted:
    decision: Decision
    picture: Picture
    kind: str
    inspection: Inspection | None
    thresholds: Thresholds


class KeptPictures:
    """Opened by `with`. `keep` may be called from any thread and never waits."""

    def __init__(self, folder: Path, config: PicturesConfig, happenings: Happenings) -> None:
        self.lost = 0
        self.before_write: Callable[[], None] | None = None
        """Stages a faulty disk (faults/disk.py)."""
        self._folder = folder
        self._config = config
        self._happenings = happenings
        self._queue: queue.Queue[_Wanted | None] = queue.Queue(QUEUE)
        self._counting = threading.Lock()
        self._waiting_bytes = 0
        self._stock = PictureStock(folder)
        self._ages = AgeLimit(config.max_days)
        self._looked_s: float | None = None
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
        """`picture`: as the camera gave it. It is copied, because the camera may fill it again (3 ms for 15 MB)."""
        if not self._config.max_mb or not self._wants(decision):
            return
        kind = CAMERA
        if inspection is not None and (self._config.store == "model" or picture is None):
            picture, kind = inspection.picture, MODEL
        if picture is None:
            return
        if not self._room_for(picture.nbytes):
            self._lose("the disk is too slow for them")
            return
        try:
            self._queue.put_nowait(_Wanted(decision, np.array(picture), kind, inspection, thresholds))
        except queue.Full:
            self._give_back(picture.nbytes)
            self._lose("the disk is too slow for them")

    def _wants(self, decision: Decision) -> bool:
        if decision.verdict in self._config.keep:
            return True
        return decision.verdict is Verdict.PASS and sampled(decision.run, decision.seq, self._config.sample_pass)

    def _room_for(self, size: int) -> bool:
        with self._counting:
            if self._waiting_bytes and self._waiting_bytes + size > MAX_WAITING_BYTES:
                return False
            self._waiting_bytes += size
            return True

    def _give_back(self, size: int) -> None:
        with self._counting:
            self._waiting_bytes -= size

    def _write_on(self) -> None:
        self._try(self._take_stock)
        while (wanted := self._queue.get()) is not None:
            self._try(self._write, wanted)
            self._give_back(wanted.picture.nbytes)
            self._try(self._forget_old_ones)

    def _try(self, work: Callable[..., None], *given: object) -> None:
        try:
            work(*given)
        except (OSError, DataError, ValueError) as error:
            self._lose(str(error))

    def _write(self, wanted: _Wanted) -> None:
        if self.before_write is not None:
            self.before_write()
        decision, now_s = wanted.decision, time.time()
        if shutil.disk_usage(self._folder).free < self._config.leave_free_mb * 2**20:
            raise OSError(f"less than {self._config.leave_free_mb} MB free")
        day = self._folder / day_of(now_s)
        day.mkdir(parents=True, exist_ok=True)
        stem = stem_of(decision, now_s)
        self._store(day / f"{stem}{wanted.kind}", encode_quickly(wanted.picture))
        if wanted.inspection is not None:
            shown = overlay(wanted.inspection.picture, wanted.inspection.heatmap, wanted.thresholds)
            self._store(day / f"{stem}{OVERLAY}", encode_jpeg(shown))

    def _store(self, path: Path, data: bytes) -> None:
        """Whole or not at all. Not synced: a picture lost in a power cut is no loss worth slowing the journal for."""
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            temporary.write_bytes(data)
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._stock.add(path, len(data))

    def _take_stock(self) -> None:
        self._stock.take()
        dated = [_midnight_ns(day) for day in self._stock.days()]
        self._ages.begin(max((ns for ns in dated if ns is not None and ns <= time.time_ns()), default=None))
        self._forget_old_ones()

    def _forget_old_ones(self) -> None:
        while self._stock.bytes > self._config.max_mb * 2**20 and self._stock.remove_first():
            pass
        now_s = time.monotonic()
        if self._looked_s is not None and now_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        too_old = self._ages.span()
        if too_old is None:
            return
        for day in self._stock.days():
            begun_ns = _midnight_ns(day)
            if begun_ns is not None and too_old.from_ns <= begun_ns < too_old.to_ns - DAY_NS:
                self._stock.remove_day(day)

    def _lose(self, why: str) -> None:
        self.lost += 1
        now_s = time.monotonic()
        if now_s - self._told_s > TELL_EVERY_S or self.lost == 1:
            self._told_s = now_s
            text = f"pictures are not kept ({why}); {self.lost} lost so far. Verdicts go on"
            self._happenings.tell("pictures_lost", "warning", text, lost=self.lost)


def sampled(run: str, seq: int, share: float) -> bool:
    """Whether a PASS is among the `share` (0 to 1) that is kept: always the same ones, spread evenly, never in step
    with a machine of eight nests."""
    drawn = int.from_bytes(blake2b(f"{run} {seq}".encode(), digest_size=8).digest(), "big")
    return drawn < share * 2**64


def encode_quickly(picture: Picture) -> bytes:
    """PNG, lossless, in OpenCV's own setting: 5 megapixels take 60 ms in grey and 180 ms in colour, a quarter of
    what the smallest files of `encode_png` take."""
    ok, data = cv2.imencode(".png", picture)
    if not ok:
        raise DataError("a picture could not be encoded as PNG")
    return bytes(data)


def _midnight_ns(day: Path) -> int | None:
    """When the day of this folder began; None for a name that is no day."""
    try:
        return int(datetime.strptime(day.name, "%Y-%m-%d").replace(tzinfo=timezone.utc).timestamp()) * 10**9
    except ValueError:
        return None
