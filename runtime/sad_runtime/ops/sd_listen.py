"""The other end of sd_notify.py: what a supervisor hears from a station that it started, and when that hangs."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable


class Listening:
    """An address for one process, and what came there. Opened on creation; `close` it."""

    def __init__(self, watchdog_s: float, clock_s: Callable[[], float] = time.monotonic) -> None:
        self.address = f"@sad-{os.getpid()}-{secrets.token_hex(8)}"
        self._ready = False
        self._watchdog_s = watchdog_s
        self._first_s = watchdog_s
        self._clock_s = clock_s
        self._beat_s = clock_s()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._socket.bind("\0" + self.address[1:])

    @property
    def environment(self) -> dict[str, str]:
        """For the process to be started."""
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(round(self._first_s * 1e6))}

    def close(self) -> None:
        self._socket.close()

    def begin(self) -> None:
        """A new process starts; until it is ready it may take its time."""
        self.read()
        self._ready, self._watchdog_s = False, self._first_s

    def read(self) -> None:
        while True:
            try:
                said = self._socket.recv(4096)
            except BlockingIOError:
                return
            for line in said.decode("utf-8", "replace").split("\n"):
                self._heard(*line.partition("=")[::2])

    @property
    def ready(self) -> bool:
        self.read()
        return self._ready

    @property
    def hangs(self) -> bool:
        """True for a station that was ready, and whose loop has not moved for its watchdog's time."""
        return self.ready and self._clock_s() - self._beat_s > self._watchdog_s

    def _heard(self, key: str, value: str) -> None:
        if key == "READY" and value == "1":
            self._ready = True
        if key in ("READY", "WATCHDOG") and value == "1":
            self._beat_s = self._clock_s()
        if key == "WATCHDOG_USEC" and value.isascii() and value.isdigit():
            self._watchdog_s = int(value) / 1e6
