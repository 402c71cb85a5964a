"""The station's camera with what a line needs around it: noticing that it is lost or silent, and getting it back.

Reading is in `cameras/`. What a lost camera means for parts and for the line is told in station.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from sad_runtime.cameras.base import Camera, Frame
from sad_runtime.errors import CameraError
from sad_runtime.station.ticking import ticking

BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
FIRST_FRAME_S = 5.0


class Sight:
    """Used by the station's loop only."""

    def __init__(self, camera: Camera, silent_after_s: float | None = None) -> None:
        """`silent_after_s`: None takes what the kind of camera says."""
        self.camera = camera
        self._silent_after_s = silent_after_s or camera.silent_after_s
        self._seen_s = time.monotonic()
        self._shape: tuple[int, ...] | None = None

    def open(self) -> None:
        self.camera.open()
        self._seen_s = time.monotonic()

    def close(self) -> None:
        self.camera.close()

    def grab(self, timeout_s: float) -> Frame | None:
        """Raises CameraError when the camera is lost or has been silent too long, EndOfStream at a regular end."""
        frame = self.camera.grab(timeout_s)
        now_s = time.monotonic()
        if frame is not None:
            self._seen_s = now_s
        elif self._silent_after_s is not None and now_s - self._seen_s > self._silent_after_s:
            raise CameraError(f"camera {self.camera.uri}: no picture for {now_s - self._seen_s:.1f} s")
        return frame

    def fits(self, frame: Frame) -> bool:
        """False for a frame that is not whole, or of another size than a live camera gave at first."""
        if not frame.complete or frame.picture is None:
            return False
        if self.camera.live:
            self._shape = self._shape or frame.picture.shape
            return frame.picture.shape == self._shape
        return True

    def reopen(self, wait: Callable[[float], bool], tick: Callable[[], None]) -> bool:
        """Tries until a picture has come. `wait(seconds)` pauses and says whether to go on; False when it said no."""
        for pause_s in _back_off():
            if not wait(pause_s):
                return False
            try:
                with ticking(tick):
                    self.camera.close()
                    self.open()
                    if self._first_frame():
                        return True
            except CameraError:
                continue  # told once as `camera_lost`; the next try follows
        return False

    def _first_frame(self) -> bool:
        patience_s = self._silent_after_s or FIRST_FRAME_S
        frame = self.camera.grab(patience_s)
        self._seen_s = time.monotonic()
        return frame is not None and frame.complete


def _back_off() -> Iterator[float]:
    yield from BACK_OFF_S
    while True:
        yield BACK_OFF_S[-1]
