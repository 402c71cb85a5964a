"""Who is talking: the id of this run, and of this boot (where both are equal, monotonic times can be compared)."""

from __future__ import annotations

import uuid
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def new_run() -> str:
    """32 hex digits, new at each start."""
    return uuid.uuid4().hex


def boot_id() -> str:
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return uuid.uuid4().hex
