"""Which cameras the kernel knows. None is opened: one that is in use stays undisturbed."""

from __future__ import annotations

import os
from pathlib import Path

from sad_runtime.selftest.line import Line, absent, ok, warn


def camera_lines(serials: bool, root: str = "/") -> list[Line]:
    """`serials`: also the names under by-id, which end with the camera's serial number."""
    base = Path(root)
    nodes = sorted(base.glob("dev/video*"))
    if not nodes:
        return [absent("cameras", "no /dev/video*; folders, videos and demo: need none")]
    names = {link.resolve().name: link.name for link in sorted(base.glob("dev/v4l/by-id/*"))}
    shut = [node.name for node in nodes if not os.access(node, os.R_OK | os.W_OK)]
    text = ", ".join(_told(base, node, names.get(node.name), serials) for node in nodes)
    found = [node.name for node in nodes]
    if shut:
        mend = "Let this user read cameras: sudo usermod -aG video NAME, then log in again."
        return [warn("cameras", f"{text}; no right to open {', '.join(shut)}", mend, nodes=found, shut=shut)]
    return [ok("cameras", text, nodes=found)]


def _told(base: Path, node: Path, by_id: str | None, serials: bool) -> str:
    try:
        name = (base / "sys/class/video4linux" / node.name / "name").read_text(encoding="utf-8").strip()
    except OSError:
        name = "unnamed"
    lasting = "" if by_id is None else f", by-id {by_id}" if serials else ", has a name under /dev/v4l/by-id"
    return f"{node.name} ({name}{lasting})"
