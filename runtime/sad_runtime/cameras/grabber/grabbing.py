"""The grabber: a process that opens one camera, empties it all the time and puts its pictures into shared memory.

Started by grabbed.py as `python -c ... sad_runtime.cameras.grabber.grabbing ORDER`. Its main thread reads the camera
and may hang in a driver for ever; a second thread listens to the station. It ends when asked to, when the camera has
ended, and, whatever it hangs in, when the station is gone.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import socket
import sys
import threading
from collections import deque

from sad_runtime.cameras.base import Camera, EndOfStream, Frame
from sad_runtime.cameras.grabber.link import Close, Ended, Free, Link, Opened, RingMade, Taken, Trigger
from sad_runtime.cameras.grabber.order import HUNG, GrabberOrder
from sad_runtime.cameras.grabber.ring import Ring, shape_for
from sad_runtime.errors import SadError
from sad_runtime.faults.camera import FaultyCamera
from sad_runtime.faults.schedule import Schedule

log = logging.getLogger("sad.grabber")
SLICE_S = 0.2
LAST_WORDS_S = 1.0
PR_SET_PDEATHSIG = 1


def main() -> int:
    order = GrabberOrder.model_validate_json(sys.argv[1])
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    _die_with(order.parent)
    link = Link(socket.socket(fileno=order.link))
    grabber = Grabber(link, _camera(order), order.slots)
    threading.Thread(target=grabber.listen, name="listen", daemon=True).start()
    grabber.run()
    link.hang_up()
    os._exit(0)  # a driver's own threads are not waited for


def _camera(order: GrabberOrder) -> Camera:
    from sad_runtime.cameras.table import raw_camera_for  # which knows this process by Grabbed

    camera = raw_camera_for(order.uri, order.settings)
    return FaultyCamera(camera, Schedule(order.inject, order.began_ns)) if order.inject else camera


class Grabber:
    def __init__(self, link: Link, camera: Camera, slots: int) -> None:
        self._link, self._camera, self._slots = link, camera, slots
        self._ring: Ring | None = None
        self._number = 0
        self._free: deque[int] = deque()
        self._stopping = threading.Event()

    def run(self) -> None:
        try:
            with self._camera:
                self._link.say(Opened(dict(self._camera.facts)))
                while not self._stopping.is_set():
                    frame = self._camera.grab(SLICE_S)
                    if frame is not None:
                        self._hand_over(frame)
        except (SadError, EndOfStream) as end:
            self._link.say(Ended(type(end).__name__, str(end)))
        except Exception as error:  # the edge of the process: whatever the driver raised, the camera is lost
            log.exception("camera %s", self._camera.uri)
            self._link.say(Ended("CameraError", f"camera {self._camera.uri}: {type(error).__name__}: {error}"))

    def listen(self) -> None:
        while (heard := self._link.hear()) is not None:
            said, _ = heard
            if isinstance(said, Free) and said.ring == self._number:
                self._free.append(said.slot)
            elif isinstance(said, Trigger):
                self._trigger()
            elif isinstance(said, Close):
                break
        self._stopping.set()
        threading.Event().wait(LAST_WORDS_S)
        os._exit(HUNG)  # the main thread is in the driver

    def _trigger(self) -> None:
        try:
            self._camera.trigger()
        except SadError as error:
            log.warning("%s", error)  # the part that waits for this picture gets its INVALID by its deadline

    def _hand_over(self, frame: Frame) -> None:
        picture = frame.picture
        taken = Taken(frame.frame_id, frame.captured_ns, frame.mono_ns, frame.complete, frame.source, frame.grab_ms)
        if picture is None:
            self._link.say(taken)
            return
        ring = self._ring_for(picture.nbytes)
        try:
            slot = self._free.popleft()
        except IndexError:
            return  # the station holds them all; the hole in frame_id tells it
        ring.write(slot, picture)
        self._link.say(Taken(**{**vars(taken), "ring": self._number, "slot": slot, "shape": picture.shape}))

    def _ring_for(self, picture_bytes: int) -> Ring:
        if self._ring is None or picture_bytes > self._ring.shape.slot_bytes:
            if self._ring is not None:
                self._ring.close()
            self._ring = Ring.made(shape_for(self._slots, picture_bytes))
            self._number += 1
            self._free = deque(range(self._slots))
            self._link.say(RingMade(self._number, self._slots, self._ring.shape.slot_bytes), self._ring.fd)
        return self._ring


def _die_with(parent: int) -> None:
    """Linux kills this process when the station dies, even while a driver holds it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
