"""The features of a GenICam camera (SFNC names: ExposureTime, TriggerMode, ...): set, read back, then left alone.

What Aravis, pylon and GenTL producers share. Each brings its node map as three verbs; the order, the comparison and
the words of a refusal are here.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from typing import Protocol

from sad_runtime.cameras.base import Setting
from sad_runtime.cameras.pixel_format import FORMATS
from sad_runtime.errors import CameraError

SILENT_S = 3.0
HOUSE: dict[str, Setting] = {
    "ExposureAuto": "Off",
    "GainAuto": "Off",
    "BalanceWhiteAuto": "Off",
    "AcquisitionMode": "Continuous",
}
"""Holds where the camera has it and nobody set it otherwise: to a camera that adapts itself no two parts look alike."""
TOLD = (
    "PixelFormat",
    "Width",
    "Height",
    "ExposureTime",
    "ExposureTimeAbs",
    "Gain",
    "GainRaw",
    "TriggerSelector",
    "TriggerMode",
    "TriggerSource",
)
"""Goes into `facts` of every camera that has it. ExposureTimeAbs and GainRaw: the names of cameras before SFNC 2."""
FLOAT_TOLERANCE = 0.01


class NodeMap(Protocol):
    def names(self) -> Collection[str]:
        """All features the camera has, whether or not they can be set at the moment."""
        ...

    def get(self, name: str) -> Setting:
        """bool, int, float, or str for an enumeration or a text. Raises CameraError in the driver's words."""
        ...

    def set(self, name: str, value: Setting) -> None:
        """`value` has the type that `get` gives. Raises CameraError in the driver's words."""
        ...


def locked(nodes: NodeMap, settings: Mapping[str, Setting], camera: str) -> dict[str, str]:
    """Sets `settings` and HOUSE, reads everything back, and returns it for `facts`.

    Raises CameraError for a feature that the camera has not, refuses, or does not keep, and for a pixel format that
    cannot be read. `camera`: how messages name it, e.g. its URI.
    """
    names = nodes.names()
    for name in settings:
        if name not in names:
            raise CameraError(f"camera {camera}: has no feature {name}{_near(name, names)}")
    house = {name: value for name, value in HOUSE.items() if name in names and _readable(nodes, name)}
    wanted = _ordered({**house, **settings})
    # A limit may hang on another setting (Width on OffsetX, TriggerSource on TriggerMode): what is refused at first is
    # tried again once the others are in.
    again = {name: value for name, value in wanted.items() if not _takes(nodes, name, value)}
    for name, value in again.items():
        try:
            _put(nodes, name, value)
        except CameraError as error:
            raise CameraError(f"camera {camera}: {name} = {value}: {error}. Mend it in camera.settings") from None
    for name, value in wanted.items():
        _check_kept(nodes, name, value, camera)
    told = [*wanted, *(name for name in TOLD if name in names and name not in wanted)]
    facts = {name: _shown(nodes.get(name)) for name in told if _readable(nodes, name)}
    _check_format(facts.get("PixelFormat", ""), camera)
    return facts


def silent_after_s(trigger_mode: Setting | None) -> float | None:
    """A triggered camera keeps silent for as long as no part comes; a free-running one does not."""
    return None if trigger_mode in ("On", True) else SILENT_S


def check_software_trigger(facts: Mapping[str, str], camera: str) -> None:
    """Raises CameraError unless a software trigger makes this camera take a picture."""
    mode, source = facts.get("TriggerMode"), facts.get("TriggerSource")
    if mode is None or source is None:
        raise CameraError(f"camera {camera}: takes no software trigger; it has no TriggerMode with a TriggerSource")
    if (mode, source) != ("On", "Software"):
        raise CameraError(
            f"camera {camera}: takes no software trigger, for TriggerMode is {mode} and TriggerSource is {source}. "
            "Set both in camera.settings: TriggerMode: On, TriggerSource: Software"
        )


def _ordered(settings: dict[str, Setting]) -> dict[str, Setting]:
    return dict(sorted(settings.items(), key=lambda item: _rank(item[0])))


def _rank(name: str) -> int:
    """What others depend on comes first; what is alike stays in the order in which it was written."""
    if name.endswith("Selector"):
        return 0
    if name.endswith("Auto"):
        return 1
    if name == "PixelFormat" or name.startswith(("Binning", "Decimation")):
        return 2
    if name in ("Width", "Height"):
        return 3
    if name in ("OffsetX", "OffsetY"):
        return 4
    return 5 if name.endswith(("Enable", "Mode")) else 6


def _takes(nodes: NodeMap, name: str, value: Setting) -> bool:
    try:
        _put(nodes, name, value)
    except CameraError:
        return False
    return True


def _put(nodes: NodeMap, name: str, value: Setting) -> None:
    now = nodes.get(name)
    fitting = _fitting(value, now)
    if not _same(now, fitting):
        nodes.set(name, fitting)


def _fitting(value: Setting, now: Setting) -> Setting:
    """`value` in the type of the feature. YAML reads On and Off as true and false; numbers come as floats."""
    if isinstance(now, bool):
        if isinstance(value, bool):
            return value
        raise CameraError("it takes true or false")
    if isinstance(now, str):
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "On" if value else "Off"
        raise CameraError(f"it takes a word; now it is {now}")
    if isinstance(value, (bool, str)):
        raise CameraError(f"it takes a number; now it is {_shown(now)}")
    if not math.isfinite(value):
        raise CameraError("it takes a number that is one")
    if isinstance(now, float):
        return float(value)
    if not float(value).is_integer():
        raise CameraError("it takes a whole number")
    return int(value)


def _check_kept(nodes: NodeMap, name: str, value: Setting, camera: str) -> None:
    try:
        got = nodes.get(name)
        kept = _same(got, _fitting(value, got))
    except CameraError as error:
        raise CameraError(f"camera {camera}: {name} was set and cannot be read back: {error}") from None
    if not kept:
        raise CameraError(
            f"camera {camera}: {name} was set to {value} and reads {_shown(got)}. Another setting may rule it; "
            f"write {name}: {_shown(got)} in camera.settings, or mend the other one"
        )


def _same(got: Setting, wanted: Setting) -> bool:
    if isinstance(got, float) and isinstance(wanted, float):
        return abs(got - wanted) <= FLOAT_TOLERANCE * max(abs(wanted), 1e-6)
    return got == wanted


def _readable(nodes: NodeMap, name: str) -> bool:
    try:
        nodes.get(name)
    except CameraError:
        return False
    return True


def _check_format(pixel_format: str, camera: str) -> None:
    if pixel_format and pixel_format not in FORMATS:
        raise CameraError(
            f"camera {camera}: pictures of PixelFormat {pixel_format} cannot be read. Set another one in "
            f"camera.settings, for example PixelFormat: Mono8; there are {', '.join(FORMATS)}"
        )


def _shown(value: Setting) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _near(name: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(name, sorted(names), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else "; its features have SFNC names, e.g. ExposureTime"


def driver_words(error: Exception) -> str:
    """What a GenICam library says, without the place in its source."""
    words = str(error)
    said, _, place = words.rpartition(" : ")
    return " ".join((said if "thrown" in place else words).split()).rstrip(". ") or type(error).__name__
