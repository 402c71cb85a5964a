"""The end of a GStreamer pipeline in Python: starts it, takes its pictures out of an `appsink`, tells what went wrong.

Needs PyGObject (`gi`), which belongs to the system and not to PyPI: it has to fit the system's GStreamer.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

from sad_runtime.cameras.masked import masked
from sad_runtime.cameras.pixel_format import picture_from_raw
from sad_runtime.errors import CameraError, UsageError
from sad_runtime.preprocess import Picture

SINK = "sad_pictures"
START_S = 10.0
SLICE_S = 0.1
BELIEVABLE_NS = 5_000_000_000
NAMES = {
    "GRAY8": "Mono8",
    "BGR": "BGR8",
    "RGB": "RGB8",
    "BGRx": "BGRa8",
    "BGRA": "BGRa8",
    "RGBx": "RGBa8",
    "RGBA": "RGBa8",
}
BAYER = {"rggb": "BayerRG", "gbrg": "BayerGB", "grbg": "BayerGR", "bggr": "BayerBG"}
MISSING_GI = (
    "GStreamer pipelines need PyGObject and GStreamer's own packages, which come with the system. On Debian, Ubuntu "
    "and a Jetson: sudo apt-get install python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-base "
    "gstreamer1.0-plugins-good; then let this environment see them: ln -s /usr/lib/python3/dist-packages/gi {site} "
    "(both Pythons must be of one version, as {version} here)"
)


@dataclass(frozen=True)
class Sample:
    picture: Picture
    mono_ns: int
    """CLOCK_MONOTONIC of the capture where a live pipeline on the system's clock says so, else of the arrival."""


def gstreamer() -> Any:
    """`gi.repository.Gst`, ready for use. Raises UsageError where it is not installed."""
    try:
        import gi

        gi.require_version("Gst", "1.0")
        gi.require_version("GstVideo", "1.0")
        from gi.repository import Gst
    except (ImportError, ValueError) as error:
        site = next((path for path in sys.path if path.endswith("site-packages")), "SITE-PACKAGES")
        hint = MISSING_GI.format(site=site, version=f"{sys.version_info[0]}.{sys.version_info[1]}")
        raise UsageError(f"{hint}. It says: {error}") from None
    Gst.init_check(None)  # its answer has another shape where python3-gst-1.0 is installed too
    if not Gst.is_initialized():
        raise UsageError("GStreamer does not start on this machine; try: gst-inspect-1.0 appsink")
    return Gst


class Appsink:
    """A pipeline that runs. `depth`: bits that count in 16-bit grey and Bayer pictures."""

    def __init__(self, uri: str, pipeline: str, keep: int | None, depth: int) -> None:
        """`keep`: None for the newest picture only, else how many wait, the oldest first.

        Raises UsageError with the parser's words for a pipeline that cannot be built.
        """
        self._gst = Gst = gstreamer()
        from gi.repository import GLib

        self._uri = uri
        self._depth = depth
        sink = f"appsink name={SINK} sync=false max-buffers={keep or 1} drop={'true' if keep is None else 'false'}"
        try:
            self._pipeline = Gst.parse_launch(f"{pipeline} ! {sink}")
        except GLib.Error as error:
            raise UsageError(
                f"camera {uri}: GStreamer cannot build this pipeline: {masked(error.message)}. "
                f"Try: gst-launch-1.0 -v {masked(pipeline)} ! fakesink"
            ) from None
        self._sink = self._pipeline.get_by_name(SINK)
        self._bus = self._pipeline.get_bus()
        self._live = False
        self._trouble = ""

    def start(self) -> None:
        """Raises CameraError when the pipeline's devices do not come up."""
        Gst = self._gst
        self._pipeline.set_state(Gst.State.PAUSED)
        until_s = time.monotonic() + START_S
        while True:
            change, _, _ = self._pipeline.get_state(int(SLICE_S * Gst.SECOND))
            self._listen()
            if change in (Gst.StateChangeReturn.SUCCESS, Gst.StateChangeReturn.NO_PREROLL):
                break
            if self._trouble or change == Gst.StateChangeReturn.FAILURE:
                raise CameraError(f"camera {self._uri}: {self._trouble or 'the pipeline does not start'}")
            if time.monotonic() > until_s:
                raise CameraError(f"camera {self._uri}: the pipeline delivers nothing within {START_S:g} s")
        self._live = change == Gst.StateChangeReturn.NO_PREROLL
        self._pipeline.set_state(Gst.State.PLAYING)

    def pull(self, timeout_s: float) -> Sample | None:
        """The next picture, None when there was none in time. Raises CameraError when the pipeline failed or ended."""
        until_s = time.monotonic() + timeout_s
        while True:
            left_s = max(0.0, min(SLICE_S, until_s - time.monotonic()))
            sample = self._sink.emit("try-pull-sample", int(left_s * self._gst.SECOND))
            arrived_ns = time.monotonic_ns()
            self._listen()
            if sample is not None:
                return Sample(self._picture(sample), self._taken_ns(sample, arrived_ns))
            if self._trouble:
                raise CameraError(f"camera {self._uri}: {self._trouble}")
            if self._sink.get_property("eos"):
                raise CameraError(f"camera {self._uri}: the pipeline's stream has come to its end (EOS)")
            if time.monotonic() >= until_s:
                return None

    def stop(self) -> None:
        self._pipeline.set_state(self._gst.State.NULL)

    def facts(self) -> dict[str, str]:
        clock = self._pipeline.get_clock()
        return {"gstreamer": self._gst.version_string(), "live": str(self._live).lower(), "clock": type(clock).__name__}

    def _listen(self) -> None:
        """Empties the bus, where messages would pile up otherwise, and keeps the first error."""
        message = self._bus.timed_pop_filtered(0, self._gst.MessageType.ERROR)
        if message is None or self._trouble:
            return
        error, detail = message.parse_error()
        where = message.src.get_name() if message.src is not None else "pipeline"
        last = (detail or "").strip().splitlines()[-1:]
        self._trouble = f"{where}: {masked(' '.join([error.message, *last]))}"

    def _taken_ns(self, sample: Any, arrived_ns: int) -> int:
        """A live source stamps a buffer with the pipeline's clock, counted from when the pipeline began to run."""
        Gst = self._gst
        clock = self._pipeline.get_clock()
        stamp = sample.get_buffer().pts
        if not self._live or stamp == Gst.CLOCK_TIME_NONE or not isinstance(clock, Gst.SystemClock):
            return arrived_ns
        if clock.get_property("clock-type") != Gst.ClockType.MONOTONIC:
            return arrived_ns
        taken_ns = int(sample.get_segment().to_running_time(Gst.Format.TIME, stamp)) + self._pipeline.get_base_time()
        return taken_ns if 0 <= arrived_ns - taken_ns < BELIEVABLE_NS else arrived_ns

    def _picture(self, sample: Any) -> Picture:
        caps, buffer = sample.get_caps(), sample.get_buffer()
        if caps is None:
            raise CameraError(
                f"camera {self._uri}: the pipeline delivers bytes that it says nothing of; is it a camera's?"
            )
        shape = caps.get_structure(0)
        _, width = shape.get_int("width")
        _, height = shape.get_int("height")
        name, offset, stride = self._layout(caps, buffer)
        mapped, view = buffer.map(self._gst.MapFlags.READ)
        if not mapped:
            raise CameraError(f"camera {self._uri}: the pipeline's pictures lie in a memory that cannot be read")
        try:
            return picture_from_raw(memoryview(view.data)[offset:], width, height, name, stride)
        finally:
            buffer.unmap(view)

    def _layout(self, caps: Any, buffer: Any) -> tuple[str, int, int]:
        """The pixel format's name in pixel_format.py, where the first row begins, and bytes from row to row."""
        from gi.repository import GstVideo

        shape = caps.get_structure(0)
        kind, given = shape.get_name(), shape.get_string("format") or ""
        if kind == "video/x-bayer" and given.removesuffix("le")[:4] in BAYER:
            deep = given.removesuffix("le")[4:] or "8"
            return BAYER[given[:4]] + deep, 0, buffer.get_size() // shape.get_int("height")[1]
        name = f"Mono{self._depth}" if given == "GRAY16_LE" else NAMES.get(given, "")
        if kind != "video/x-raw" or not name:
            raise CameraError(
                f"camera {self._uri}: the pipeline delivers {kind} {given}".rstrip() + "; this reads "
                f"{', '.join(NAMES)}, GRAY16_LE and video/x-bayer. End it with: ! videoconvert ! video/x-raw,format=BGR"
            )
        # Only buffers laid out in an unusual way say so themselves; the others follow from their caps.
        layout = GstVideo.buffer_get_video_meta(buffer) or GstVideo.VideoInfo.new_from_caps(caps)
        return name, int(layout.offset[0]), int(layout.stride[0])
