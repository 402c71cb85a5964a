"""The one table of cameras: which URI opens which kind.

0  1  /dev/video0  /dev/v4l/by-id/...     a Video4Linux camera
file.mp4  video:PATH?fps=&loop=&drop=     a video file
folder:PATH?fps=&loop=&drop=              the pictures of a folder, sorted, with everything below it
demo:PART?defects=&seed=&fps=&n=&size=    rendered parts
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl

from sad_runtime.cameras.base import Camera
from sad_runtime.cameras.drain import Drained
from sad_runtime.cameras.folder import FolderCamera, FolderOptions
from sad_runtime.errors import UsageError
from sad_runtime.schema import Strict, parse

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v")
SHAPES = "0, /dev/v4l/by-id/NAME, FILE.mp4, folder:PATH, demo:PART"

Options = TypeVar("Options", bound=Strict)


def camera_for(uri: str, settings: Mapping[str, float] | None = None) -> Camera:
    """The closed camera that `uri` names. Raises UsageError for one that cannot be meant; touches no device."""
    settings = settings or {}
    if uri.isascii() and uri.isdigit():
        return _v4l2(uri, int(uri), settings)
    if uri.startswith("/dev/"):
        return _v4l2(uri, uri, settings)
    if settings:
        raise UsageError(f"camera {uri}: takes no settings; they are for real cameras")
    scheme, colon, rest = uri.partition(":")
    if colon and scheme in SCHEMES:
        target, _, query = rest.partition("?")
        if not target:
            raise UsageError(f"camera {uri}: nothing after '{scheme}:'; write for example {EXAMPLES[scheme]}")
        return SCHEMES[scheme](uri, target, query)
    if uri.partition("?")[0].lower().endswith(VIDEO_SUFFIXES):
        target, _, query = uri.partition("?")
        return _video(uri, target, query)
    raise UsageError(_not_a_camera(uri, scheme if colon else ""))


def _v4l2(uri: str, device: int | str, settings: Mapping[str, float]) -> Camera:
    from sad_runtime.cameras.v4l2 import V4L2Camera

    return Drained(lambda: V4L2Camera(uri, device, settings))


def _folder(uri: str, target: str, query: str) -> Camera:
    options = _options(FolderOptions, uri, query)
    return _drained_if(options.drop, lambda: FolderCamera(uri, Path(target), options))


def _video(uri: str, target: str, query: str) -> Camera:
    from sad_runtime.cameras.video import VideoCamera

    options = _options(FolderOptions, uri, query)
    return _drained_if(options.drop, lambda: VideoCamera(uri, Path(target), options))


def _demo(uri: str, target: str, query: str) -> Camera:
    from sad_runtime.cameras.demo.parts import PARTS
    from sad_runtime.cameras.rendered import DemoOptions, RenderedCamera

    if target not in PARTS:
        raise UsageError(f"camera {uri}: no such part{_nearest(target, list(PARTS))}")
    options = _options(DemoOptions, uri, query)
    return _drained_if(options.drop, lambda: RenderedCamera(uri, target, options))


def _drained_if(drop: bool, make: Callable[[], Camera]) -> Camera:
    return Drained(make) if drop else make()


SCHEMES: dict[str, Callable[[str, str, str], Camera]] = {"folder": _folder, "video": _video, "demo": _demo}
EXAMPLES = {"folder": "folder:pictures?fps=5", "video": "video:line.mp4", "demo": "demo:washer?defects=0.1"}


def _options(model: type[Options], uri: str, query: str) -> Options:
    """The keys after `?`. Raises ConfigError naming a wrong key and the nearest right one."""
    return parse(model, dict(parse_qsl(query, keep_blank_values=True)), f"camera {uri}")


def _not_a_camera(uri: str, scheme: str) -> str:
    if scheme:
        return f"camera {uri}: no camera of kind '{scheme}:'{_nearest(scheme, list(SCHEMES))}"
    if Path(uri).is_dir():
        return f"camera {uri}: a folder; did you mean folder:{uri}?"
    return f"camera {uri}: not the name of a camera; write one of {SHAPES}"


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(sorted(known))}"
