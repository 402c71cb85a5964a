"""Which OpenCV this is, whether there are two, and what it reads pictures and cameras with."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

from sad_runtime.selftest.line import Line, bad, ok, warn

WHEELS = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
READS = ("GStreamer", "v4l/v4l2", "FFMPEG")
MISSING = "Run: pip install 'sad-inspection[headless]'; on a Jetson take the system's own (docs/jetson.md)."
BROKEN = (
    "One that wants libGL: pip uninstall it, then pip install 'sad-inspection[headless]'. One made for another numpy: "
    "install it again together with numpy."
)
TEGRA = Path("/etc/nv_tegra_release")


def opencv_lines() -> list[Line]:
    wheels = installed_wheels()
    try:
        import cv2
    except (ImportError, AttributeError) as error:  # the second: made for another numpy
        if not wheels:
            return [bad("opencv", f"not installed ({error})", MISSING)]
        return [bad("opencv", f"{', '.join(wheels)} cannot be imported ({error})", BROKEN)]
    information = cv2.getBuildInformation()
    reads = {name: bool(re.search(rf"{re.escape(name)}:\s+YES", information, re.I)) for name in READS}
    from_ = ", ".join(wheels) or "no wheel: the system's own"
    said = ", ".join(f"{name} {'yes' if has else 'no'}" for name, has in reads.items())
    text = f"{cv2.__version__} ({from_}); {said}"
    return [_judged(text, wheels, reads, on_jetson=TEGRA.exists())]


def installed_wheels() -> list[str]:
    """OpenCV's packages that are installed; each brings its own cv2, and the last one wins."""
    there = {(found.metadata["Name"] or "").lower().replace("_", "-") for found in metadata.distributions()}
    return [name for name in WHEELS if name in there]


def _judged(text: str, wheels: list[str], reads: dict[str, bool], *, on_jetson: bool) -> Line:
    data = {"wheels": wheels, "reads": reads}
    if len(wheels) > 1:
        mend = f"They overwrite each other's files. Run: pip uninstall {' '.join(wheels)}; then install one."
        return Line(about="opencv", standing="bad", text=text, mend=mend, data=data)
    if on_jetson and wheels and not reads["GStreamer"]:
        mend = f"CSI cameras need the system's OpenCV, which this hides. Run: pip uninstall {wheels[0]}"
        return Line(about="opencv", standing="warn", text=text, mend=mend, data=data)
    if not reads["v4l/v4l2"]:
        return warn("opencv", text, "USB cameras need V4L2: take another build of OpenCV.", **data)
    return ok("opencv", text, **data)
