"""The end of a GStreamer pipeline in an OpenCV that was built with it: JetPack's and Debian's are, PyPI's is not.

Second choice after appsink.py: it has no capture times, no words for what failed, no Bayer pictures, and its reading
blocks. A pipeline whose source is no element at all makes it wait for ever (OpenCV 4.6), so that is looked at first.
"""

from __future__ import annotations

import ctypes
import re
import time
from typing import Any

import cv2
import numpy as np

from sad_runtime.cameras.appsink import Sample
from sad_runtime.cameras.masked import masked
from sad_runtime.errors import CameraError


def opencv_has_gstreamer() -> bool:
    return bool(re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()))  # the registry lists it all the same


class OpenCvSink:
    def __init__(self, uri: str, pipeline: str, keep: int | None, advice: str = "") -> None:
        """`advice`: what to tell people beside it when the pipeline does not open."""
        self._uri = uri
        self._pipeline = pipeline
        self._advice = advice
        # OpenCV by itself would take a Bayer mosaic for a grey picture, and BGRx for one of four channels.
        readable = "videoconvert ! video/x-raw,format=(string){BGR,GRAY8}"
        drop = "true" if keep is None else "false"
        self._sink = f"{readable} ! appsink sync=false max-buffers={keep or 1} drop={drop}"
        self._capture: Any = None

    def start(self) -> None:
        wrong = _parser_says(self._pipeline)
        if wrong:
            raise CameraError(
                f"camera {self._uri}: GStreamer cannot build this pipeline: {masked(wrong)}. {self._advice}".rstrip()
            )
        self._capture = cv2.VideoCapture(f"{self._pipeline} ! {self._sink}", cv2.CAP_GSTREAMER)
        if not self._capture.isOpened():
            raise CameraError(
                f"camera {self._uri}: OpenCV's GStreamer does not open this pipeline, and does not say why. "
                f"Try: gst-launch-1.0 -v {masked(self._pipeline)} ! videoconvert ! fakesink. {self._advice}".rstrip()
            )

    def pull(self, timeout_s: float) -> Sample | None:
        """Blocks as long as the pipeline does, whatever `timeout_s` says."""
        try:
            ok, picture = self._capture.read()
        except cv2.error as error:
            raise CameraError(f"camera {self._uri}: {masked(str(error))}") from None
        if not ok or picture is None:
            raise CameraError(f"camera {self._uri}: the pipeline delivers no more pictures")
        return Sample(np.asarray(picture, np.uint8), time.monotonic_ns())

    def stop(self) -> None:
        if self._capture is not None:
            self._capture.release()
        self._capture = None

    def facts(self) -> dict[str, str]:
        return {"gstreamer": "through OpenCV"}


class _Error(ctypes.Structure):
    """GLib's GError."""

    _fields_ = [("domain", ctypes.c_uint32), ("code", ctypes.c_int), ("message", ctypes.c_char_p)]


def _parser_says(pipeline: str) -> str:
    """What GStreamer's parser has against `pipeline`; empty where it has nothing, or cannot be asked."""
    try:
        gst = ctypes.CDLL("libgstreamer-1.0.so.0")
    except OSError:
        return ""
    gst.gst_parse_launch.restype = ctypes.c_void_p
    gst.gst_object_unref.argtypes = [ctypes.c_void_p]
    error = ctypes.POINTER(_Error)()
    gst.gst_init(None, None)
    parsed = gst.gst_parse_launch(f"{pipeline} ! fakesink".encode(), ctypes.byref(error))
    if parsed:
        gst.gst_object_unref(parsed)
    return (error.contents.message or b"").decode("utf-8", "replace") if error else ""
