"""A live camera: a thread that always empties it, and a slot that holds the newest picture only.

Drivers buffer. Whoever reads a camera only when needed gets pictures of parts that left long ago (two with V4L2, two
seconds' worth with a network stream). And drivers hang: `grab` waits here, outside the blocking call, so its timeout
holds whatever the driver does. A process in the thread's place, which can also be killed, fits behind the same verbs.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from sad_runtime.cameras.base import Camera, EndOfStream, Frame
from sad_runtime.errors import CameraError, SadError

log = logging.getLogger("sad.camera")
SLICE_S = 0.2
CLOSE_S = 2.0


class Drained(Camera):
    """Latest wins. `make` gives a fresh, closed camera: one whose thread hangs is left behind, not used again."""

    live = True

    def __init__(self, make: Callable[[], Camera]) -> None:
        source = make()
        super().__init__(source.uri)
        self.endless = source.endless
        self.silent_after_s = source.silent_after_s
        self._make = make
        self._slot: _Slot | None = None

    def open(self) -> None:
        self.close()
        source = self._make()
        source.open()
        self._slot = _Slot(source)
        self._slot.start()

    def grab(self, timeout_s: float) -> Frame | None:
        if self._slot is None:
            raise CameraError(f"{self.uri}: not open")
        return self._slot.take(timeout_s)

    def close(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None and not slot.stop():
            log.warning("%s: the driver hangs; its thread is left behind", self.uri)


class _Slot(threading.Thread):
    """The draining thread of one open source, and its newest picture."""

    def __init__(self, source: Camera) -> None:
        super().__init__(name=f"drain {source.uri}", daemon=True)
        self._source = source
        self._changed = threading.Condition()
        self._stopping = False
        self._newest: Frame | None = None
        self._end: CameraError | EndOfStream | None = None

    def run(self) -> None:
        try:
            while not self._stopping:
                frame = self._source.grab(SLICE_S)
                if frame is not None:
                    with self._changed:
                        self._newest = frame
                        self._changed.notify_all()
        except (CameraError, EndOfStream) as end:
            self._ended(end)
        except SadError as error:
            self._ended(CameraError(str(error)))
        finally:
            self._source.close()

    def _ended(self, end: CameraError | EndOfStream) -> None:
        with self._changed:
            self._end = end
            self._changed.notify_all()

    def take(self, timeout_s: float) -> Frame | None:
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._end is not None, timeout_s)
            frame, self._newest = self._newest, None
            if frame is None and self._end is not None:
                raise self._end
            return frame

    def stop(self) -> bool:
        """False when the source did not come back in time."""
        self._stopping = True
        self.join(CLOSE_S)
        return not self.is_alive()
