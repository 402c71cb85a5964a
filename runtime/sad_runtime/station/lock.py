"""The lock that lets only one process be a station. Taken before anything is bound or opened.

A second bind on an ipc socket silently takes it over, so the sockets themselves do not tell.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from sad_runtime.errors import AlreadyRunning


class StationLock:
    """Held while the process lives; the kernel lets go of it however the process ends."""

    def __init__(self, path: Path, station: str) -> None:
        self._path = path
        self._station = station
        self._handle = -1

    def __enter__(self) -> StationLock:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise AlreadyRunning(
                f"station {self._station} is already running (process {holder}). "
                f"Stop it, or give this one another name: --station NAME"
            ) from None
        self._handle = handle
        with suppress(OSError):  # a full disk; the number is only for the message above
            os.truncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._handle)


def running(lock: Path) -> str | None:
    """The process that is this station now; None when there is none."""
    try:
        handle = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
    finally:
        os.close(handle)
    return None
