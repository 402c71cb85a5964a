"""The stand-in that replays pictures: every picture file of a folder, in order of its path.

It never drops: the next file is read when the station asks. A file that cannot be read is a part all the same and
comes out as an incomplete frame, so that it is seen as INVALID and not passed over.
"""

from __future__ import annotations

import time
from pathlib import Path

from pydantic import Field

from sad_runtime.cameras.base import Camera, EndOfStream, Frame, frame_now
from sad_runtime.cameras.pace import Pace
from sad_runtime.errors import DataError
from sad_runtime.pictures import SUFFIXES, decode_picture, picture_files
from sad_runtime.schema import Strict


class FolderOptions(Strict):
    fps: float = Field(default=0.0, ge=0, le=1000)
    """0: as fast as the station takes them."""
    loop: bool = False
    drop: bool = False
    """True imitates a camera: pictures come at `fps` and those that nobody takes are lost."""


class FolderCamera(Camera):
    noisy = False

    def __init__(self, uri: str, folder: Path, options: FolderOptions) -> None:
        super().__init__(uri)
        self.endless = options.loop
        self.live = options.drop
        self._folder = folder
        self._options = options
        self._files: list[Path] = []
        self._next = 0
        self._pace = Pace(options.fps)

    def open(self) -> None:
        if not self._folder.is_dir():
            raise DataError(f"{self.uri}: no folder {self._folder}; is the path right? (it is taken from {Path.cwd()})")
        self._files = picture_files(self._folder, recursive=True)
        if not self._files:
            raise DataError(f"{self.uri}: no pictures in {self._folder} (looked for {', '.join(sorted(SUFFIXES))})")
        self._next = 0

    def grab(self, timeout_s: float) -> Frame | None:
        if self._next >= len(self._files) and not (self._options.loop and self._files):
            raise EndOfStream(self.uri)
        if not self._pace.wait(timeout_s):
            return None
        path = self._files[self._next % len(self._files)]
        number, self._next = self._next, self._next + 1
        since = time.perf_counter()
        source = path.relative_to(self._folder).as_posix()
        try:
            return frame_now(decode_picture(path.read_bytes(), source), number, source, since=since)
        except OSError as error:
            return frame_now(None, number, f"{source}: {error.strerror}", complete=False, since=since)
        except DataError as error:
            return frame_now(None, number, str(error), complete=False, since=since)

    def close(self) -> None:
        self._files = []
