"""SIGTERM and SIGINT: the first asks the station to finish, the second ends the process at once.

A thread reads the signals from a pipe, so both work while the main thread hangs inside an engine or a driver. If the
station has not ended within `grace_s` of the first, the process ends by itself; the journal stands a kill at any time.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

log = logging.getLogger("sad.stop")
SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Opened by `with` in the main thread. `requested` is set by the first signal, or by `ask`."""

    def __init__(self, grace_s: float, leave: Callable[[int], Any] = os._exit) -> None:
        self.requested = threading.Event()
        self._grace_s = grace_s
        self._leave = leave
        self._closing = threading.Event()

    def ask(self) -> None:
        self.requested.set()

    def __enter__(self) -> StopRequest:
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, self._seen) for number in SIGNALS}
        self._thread = threading.Thread(target=self._listen, name="stop signals", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(self._old_fd)
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._closing.set()
        self._writer.send(b"\0")
        self._thread.join()
        self._reader.close()
        self._writer.close()

    def _seen(self, number: int, frame: FrameType | None) -> None:
        self.requested.set()

    def _listen(self) -> None:
        while not self._closing.is_set():
            try:
                numbers = self._reader.recv(64)
            except TimeoutError:
                log.error("the station did not end within %.0f s; leaving", self._grace_s)
                self._leave(1)
                return
            for number in numbers:
                self._heard(number)

    def _heard(self, number: int) -> None:
        if number not in SIGNALS:
            return
        name = signal.Signals(number).name
        if self._reader.gettimeout() is not None:
            log.warning("%s again: leaving now", name)
            self._leave(1)
        log.info("%s: finishing the part in hand; once more to leave at once", name)
        self.requested.set()
        self._reader.settimeout(self._grace_s)
