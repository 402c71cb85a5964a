"""Which device a camera's URI means. Opens nothing; table.py has what opens which kind."""

from __future__ import annotations

import os
from pathlib import Path

VIDEO_SUFFIXES = (".mp4", ".avi", ".mkv", ".mov", ".webm", ".m4v")
SHAREABLE = ("folder", "video", "demo")
"""Kinds that open no device."""
BY_SERIAL = ("gige", "usb3", "basler", "genicam")
"""Kinds that reach the same device by its serial number."""


def device_of(uri: str) -> str | None:
    """The device behind a camera's URI, equal for two ways of naming the same one; None where nothing is taken."""
    if uri.isascii() and uri.isdigit():
        uri = f"/dev/video{int(uri)}"
    if uri.startswith("/dev/"):
        return str(Path(os.path.realpath(uri)))
    head, _, _ = uri.partition("?")
    scheme, _, target = head.partition(":")
    if scheme in SHAREABLE or head.lower().endswith(VIDEO_SUFFIXES):
        return None
    target = target.removeprefix("//")
    return f"serial {target}" if scheme in BY_SERIAL else f"{scheme}:{target}"
