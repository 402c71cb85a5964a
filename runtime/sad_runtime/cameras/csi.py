"""CSI cameras of a Jetson, `csi://0?width=1920&height=1080&fps=30`, through NVIDIA's Argus.

Argus's automatics are on unless told otherwise, so exposure, gain and white balance are always locked here. Argus is
known to hang when it is started anew, until its daemon is restarted: sudo systemctl restart nvargus-daemon
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from sad_runtime.cameras.base import Camera, Setting
from sad_runtime.cameras.gstreamer import GStreamerCamera
from sad_runtime.errors import UsageError
from sad_runtime.schema import Strict, parse

SOURCE, CONVERTER = "nvarguscamerasrc", "nvvidconv"
ADVICE = (
    "CSI cameras are read on a Jetson only, by JetPack's own GStreamer: sudo apt-get install nvidia-l4t-gstreamer "
    "nvidia-l4t-camera. Elsewhere use a USB camera (0) or a network camera (rtsp://HOST/PATH)"
)
FLIPS = {0: 0, 90: 3, 180: 2, 270: 1}
"""Degrees clockwise, and nvvidconv's `flip-method`."""


class CsiOptions(Strict):
    width: int = Field(default=1920, ge=16, le=16384)
    """Of the sensor's own modes (they are listed when the camera opens); others are scaled from one of them."""
    height: int = Field(default=1080, ge=16, le=16384)
    fps: int = Field(default=30, ge=1, le=1000)
    turn: int = 0
    """Degrees clockwise by which the picture is turned: 0, 90, 180, 270."""


class CsiSettings(Strict):
    exposure_us: float = Field(default=5000.0, ge=1, le=1e6)
    """Must be shorter than a picture lasts at `fps`."""
    gain: float = Field(default=1.0, ge=1, le=256)
    """Analogue gain of the sensor, 1 is none."""
    isp_gain: float = Field(default=1.0, ge=1, le=256)
    """Digital gain on top of it."""
    white_balance: int = Field(default=0, ge=0, le=8)
    """Argus's `wbmode`: 0 leaves colours as the sensor sees them, 2 incandescent, 3 fluorescent, 5 daylight. Never 1,
    which is automatic and moves until it is locked."""


def csi_camera(uri: str, sensor: str, options: CsiOptions, settings: Mapping[str, Setting]) -> Camera:
    """Sensor `0`, `1`, ... as Argus counts them. Raises UsageError for what cannot be."""
    if not (sensor.isascii() and sensor.isdigit()):
        raise UsageError(f"camera {uri}: '{sensor}' is not the number of a sensor; write for example csi://0")
    if options.turn not in FLIPS:
        raise UsageError(f"camera {uri}: turn takes one of {', '.join(map(str, FLIPS))} degrees, got {options.turn}")
    locked = parse(CsiSettings, dict(settings), f"camera.settings of {uri}")
    if locked.white_balance == 1:
        raise UsageError(f"camera {uri}: white_balance 1 is automatic; write 0, or 2 to 8 for a fixed one")
    if locked.exposure_us > 1e6 / options.fps:
        raise UsageError(
            f"camera {uri}: an exposure of {locked.exposure_us:g} us does not fit {options.fps} pictures a second; "
            f"at most {1e6 / options.fps:.0f} us"
        )
    across, down = options.width, options.height
    size: dict[str, Setting] = {"width_px": float(across), "height_px": float(down)}
    if options.turn in (90, 270):
        size = {"width_px": float(down), "height_px": float(across)}
    needs = {SOURCE: ADVICE, CONVERTER: ADVICE}
    return GStreamerCamera(uri, csi_pipeline(int(sensor), options, locked), size, needs=needs)


def csi_pipeline(sensor: int, options: CsiOptions, locked: CsiSettings) -> str:
    """Ends in BGRx in ordinary memory, which is what nvvidconv can write."""
    exposure_ns = round(locked.exposure_us * 1e3)
    turned = f" flip-method={FLIPS[options.turn]}" if options.turn else ""
    return (
        f'{SOURCE} sensor-id={sensor} exposuretimerange="{exposure_ns} {exposure_ns}" '
        f'gainrange="{locked.gain:g} {locked.gain:g}" ispdigitalgainrange="{locked.isp_gain:g} {locked.isp_gain:g}" '
        f"aelock=true awblock=true wbmode={locked.white_balance} "
        f"! video/x-raw(memory:NVMM),width={options.width},height={options.height},framerate={options.fps}/1 "
        f"! {CONVERTER}{turned} ! video/x-raw,format=BGRx"
    )
