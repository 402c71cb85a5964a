"""The seam to cameras: three verbs, opened by `with`. One kind a file; `table.py` lists them by URI.

A camera only delivers pictures. When a part counts, how long it may take and what a lost camera means for the line
is the station's business.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from sad_runtime.errors import CameraError

if TYPE_CHECKING:
    from sad_runtime.preprocess import Picture

Setting = bool | float | str
"""What a camera is locked to, in its own units: `exposure: 200`, `TriggerMode: On`."""


class EndOfStream(Exception):
    """A folder, file or rendered series has regularly come to its end. Like StopIteration, not an error."""


@dataclass(frozen=True)
class Frame:
    """One picture and where it came from."""

    picture: Picture | None
    """(H, W) grey or (H, W, 3) BGR uint8; None when nothing of it could be read."""
    frame_id: int
    """Counts what the source delivered, from 0. A hole is a picture that nobody took."""
    captured_ns: int
    """Wall clock, for people and file names."""
    mono_ns: int
    """CLOCK_MONOTONIC when the picture was taken (or, where the source cannot tell, arrived)."""
    complete: bool = True
    """False: not the whole picture. It can never become a PASS."""
    source: str = ""
    """Where it came from, for the journal: a file name, or `demo:washer#12 scratch` with the truth."""
    grab_ms: float = 0.0
    """How long reading it took, idle waiting not counted."""


class Camera(ABC):
    """Handed out closed by `table.camera_for`. One thread opens, grabs and closes."""

    live: bool = False
    """True where pictures come whether or not anybody grabs: V4L2, and stand-ins with `drop=1`."""
    endless: bool = True
    """False where EndOfStream is to come. Such a source waits for a first subscriber."""
    silent_after_s: float | None = None
    """A live camera that says nothing for so long is taken for lost. None: it may keep silent (hardware trigger)."""
    noisy: bool = True
    """False where two equal pictures in a row are no fault: compressed streams, drawn and replayed pictures."""
    facts: Mapping[str, str] = {}
    """Of an open camera: `vendor`, `model`, `serial` where it has them, and its settings as read back."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    @abstractmethod
    def open(self) -> None:
        """Raises CameraError, or DataError for a folder or file that holds no pictures."""

    @abstractmethod
    def grab(self, timeout_s: float) -> Frame | None:
        """The next picture, None when there was none in time. Raises CameraError when lost, EndOfStream at the end."""

    def trigger(self) -> None:
        """Has the camera take one picture now. Raises CameraError where it takes no software trigger."""
        raise CameraError(f"camera {self.uri}: takes no software trigger")

    @abstractmethod
    def close(self) -> None:
        """Gives the device back. May be called twice, and on a camera that was never open."""

    def __enter__(self) -> Camera:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def frame_now(
    picture: Picture | None, frame_id: int, source: str, *, complete: bool = True, since: float | None = None
) -> Frame:
    """A frame stamped with this moment. `since`: time.perf_counter() when reading it began."""
    return Frame(
        picture=picture,
        frame_id=frame_id,
        captured_ns=time.time_ns(),
        mono_ns=time.monotonic_ns(),
        complete=complete,
        source=source,
        grab_ms=0.0 if since is None else 1e3 * (time.perf_counter() - since),
    )
