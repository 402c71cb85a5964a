"""The station's camera with what a line needs around it: noticing that it is lost or silent, and getting it back.

Reading is in `cameras/`. What a lost camera means for parts and for the line is told in station.py.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping

from sad_runtime.cameras.base import Camera, EndOfStream, Frame, Setting
from sad_runtime.errors import CameraError, DeviceLost, SadError
from sad_runtime.station.ticking import ticking

log = logging.getLogger("sad.camera")
BACK_OFF_S = (0.2, 0.5, 1.0, 2.0, 5.0)
FIRST_FRAME_S = 5.0
GOOD_FRAMES = 3
"""Whole pictures of the right size before a camera that came back counts as back."""
IDENTITY = ("vendor", "model", "serial")
SIZES = (("width_px", "height_px"), ("Width", "Height"))
"""What cameras call the size of their pictures among their facts."""


class Sight:
    """Used by the station's loop only."""

    def __init__(
        self,
        camera: Camera,
        silent_after_s: float | None = None,
        expect: Mapping[str, str] | None = None,
        *,
        settings: Mapping[str, Setting] | None = None,
        camera_with: Callable[[Mapping[str, Setting]], Camera] | None = None,
    ) -> None:
        """`silent_after_s`: None takes what the kind of camera says. `expect`: facts that the camera must have.

        `settings`: those that `camera` was made with; `camera_with` makes the same one, closed, with others.
        """
        self.camera = camera
        self.settings = dict(settings or {})
        self._camera_with = camera_with
        self._configured_s = silent_after_s
        self._expect = dict(expect or {})
        self._seen_s = time.monotonic()
        self._shape: tuple[int, ...] | None = None

    @property
    def _silent_after_s(self) -> float | None:
        """The camera may know better once it is open: with a trigger it keeps silent."""
        return self._configured_s or self.camera.silent_after_s

    def open(self) -> None:
        """Raises CameraError also for another camera than expected, or than the one that was opened first."""
        self.camera.open()
        self._check_identity()
        self._seen_s = time.monotonic()

    @property
    def digest(self) -> str:
        """Of the camera's identity and its settings as read back; empty where it says nothing of itself."""
        facts = self.camera.facts
        return hashlib.sha256(json.dumps(sorted(facts.items())).encode()).hexdigest()[:16] if facts else ""

    @property
    def fires(self) -> bool:
        """True where the camera waits for a software trigger."""
        facts = self.camera.facts
        return (facts.get("TriggerMode"), facts.get("TriggerSource")) == ("On", "Software")

    def _check_identity(self) -> None:
        facts = self.camera.facts
        for name, wanted in self._expect.items():
            found = facts.get(name)
            if found != wanted:
                self.camera.close()
                raise CameraError(
                    f"camera {self.camera.uri}: {name} is {found or 'not told'}, this station expects {wanted}. "
                    "Plug the right camera in, or mend camera.expect"
                )
        self._expect = {name: facts[name] for name in IDENTITY if name in facts} | self._expect

    def close(self) -> None:
        self.camera.close()

    def lock_to(self, settings: Mapping[str, Setting]) -> bool:
        """Opens the camera anew where these are other settings; says whether it did.

        Raises SadError where it refuses them: it is open with the old ones then, or closed where it refuses those too,
        which counts as lost from the next grab on.
        """
        if self._camera_with is None or dict(settings) == self.settings:
            return False
        camera = self._camera_with(settings)
        before = self.camera, self.settings, self._shape
        self.camera.close()
        self.camera, self.settings, self._shape = camera, dict(settings), None
        try:
            self.open()
        except SadError as error:
            self.camera.close()
            self.camera, self.settings, self._shape = before
            self._open_again(error)
            raise
        return True

    def go_back(self, settings: Mapping[str, Setting]) -> None:
        """With these settings or not at all: closed where it refuses them now, which counts as lost from the next grab
        on. Pictures of other settings must not be judged by whoever wants these."""
        if self._camera_with is None or dict(settings) == self.settings:
            return
        self.camera.close()
        self.camera, self.settings, self._shape = self._camera_with(settings), dict(settings), None
        try:
            self.open()
        except SadError as error:
            self.camera.close()
            log.warning("%s", error)

    def _open_again(self, refused: SadError) -> None:
        try:
            self.open()
        except SadError as error:
            raise CameraError(f"{refused}. With its earlier settings it does not open either: {error}") from None

    @property
    def size_px(self) -> tuple[int, int] | None:
        """(width, height) of its pictures: as seen of a live camera, else as it says, else unknown."""
        if self._shape is not None:
            return self._shape[1], self._shape[0]
        facts = self.camera.facts
        for width, height in SIZES:
            if facts.get(width, "").isdigit() and facts.get(height, "").isdigit():
                return int(facts[width]), int(facts[height])
        return None

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

    def reopen(
        self, wait: Callable[[float], bool], tick: Callable[[], None], tell: Callable[[str], None] = lambda _: None
    ) -> bool:
        """Tries until good pictures have come. `wait(seconds)` pauses and says whether to go on; False when it said no.

        `tell` is called with why a try failed, where that is another reason than before.
        """
        told = ""
        for pause_s in _back_off():
            if not wait(pause_s):
                return False
            try:
                with ticking(tick):
                    self.camera.close()
                    self.open()
                    if self._good_frames():
                        return True
            except DeviceLost:
                raise
            except (SadError, EndOfStream) as error:  # a pipeline or a share that is away for now, too
                if str(error) != told:
                    told = str(error)
                    tell(told)
        return False

    def _good_frames(self) -> bool:
        """A camera that may keep silent has to open only: its next picture may be hours away."""
        if self._silent_after_s is None and self.camera.live:
            return True
        patience_s = self._silent_after_s or FIRST_FRAME_S
        for _ in range(GOOD_FRAMES if self.camera.live else 1):
            frame = self.camera.grab(patience_s)
            self._seen_s = time.monotonic()
            if frame is None or not self.fits(frame):
                return False
        return True


def _back_off() -> Iterator[float]:
    yield from BACK_OFF_S
    while True:
        yield BACK_OFF_S[-1]
