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
from sad_runtime.cameras.grabber.link import Alive, Close, Ended, Free, Link, Opened, RingMade, Taken, Trigger
from sad_runtime.cameras.grabber.order import HUNG, GrabberOrder
from sad_runtime.cameras.grabber.ring import Ring, shape_for
from sad_runtime.errors import SadError
from sad_runtime.faults.camera import FaultyCamera
from sad_runtime.faults.schedule import Schedule

log = logging.getLogger("sad.grabber")
SLICE_S = 0.2
LONGEST_TEXT = 4000
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
        self._lot: tuple[int, deque[int]] = (0, deque())
        """Number of the ring and its free slots: replaced at once, since another thread gives slots back."""
        self._stopping = threading.Event()

    def run(self) -> None:
        try:
            with self._camera:
                self._link.say(Opened(dict(self._camera.facts), self._camera.silent_after_s))
                while not self._stopping.is_set():
                    frame = self._camera.grab(SLICE_S)
                    if frame is not None:
                        self._hand_over(frame)
                    else:
                        self._link.say(Alive())
        except (SadError, EndOfStream) as end:
            self._link.say(Ended(type(end).__name__, str(end)[:LONGEST_TEXT]))
        except Exception as error:  # the edge of the process: whatever the driver raised, the camera is lost
            log.exception("camera %s", self._camera.uri)
            text = f"camera {self._camera.uri}: {type(error).__name__}: {error}"
            self._link.say(Ended("CameraError", text[:LONGEST_TEXT]))

    def listen(self) -> None:
        while (heard := self._link.hear()) is not None:
            said, _ = heard
            number, free = self._lot
            if isinstance(said, Free) and said.ring == number:
                free.append(said.slot)
            elif isinstance(said, Trigger):
                threading.Thread(target=self._trigger, name="trigger", daemon=True).start()  # a driver may hold it
            elif isinstance(said, Close):
                break
        self._stopping.set()
        threading.Event().wait(LAST_WORDS_S)
        os._exit(HUNG)  # the main thread is in the driver

    def _trigger(self) -> None:
        try:
            self._camera.trigger()
        except Exception as error:  # noqa: BLE001  of whichever driver
            log.warning("%s", error)  # the part that waits for this picture gets its INVALID by its deadline

    def _hand_over(self, frame: Frame) -> None:
        picture = frame.picture
        taken = Taken(
            frame.frame_id,
            frame.captured_ns,
            frame.mono_ns,
            frame.complete,
            frame.source[:LONGEST_TEXT],
            frame.grab_ms,
        )
        if picture is None:
            self._link.say(taken)
            return
        ring = self._ring_for(picture.nbytes)
        number, free = self._lot
        try:
            slot = free.popleft()
        except IndexError:
            self._link.say(Alive())
            return  # the station holds them all; the hole in frame_id tells it
        ring.write(slot, picture)
        self._link.say(Taken(**{**vars(taken), "ring": number, "slot": slot, "shape": picture.shape}))

    def _ring_for(self, picture_bytes: int) -> Ring:
        if self._ring is None or picture_bytes > self._ring.shape.slot_bytes:
            if self._ring is not None:
                self._ring.close()
            self._ring = Ring.made(shape_for(self._slots, picture_bytes))
            number = self._lot[0] + 1
            self._lot = (number, deque(range(self._slots)))
            self._link.say(RingMade(number, self._slots, self._ring.shape.slot_bytes), self._ring.fd)
        return self._ring


def _die_with(parent: int) -> None:
    """Linux kills this process when the station dies, even while a driver holds it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
