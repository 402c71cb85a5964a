"""Lets tests see Debian's `gi`, which a virtual environment does not, and says what is missing where they cannot."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

SYSTEM_GI = Path("/usr/lib/python3/dist-packages/gi")
PACKAGES = (
    "python3-gi gir1.2-gst-plugins-base-1.0 gir1.2-gst-rtsp-server-1.0 "
    "gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"
)


def why_no_gstreamer() -> str:
    """Empty where `gi` and GStreamer can be used in this process, else why not."""
    from sad_runtime.cameras.appsink import gstreamer
    from sad_runtime.errors import UsageError

    _show_system_gi()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # gi's own importer is of an old kind, which Python 3.11 warns of
            missing = [name for name in ("videotestsrc", "appsink") if gstreamer().ElementFactory.find(name) is None]
    except UsageError as error:
        return f"{error} (packages: {PACKAGES})"
    return f"GStreamer has no {', '.join(missing)}; packages: {PACKAGES}" if missing else ""


def why_no_rtsp_server() -> str:
    """Empty where peers/rtsp_server.py can be run by the system's Python, else why not."""
    needed = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import Gst; Gst.init(None); "
        + ("print(*[e for e in ('x264enc', 'rtph264pay', 'compositor') if Gst.ElementFactory.find(e) is None])")
    )
    try:
        done = subprocess.run(
            ["/usr/bin/python3", "-c", needed], capture_output=True, text=True, timeout=30, check=False
        )
    except OSError as error:
        return str(error)
    missing = done.stderr.strip()[-200:] if done.returncode else done.stdout.strip()
    return f"{missing}; packages: {PACKAGES}" if missing else ""


def _show_system_gi() -> None:
    """Only `gi` itself, not everything that Debian has installed beside it."""
    try:
        import gi  # noqa: F401
    except ImportError:
        if SYSTEM_GI.is_dir():
            folder = Path(tempfile.mkdtemp(prefix="sad-gi-"))
            (folder / "gi").symlink_to(SYSTEM_GI)
            sys.path.append(str(folder))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
