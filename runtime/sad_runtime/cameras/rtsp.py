"""Network cameras, `rtsp://USER:PASSWORD@HOST/PATH`, through OpenCV and FFmpeg.

Their pictures are compressed, late by some frames and taken when the camera likes: good for a look at the line and for
retrofits, not for a gate. FFmpeg keeps two seconds of them, so such a camera has to be drained all the time, and its
calls hold for seconds where a camera hangs: whoever needs a deadline watches from another process.
OpenCV asks for TCP first by itself (`rtsp_flags=prefer_tcp`), so no variable of the environment is needed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from sad_runtime.cameras.base import Camera, Frame, Setting
from sad_runtime.cameras.expected import expected_size
from sad_runtime.cameras.masked import masked
from sad_runtime.cameras.rtsp_answer import why_not
from sad_runtime.errors import CameraError

SILENT_S = 3.0
OPEN_MS = 5000
READ_MS = 2000


class RtspCamera(Camera):
    """`settings`: the `width_px` and `height_px` that its pictures must have. The camera itself is set up elsewhere."""

    live = True
    noisy = False
    silent_after_s = SILENT_S

    def __init__(self, uri: str, settings: Mapping[str, Setting]) -> None:
        super().__init__(masked(uri))
        self._address = uri
        self._expected = expected_size(self.uri, settings)
        self._capture: Any = None
        self._number = 0

    def open(self) -> None:
        self.close()
        # Only together with CAP_FFMPEG are the times heeded (opencv issue 23207).
        self._capture = cv2.VideoCapture(self._address, cv2.CAP_FFMPEG, _parameters())
        if not self._capture.isOpened():
            self.close()
            raise CameraError(f"camera {self.uri}: does not open: {why_not(self._address)} {self._try()}")
        width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self._check_size(width, height)
        self.facts = {"width_px": str(width), "height_px": str(height), "codec": self._codec()}
        self._number = 0

    def grab(self, timeout_s: float) -> Frame | None:
        """Blocks until the next picture, READ_MS at most, whatever `timeout_s` says."""
        if self._capture is None:
            raise CameraError(f"camera {self.uri}: not open")
        since = time.perf_counter()
        try:
            ok, picture = self._capture.read()
        except cv2.error as error:
            raise CameraError(f"camera {self.uri}: {masked(str(error))}") from None
        arrived_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        silent_s = time.perf_counter() - since
        # After a silence FFmpeg hands out what it had held back: old pictures, which must not pass for new ones.
        if not ok or picture is None or silent_s >= READ_MS / 1e3:
            raise CameraError(
                f"camera {self.uri}: no longer delivers pictures (silent for {silent_s:.1f} s). {self._try()}"
            )
        self._check_size(picture.shape[1], picture.shape[0])
        number, self._number = self._number, self._number + 1
        return Frame(np.asarray(picture, np.uint8), number, wall_ns, arrived_ns)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
        self._capture = None

    def _check_size(self, width: int, height: int) -> None:
        try:
            self._expected.check(width, height)
        except CameraError:
            self.close()
            raise

    def _codec(self) -> str:
        """Its four letters: `h264`."""
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC))
        return "".join(chr(code >> shift & 0x7F) for shift in (0, 8, 16, 24)).strip("\0 ")

    def _try(self) -> str:
        return f"Try: ffplay -rtsp_transport tcp '{self.uri}'"


def _parameters() -> list[int]:
    """One decoding thread: each further one holds a picture back, and hands it out as new once the camera is silent.

    Measured with a camera that hangs and READ_MS 1000: two threads give two old pictures 1 and 2 s later and the error
    after 3 s; one thread gives the error after 1.0 s, now and then with one old picture before it.
    """
    threads = getattr(cv2, "CAP_PROP_N_THREADS", None)  # not before OpenCV 4.6
    times = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPEN_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READ_MS]
    return times if threads is None else [*times, threads, 1]
