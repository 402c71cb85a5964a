"""Any GStreamer pipeline as a camera, `gst://v4l2src device=/dev/video0 ! videoconvert ! video/x-raw,format=BGR`.

The pipeline is written up to, without, its appsink. Pictures of 16-bit grey and Bayer keep the high 8 of the bits that
the setting `bits` says count (16 where it is not given). A pipeline is taken for a camera: what nobody takes is
dropped, and its end is a loss. Where PyGObject is missing, an OpenCV that was built with GStreamer serves instead.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Protocol

from sad_runtime.cameras.appsink import Appsink, Sample, gstreamer
from sad_runtime.cameras.base import Camera, Frame, Setting
from sad_runtime.cameras.expected import expected_size, whole_number
from sad_runtime.cameras.masked import masked
from sad_runtime.cameras.opencv_sink import OpenCvSink, opencv_has_gstreamer
from sad_runtime.errors import CameraError, UsageError

SILENT_S = 3.0
BITS = (10, 12, 14, 16)


class Sink(Protocol):
    def start(self) -> None: ...

    def pull(self, timeout_s: float) -> Sample | None: ...

    def stop(self) -> None: ...

    def facts(self) -> dict[str, str]: ...


class GStreamerCamera(Camera):
    """`settings`: `bits`, and the `width_px` and `height_px` that its pictures must have."""

    live = True
    silent_after_s = SILENT_S

    def __init__(
        self,
        uri: str,
        pipeline: str,
        settings: Mapping[str, Setting],
        *,
        keep: int | None = None,
        needs: Mapping[str, str] | None = None,
    ) -> None:
        """`keep`: None for the newest picture only; a number where every picture is a part, so many of them waiting.

        `needs`: elements without which the pipeline is no use, each with what to say to people where it is missing.
        """
        super().__init__(masked(uri))
        self._pipeline = pipeline.strip().removesuffix("!").strip()
        self._expected = expected_size(self.uri, settings, ("bits",))
        self._depth = whole_number(self.uri, settings, "bits") or 16
        self._keep = keep
        self._needs = needs or {}
        self._sink: Sink | None = None
        self._number = 0
        self._check()

    def _check(self) -> None:
        if not self._pipeline:
            raise UsageError(f"camera {self.uri}: an empty pipeline; write for example gst://videotestsrc is-live=true")
        if re.search(r"(^|!)\s*appsink\b", self._pipeline):
            raise UsageError(f"camera {self.uri}: leave out the appsink, it is added here; end the pipeline before it")
        if self._depth not in BITS:
            raise UsageError(f"camera {self.uri}: bits takes one of {', '.join(map(str, BITS))}, got {self._depth}")
        if self._keep is not None and self._keep < 1:
            raise ValueError(f"keep is a number of pictures above 0, got {self._keep}")

    def open(self) -> None:
        """Raises UsageError for a pipeline that GStreamer cannot build, CameraError when it does not start."""
        self.close()
        sink = self._new_sink()
        try:
            sink.start()
        except CameraError:
            sink.stop()
            raise
        self._sink = sink
        self._number = 0
        self.facts = {"pipeline": masked(self._pipeline), **sink.facts()}

    def grab(self, timeout_s: float) -> Frame | None:
        if self._sink is None:
            raise CameraError(f"camera {self.uri}: not open")
        sample = self._sink.pull(timeout_s)
        if sample is None:
            return None
        height, width = sample.picture.shape[:2]
        self._expected.check(width, height)
        wall_ns = time.time_ns() - (time.monotonic_ns() - sample.mono_ns)
        number, self._number = self._number, self._number + 1
        return Frame(sample.picture, number, wall_ns, sample.mono_ns)

    def close(self) -> None:
        if self._sink is not None:
            self._sink.stop()
        self._sink = None

    def _new_sink(self) -> Sink:
        try:
            gst = gstreamer()
        except UsageError as missing:
            advice = " ".join(dict.fromkeys(self._needs.values()))
            if self._depth != 16 or not opencv_has_gstreamer():
                raise UsageError(f"camera {self.uri}: {missing}. {advice}".rstrip()) from None
            return OpenCvSink(self.uri, self._pipeline, self._keep, advice)
        for element, advice in self._needs.items():
            if gst.ElementFactory.find(element) is None:
                raise CameraError(f"camera {self.uri}: GStreamer has no {element} here. {advice}")
        return Appsink(self.uri, self._pipeline, self._keep, self._depth)
