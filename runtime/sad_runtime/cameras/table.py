"""The one table of cameras: which URI opens which kind.

0  1  /dev/video0  /dev/v4l/by-id/...     a Video4Linux camera
rtsp://HOST/PATH                          a network camera (H.264 or the like)
csi://0?width=&height=&fps=               a CSI camera of a Jetson
gst://PIPELINE                            any GStreamer pipeline up to its appsink
gige://SERIAL  usb3://SERIAL              GigE Vision and USB3 Vision, through Aravis
basler://SERIAL                           Basler, through pypylon
genicam://SERIAL?cti=PATH                 any GenTL producer, through harvesters
file.mp4  video:PATH?fps=&loop=&drop=     a video file
folder:PATH?fps=&loop=&drop=              the pictures of a folder, sorted, with everything below it
demo:PART?defects=&seed=&fps=&n=&size=    rendered parts

A live camera is read in a process of its own (grabber/); `raw_camera_for` is what that process opens.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl

from sad_runtime.cameras.base import Camera, Setting
from sad_runtime.cameras.folder import FolderCamera, FolderOptions
from sad_runtime.cameras.grabber.grabbed import Grabbed
from sad_runtime.cameras.uri import VIDEO_SUFFIXES
from sad_runtime.errors import UsageError
from sad_runtime.faults.camera import FaultyCamera
from sad_runtime.faults.schedule import CAMERA_FAULTS, Schedule
from sad_runtime.schema import Strict, parse

SHAPES = "0, /dev/v4l/by-id/NAME, rtsp://HOST/PATH, gige://SERIAL, FILE.mp4, folder:PATH, demo:PART"

Settings = Mapping[str, Setting]
Options = TypeVar("Options", bound=Strict)


@dataclass(frozen=True)
class Asked:
    """A URI taken apart: `kind` before the colon, `target` after it, `query` after the `?`."""

    uri: str
    kind: str
    target: str
    query: str
    settings: Settings

    def options(self, model: type[Options]) -> Options:
        """The keys after `?`. Raises ConfigError naming a wrong key and the nearest right one."""
        return parse(model, dict(parse_qsl(self.query, keep_blank_values=True)), f"camera {self.uri}")


@dataclass(frozen=True)
class Kind:
    make: Callable[[Asked], Camera]
    example: str
    takes_settings: bool = True


def raw_camera_for(uri: str, settings: Settings | None = None) -> Camera:
    """The closed camera that `uri` names, as its driver is read. Raises UsageError; touches no device."""
    asked = _asked(uri, settings or {})
    kind = KINDS[asked.kind]
    if asked.settings and not kind.takes_settings:
        raise UsageError(f"camera {uri}: takes no settings; they are for real cameras")
    if not asked.target:
        raise UsageError(f"camera {uri}: nothing after '{asked.kind}:'; write for example {kind.example}")
    return kind.make(asked)


def _asked(uri: str, settings: Settings) -> Asked:
    if (uri.isascii() and uri.isdigit()) or uri.startswith("/dev/"):
        return Asked(uri, "v4l2", uri, "", settings)
    head, _, query = uri.partition("?")
    scheme, colon, target = head.partition(":")
    if colon and scheme in KINDS and scheme != "v4l2":
        return Asked(uri, scheme, target.removeprefix("//"), query, settings)
    if head.lower().endswith(VIDEO_SUFFIXES):
        return Asked(uri, "video", head, query, settings)
    raise UsageError(_not_a_camera(uri, scheme if colon else ""))


def _v4l2(asked: Asked) -> Camera:
    from sad_runtime.cameras.v4l2 import V4L2Camera

    device = int(asked.target) if asked.target.isdigit() else asked.target
    return V4L2Camera(asked.uri, device, asked.settings)


def _rtsp(asked: Asked) -> Camera:
    from sad_runtime.cameras.rtsp import RtspCamera

    return RtspCamera(asked.uri, asked.settings)


def _gst(asked: Asked) -> Camera:
    from sad_runtime.cameras.gstreamer import GStreamerCamera

    return GStreamerCamera(asked.uri, asked.uri.removeprefix("gst:").removeprefix("//"), asked.settings)


def _csi(asked: Asked) -> Camera:
    from sad_runtime.cameras.csi import CsiOptions, csi_camera

    return csi_camera(asked.uri, asked.target, asked.options(CsiOptions), asked.settings)


def _aravis(asked: Asked) -> Camera:
    from sad_runtime.cameras.aravis import AravisCamera

    return AravisCamera(asked.uri, asked.target, asked.settings)


def _basler(asked: Asked) -> Camera:
    from sad_runtime.cameras.basler import BaslerCamera

    return BaslerCamera(asked.uri, asked.target, asked.settings)


def _genicam(asked: Asked) -> Camera:
    from sad_runtime.cameras.genicam import GenicamCamera, GenicamOptions

    return GenicamCamera(asked.uri, asked.target, asked.options(GenicamOptions), asked.settings)


def _folder(asked: Asked) -> Camera:
    return FolderCamera(asked.uri, Path(asked.target), asked.options(FolderOptions))


def _video(asked: Asked) -> Camera:
    from sad_runtime.cameras.video import VideoCamera

    return VideoCamera(asked.uri, Path(asked.target), asked.options(FolderOptions))


def _demo(asked: Asked) -> Camera:
    from sad_runtime.cameras.demo.parts import PARTS
    from sad_runtime.cameras.rendered import DemoOptions, RenderedCamera

    if asked.target not in PARTS:
        raise UsageError(f"camera {asked.uri}: no such part{_nearest(asked.target, list(PARTS))}")
    return RenderedCamera(asked.uri, asked.target, asked.options(DemoOptions))


KINDS: dict[str, Kind] = {
    "v4l2": Kind(_v4l2, "0"),
    "rtsp": Kind(_rtsp, "rtsp://192.168.0.10/stream1"),
    "csi": Kind(_csi, "csi://0?width=1920&height=1080&fps=30"),
    "gst": Kind(_gst, "gst://v4l2src device=/dev/video0 ! videoconvert ! video/x-raw,format=BGR"),
    "gige": Kind(_aravis, "gige://21438546"),
    "usb3": Kind(_aravis, "usb3://21438546"),
    "basler": Kind(_basler, "basler://21438546"),
    "genicam": Kind(_genicam, "genicam://21438546?cti=/opt/vendor/producer.cti"),
    "folder": Kind(_folder, "folder:pictures?fps=5", takes_settings=False),
    "video": Kind(_video, "video:line.mp4", takes_settings=False),
    "demo": Kind(_demo, "demo:washer?defects=0.1", takes_settings=False),
}


def _not_a_camera(uri: str, scheme: str) -> str:
    if scheme:
        return (
            f"camera {uri}: no camera of kind '{scheme}:'{_nearest(scheme, [kind for kind in KINDS if kind != 'v4l2'])}"
        )
    if Path(uri).is_dir():
        return f"camera {uri}: a folder; did you mean folder:{uri}?"
    return f"camera {uri}: not the name of a camera; write one of {SHAPES}"


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(sorted(known))}"


def camera_for(
    uri: str, settings: Settings | None = None, *, waiting: int = 1, faults: Schedule | None = None
) -> Camera:
    """The closed camera that `uri` names, behind a process of its own where it is live.

    `waiting`: how many pictures of a live camera may wait; 1 is the newest only. `faults`: to stage. Raises
    UsageError; touches no device.
    """
    camera = raw_camera_for(uri, settings)
    if camera.live:
        return Grabbed(camera, settings or {}, waiting=waiting, faults=faults or Schedule())
    return FaultyCamera(camera, faults) if faults is not None and faults.any_of(CAMERA_FAULTS) else camera
