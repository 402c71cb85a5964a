"""A live camera, read by a process of its own (grabbing.py): always emptied, watched from outside, killed if it hangs.

Drivers buffer. Whoever reads a camera only when needed gets pictures of parts that left long ago (two with V4L2, two
seconds' worth with a network stream). And drivers hang: here the caller only ever waits for a message, so its timeout
holds whatever the driver does, and `close` ends in a kill. Pictures cross by shared memory and are not copied while
few are in hand.
"""

from __future__ import annotations

import logging
import os
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sad_runtime.cameras.base import Camera, EndOfStream, Frame, Setting
from sad_runtime.cameras.grabber.link import Close, Ended, Free, Link, Opened, RingMade, Taken, Trigger
from sad_runtime.cameras.grabber.order import HUNG, GrabberOrder
from sad_runtime.cameras.grabber.ring import Ring, Shape
from sad_runtime.child_process import command_for
from sad_runtime.errors import CameraError, ConfigError, DataError, MissingExtra, UsageError
from sad_runtime.faults.schedule import CAMERA_FAULTS, Schedule

log = logging.getLogger("sad.camera")
CHILD = "sad_runtime.cameras.grabber.grabbing"
OPEN_S = 20.0
"""What opening may take: the slowest network cameras need some seconds, and Python itself half a second."""
CLOSE_S = 3.0
HANGS_S = 10.0
"""Without a word for so long its driver hangs. Network cameras may block for some seconds in a single call."""
MOST_LENT = 3
SPARE = 3
"""Slots beyond those lent and waiting: one being written, one just handed over, one on its way back."""


class Grabbed(Camera):
    """`waiting` 1: the newest picture wins. More: pictures wait in order, so many at most, for lines where every
    trigger of the camera is a part."""

    live = True

    def __init__(
        self,
        source: Camera,
        settings: Mapping[str, Setting],
        *,
        waiting: int = 1,
        faults: Schedule,
    ) -> None:
        """`source`: the closed camera as the child will open it; only its promises are read here."""
        super().__init__(source.uri)
        self.endless, self.silent_after_s, self.noisy = source.endless, source.silent_after_s, source.noisy
        self._settings, self._waiting, self._faults = dict(settings), waiting, faults
        self._child: _Child | None = None

    def open(self) -> None:
        self.close()
        child = _Child(self._order(), self._waiting)
        try:
            opened = child.opened()
            self.facts, self.silent_after_s = opened.facts, opened.silent_after_s
        except BaseException:
            child.end()
            raise
        self._child = child

    def grab(self, timeout_s: float) -> Frame | None:
        if self._child is None:
            raise CameraError(f"{self.uri}: not open")
        return self._child.take(timeout_s)

    def trigger(self) -> None:
        if self._child is not None:
            self._child.link.say(Trigger(), wait=False)

    def close(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()

    @property
    def process_id(self) -> int | None:
        return None if self._child is None else self._child.process.pid

    def _order(self) -> GrabberOrder:
        return GrabberOrder(
            uri=self.uri,
            settings=self._settings,
            slots=self._waiting + MOST_LENT + SPARE,
            link=0,
            parent=0,
            inject=self._faults.text if self._faults.any_of(CAMERA_FAULTS) else "",
            began_ns=self._faults.began_ns,
        )


class _Child(threading.Thread):
    """One grabber process and the thread that hears it."""

    def __init__(self, order: GrabberOrder, waiting: int) -> None:
        super().__init__(name=f"grabber {order.uri}", daemon=True)
        self._uri, self._waiting = order.uri, waiting
        self._changed = threading.Condition()
        self._frames: deque[Taken] = deque()
        self._opened: Opened | None = None
        self._heard_s = time.monotonic()
        self._end: Exception | None = None
        self._ring: Ring | None = None
        self._number = 0
        self._lent: set[int] = set()
        self.process, self.link = _started(order)
        self.start()

    def opened(self) -> Opened:
        """Once the camera is. Raises what opening raised, CameraError when that takes too long."""
        with self._changed:
            self._changed.wait_for(lambda: self._opened is not None or self._end is not None, OPEN_S)
            if self._opened is not None:
                return self._opened
            raise self._end or CameraError(f"camera {self._uri}: does not open within {OPEN_S:.0f} s")

    def run(self) -> None:
        try:
            while (heard := self.link.hear()) is not None:
                said, fd = heard
                with self._changed:
                    self._heard_s = time.monotonic()
                    self._take_in(said, fd)
                    self._changed.notify_all()
        except Exception as error:
            log.exception("camera %s", self._uri)
            with self._changed:
                self._end = self._end or CameraError(f"camera {self._uri}: its process cannot be understood ({error})")
        with self._changed:
            self._end = self._end or CameraError(
                f"camera {self._uri}: its process ended (killed, or the driver crashed)"
            )
            self._changed.notify_all()

    def _take_in(self, said: object, fd: int | None) -> None:
        if isinstance(said, Taken):
            self._frames.append(said)
            while len(self._frames) > self._waiting:
                self._give_back(self._frames.popleft())
        elif isinstance(said, RingMade):
            if fd is None:
                raise OSError("no memory came with its ring; are too many files open?")
            if self._ring is not None:
                self._ring.close()
            self._number, self._lent = said.number, set()
            self._ring = Ring(fd, Shape(said.slots, said.slot_bytes), writable=False)
        elif isinstance(said, Opened):
            self._opened = said
        elif isinstance(said, Ended):
            self._end = _error_from(said)

    def take(self, timeout_s: float) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._end is not None, timeout_s)
            if not self._frames:
                if self._end is not None:
                    raise self._end
                if time.monotonic() - self._heard_s > HANGS_S:
                    raise CameraError(f"camera {self._uri}: its driver hangs")
                return None
            taken = self._frames.popleft()
            return Frame(
                picture=self._picture(taken),
                frame_id=taken.frame_id,
                captured_ns=taken.captured_ns,
                mono_ns=taken.mono_ns,
                complete=taken.complete,
                source=taken.source,
                grab_ms=taken.grab_ms,
            )

    def _picture(self, taken: Taken) -> NDArray[np.uint8] | None:
        """Lent until whoever has it lets go; copied when many are lent, so that the camera never runs out of slots."""
        if taken.slot is None or self._ring is None or taken.ring != self._number:
            return None
        lent = self._lent
        flat = self._ring.view(taken.slot, int(np.prod(taken.shape)))
        if len(lent) >= MOST_LENT:
            copied = flat.copy()
            self._give_back(taken)
            return np.asarray(copied.reshape(taken.shape))
        lent.add(taken.slot)
        weakref.finalize(flat, self._let_go, lent, taken).atexit = False  # every view of the picture holds `flat`
        return np.asarray(flat.reshape(taken.shape))

    def _let_go(self, lent: set[int], taken: Taken) -> None:
        """In whichever thread the last reader was, perhaps one that holds the lock: so without it."""
        lent.discard(taken.slot or 0)
        self._give_back(taken)

    def _give_back(self, taken: Taken) -> None:
        if taken.slot is not None:
            self.link.say(Free(taken.ring, taken.slot), wait=False)

    def end(self) -> None:
        """Asked first, then killed: a driver that hangs holds its own process only."""
        self.link.say(Close(), wait=False)
        try:
            hung = self.process.wait(CLOSE_S) == HUNG
        except subprocess.TimeoutExpired:
            hung = True
            self._kill()
        if hung:
            log.warning("camera %s: the driver hangs; its process was ended", self._uri)
        self.link.hang_up()
        self.join()
        self.link.close()
        if self._ring is not None:
            self._ring.close()

    def _kill(self) -> None:
        """One that waits inside the kernel does not die of it, and is left behind: the station goes on."""
        self.process.kill()
        try:
            self.process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            log.error("camera %s: its process %d does not end, and is left behind", self._uri, self.process.pid)


def _started(order: GrabberOrder) -> tuple[subprocess.Popen[bytes], Link]:
    """In a session of its own, so that Ctrl-C reaches the station alone, which then ends the grabber."""
    ours, theirs = Link.pair()
    try:
        told = order.model_copy(update={"link": theirs.fileno(), "parent": os.getpid()})
        process = subprocess.Popen(
            command_for(CHILD, told.model_dump_json()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
    except OSError as error:
        ours.close()
        raise CameraError(f"camera {order.uri}: no process for it can be started ({error})") from None
    finally:
        theirs.close()
    return process, Link(ours)


def _error_from(ended: Ended) -> Exception:
    if ended.error == EndOfStream.__name__:
        return EndOfStream(ended.text)
    kinds = {kind.__name__: kind for kind in (DataError, UsageError, ConfigError)}
    kinds[MissingExtra.__name__] = UsageError
    return kinds.get(ended.error, CameraError)(ended.text)
