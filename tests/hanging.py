"""SIGSTOP, done when it returns: a process of several threads works on for a moment after the signal was sent."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

PATIENCE_S = 5.0


def hang(pid: int) -> None:
    """Stops every thread of the process, until SIGCONT."""
    os.kill(pid, signal.SIGSTOP)
    end_s = time.monotonic() + PATIENCE_S
    while any(_state(task) != "T" for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < end_s, f"process {pid} did not stop"
        time.sleep(0.001)


def _state(task: Path) -> str:
    return (task / "stat").read_text().rpartition(")")[2].split()[0]
