"""The stand-in that replays a video file, frame by frame, without dropping any."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sad_runtime.cameras.base import Camera, EndOfStream, Frame, frame_now
from sad_runtime.cameras.folder import FolderOptions
from sad_runtime.cameras.pace import Pace
from sad_runtime.errors import DataError


class VideoCamera(Camera):
    """Takes the options of `folder:`. Colour comes out as BGR, as OpenCV decodes it."""

    noisy = False

    def __init__(self, uri: str, path: Path, options: FolderOptions) -> None:
        super().__init__(uri)
        self.endless = options.loop
        self.live = options.drop
        self._path = path
        self._options = options
        self._pace = Pace(options.fps)
        self._capture: Any = None
        self._number = 0

    def open(self) -> None:
        self.close()
        if not self._path.is_file():
            raise DataError(f"{self.uri}: no file {self._path}; is the path right? (it is taken from {Path.cwd()})")
        self._number = 0
        self._rewind()

    def grab(self, timeout_s: float) -> Frame | None:
        if self._capture is None:
            raise EndOfStream(self.uri)
        if not self._pace.wait(timeout_s):
            return None
        since = time.perf_counter()
        ok, picture = self._capture.read()
        if not ok and self._options.loop:
            self._rewind()
            ok, picture = self._capture.read()
        if not ok:
            self.close()
            raise EndOfStream(self.uri)
        number, self._number = self._number, self._number + 1
        return frame_now(np.asarray(picture, np.uint8), number, f"{self._path.name}#{number}", since=since)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
        self._capture = None

    def _rewind(self) -> None:
        self.close()
        self._capture = cv2.VideoCapture(str(self._path))
        if not self._capture.isOpened():
            self.close()
            raise DataError(f"{self.uri}: OpenCV cannot read this video. Try: ffmpeg -i {self._path} again.mp4")
