"""Stages a disk that is full or slow, where the journal and the kept pictures write."""

from __future__ import annotations

import errno
import os
import sqlite3
import time

from sad_runtime.faults.schedule import Schedule

SLOW_S = 0.5


class FaultyDisk:
    def __init__(self, faults: Schedule) -> None:
        self._faults = faults

    def before_row(self) -> None:
        """Called by the journal's writer; raises what SQLite raises."""
        self._wait()
        if self._faults.active("disk-full"):
            raise sqlite3.OperationalError("staged: database or disk is full")

    def before_picture(self) -> None:
        """Called by the pictures' writer."""
        self._wait()
        if self._faults.active("disk-full"):
            raise OSError(errno.ENOSPC, f"staged: {os.strerror(errno.ENOSPC)}")

    def _wait(self) -> None:
        if self._faults.active("disk-slow"):
            time.sleep(SLOW_S)
