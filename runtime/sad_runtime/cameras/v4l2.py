"""Cameras of Video4Linux, through OpenCV: `0`, `/dev/video0`, `/dev/v4l/by-id/...`.

Prefer the name by id: an index changes when a plug is moved, and the wrong camera gives the wrong verdict. Reading
blocks, so a process of its own does it (grabber/). Settings are applied, then read back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sad_runtime.cameras.base import Camera, Frame, Setting
from sad_runtime.errors import CameraError, UsageError

SILENT_S = 3.0
PROPERTIES: dict[str, int] = {
    "width_px": cv2.CAP_PROP_FRAME_WIDTH,
    "height_px": cv2.CAP_PROP_FRAME_HEIGHT,
    "fps": cv2.CAP_PROP_FPS,
    "auto_exposure": cv2.CAP_PROP_AUTO_EXPOSURE,
    "exposure": cv2.CAP_PROP_EXPOSURE,
    "gain": cv2.CAP_PROP_GAIN,
    "auto_white_balance": cv2.CAP_PROP_AUTO_WB,
    "white_balance_k": cv2.CAP_PROP_WB_TEMPERATURE,
    "autofocus": cv2.CAP_PROP_AUTOFOCUS,
    "focus": cv2.CAP_PROP_FOCUS,
    "brightness": cv2.CAP_PROP_BRIGHTNESS,
}
"""Settings in the driver's own units, in the order in which they are applied."""


class V4L2Camera(Camera):
    live = True
    silent_after_s = SILENT_S

    def __init__(
        self,
        uri: str,
        device: int | str,
        settings: Mapping[str, Setting],
        *,
        capture: Callable[..., Any] = cv2.VideoCapture,
        devices: Path = Path("/dev"),
    ) -> None:
        super().__init__(uri)
        unknown = sorted(set(settings) - set(PROPERTIES))
        if unknown:
            raise UsageError(f"camera {uri}: no setting {', '.join(unknown)}; there are {', '.join(PROPERTIES)}")
        words = sorted(name for name, value in settings.items() if isinstance(value, str))
        if words:
            raise UsageError(f"camera {uri}: {words[0]} takes a number, in the driver's own units")
        self._device = device
        self._settings = settings
        self._new_capture = capture
        self._devices = devices
        self._capture: Any = None
        self._number = 0

    def open(self) -> None:
        path = self._devices / f"video{self._device}" if isinstance(self._device, int) else Path(self._device)
        if not path.exists():
            raise CameraError(f"camera {self.uri}: there is no {path}. {self._present()}")
        self._capture = self._new_capture(self._device, cv2.CAP_V4L2)
        if not self._capture.isOpened():
            self.close()
            raise CameraError(
                f"camera {self.uri}: {path} is there but does not open. Another program may hold it, or this user "
                f"may not be in the group 'video'. Try: v4l2-ctl --device {path} --all"
            )
        self.facts = _identity(path)
        self._apply_settings()
        self._number = 0

    def grab(self, timeout_s: float) -> Frame | None:
        """Blocks as long as the driver does; `timeout_s` is kept by the thread that drains."""
        if self._capture is None:
            raise CameraError(f"camera {self.uri}: not open")
        try:
            ok, picture = self._capture.read()
        except cv2.error as error:
            raise CameraError(f"camera {self.uri}: {error}") from None
        arrived_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        if not ok or picture is None:
            raise CameraError(f"camera {self.uri}: no longer delivers pictures (unplugged?). {self._present()}")
        taken_ns = self._taken_ns(arrived_ns)
        number, self._number = self._number, self._number + 1
        return Frame(np.asarray(picture, np.uint8), number, wall_ns - (arrived_ns - taken_ns), taken_ns)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
        self._capture = None

    def _taken_ns(self, arrived_ns: int) -> int:
        """The driver's monotonic stamp of the picture where it gives a believable one, else its arrival."""
        stamp_ns = int(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        return stamp_ns if 0 <= arrived_ns - stamp_ns < 5_000_000_000 else arrived_ns

    def _apply_settings(self) -> None:
        for name in (name for name in PROPERTIES if name in self._settings):
            wanted = float(self._settings[name])
            self._capture.set(PROPERTIES[name], wanted)
            got = float(self._capture.get(PROPERTIES[name]))
            if abs(got - wanted) > 0.01 * max(1.0, abs(wanted)):
                self.close()
                raise CameraError(
                    f"camera {self.uri}: refuses {name} = {wanted:g} (it says {got:g}). "
                    f"Take it out of camera.settings, or see what it can do: v4l2-ctl --list-ctrls-menus"
                )
            self.facts = {**self.facts, name: f"{got:g}"}

    def _present(self) -> str:
        found = sorted(str(path) for path in self._devices.glob("video*"))
        if not found:
            return f"There is no video device at all under {self._devices}: is the camera plugged in?"
        return f"There are: {', '.join(found)}. Stable names: ls /dev/v4l/by-id/"


def _identity(path: Path) -> dict[str, str]:
    """What sysfs says of the device: model, and the serial number of its USB plug where there is one."""
    device = Path("/sys/class/video4linux") / path.resolve().name
    facts: dict[str, str] = {}
    for name, file in {"model": device / "name", "serial": device / "device" / ".." / "serial"}.items():
        with suppress(OSError):
            facts[name] = file.read_text(encoding="utf-8", errors="replace").strip()
    return facts
