"""The Video4Linux cameras the kernel knows, by the names that outlast a moved plug. None is set or made to stream."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

QUERYCAP = 0x80685600
CAPABILITY = struct.Struct("=16s32s32sIII12x")
"""`struct v4l2_capability` of linux/videodev2.h: driver, card, bus, version, capabilities, device_caps."""
CAPTURES = 0x1 | 0x1000
"""V4L2_CAP_VIDEO_CAPTURE and its multi-planar form."""


@dataclass(frozen=True)
class Node:
    path: Path
    """Under by-id where there is such a name, else /dev/videoN."""
    model: str
    serial: str
    may_open: bool
    in_use: bool


def device_caps(path: Path) -> int | None:
    """What the node can do, asked of its driver; None where it does not say."""
    with suppress(OSError):
        file = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            answer = fcntl.ioctl(file, QUERYCAP, bytes(CAPABILITY.size))
        finally:
            os.close(file)
        return int(CAPABILITY.unpack(answer)[5])
    return None


def nodes(root: Path = Path("/"), caps: Callable[[Path], int | None] = device_caps) -> list[Node]:
    """Those that deliver pictures: most USB cameras have a second node, for metadata only."""
    by_id = {link.resolve().name: link for link in sorted(root.glob("dev/v4l/by-id/*"), reverse=True)}
    held = _held(root)
    found = []
    for device in sorted(root.glob("dev/video*"), key=lambda path: (len(path.name), path.name)):
        can = caps(device)
        if can is not None and not can & CAPTURES:
            continue
        about = root / "sys/class/video4linux" / device.name
        found.append(
            Node(
                path=by_id.get(device.name, device),
                model=_read(about / "name") or "unnamed",
                serial=_read(about / "device" / ".." / "serial"),
                may_open=os.access(device, os.R_OK | os.W_OK),
                in_use=device in held,
            )
        )
    return found


def _held(root: Path) -> set[Path]:
    """Device files that some process has open, as far as this user may see."""
    held = set()
    for process in root.glob("proc/[0-9]*"):
        with suppress(OSError):
            for handle in (process / "fd").iterdir():
                with suppress(OSError):
                    held.add(handle.readlink())
    return held


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace").strip()
    return ""
