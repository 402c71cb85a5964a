"""systemd's notify protocol: ready, stopping, status, and the watchdog, which the station's loop feeds.

    loop ticks        WATCHDOG=1, at most three times in the watchdog's time
    event `ready`     READY=1; until then every event `building` asks for more time to start
    a state           STATUS=; where a part may take longer than the watchdog's time, WATCHDOG_USEC= makes that longer
    event `stopping`  STOPPING=1

The protocol is one datagram of text (https://www.freedesktop.org/software/systemd/man/sd_notify.html). It is spoken
here and not by a library: `sdnotify` reads the environment itself and leaves the watchdog's timing to its caller, which
is most of this file; `cysystemd` and `systemd-python` are compiled against libsystemd, whose headers an edge box has
not. Nothing waits: a message that the manager does not take at once is left out, and the next beat follows.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from types import TracebackType

from sad_runtime.messages import Event

log = logging.getLogger("sad.service")
BEATS = 3
"""Beats to one watchdog time, so that one may be lost."""
SPARE_S = 1.0
"""What the loop may take besides the deadline of the part in hand."""
CLOSING_S = 30.0
BUILDING_S = 120
"""An engine build asks for so much more with every sign of life; it has a limit of its own (engines.build_limit_s)."""


class SdNotify:
    """Opened by `with`. Without an address (not started by systemd) nothing is sent. Any thread may call."""

    def __init__(
        self, address: str | None, watchdog_us: int | None = None, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        """`address`: $NOTIFY_SOCKET, a path or `@` and an abstract name. `watchdog_us`: $WATCHDOG_USEC."""
        self._address = address
        self._least_s = (watchdog_us or 0) / 1e6
        self._watchdog_s = self._least_s
        self._clock_s = clock_s
        self._beat_s = float("-inf")
        self._ready = False
        self._socket: socket.socket | None = None

    def __enter__(self) -> SdNotify:
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ready(self, status: str) -> None:
        self._ready = True
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, text: str) -> None:
        self._send(f"STATUS={_line(text)}")

    def reloading(self) -> None:
        """To be followed by `ready`."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """From here on nobody beats; the unit's own time limit for stopping counts."""
        self._send("STOPPING=1")
        if self._watchdog_s:
            self._watchdog_s += CLOSING_S
            self._send(f"WATCHDOG_USEC={round(self._watchdog_s * 1e6)}\nWATCHDOG=1")

    def more_time(self, seconds: int) -> None:
        """To start or to stop, from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={seconds * 1_000_000}")

    def beat(self) -> None:
        """The loop makes progress. To be called as often as it likes: most calls only look at the clock."""
        if not self._watchdog_s:
            return
        now_s = self._clock_s()
        if now_s - self._beat_s >= self._watchdog_s / BEATS:
            self._beat_s = now_s
            self._send("WATCHDOG=1")

    def entered(self, state: str, deadline_ms: int) -> None:
        """A loop that waits for one part's verdict is not to be killed for it."""
        self.status(state)
        if not self._least_s:
            return
        needed_s = max(self._least_s, deadline_ms / 1e3 + SPARE_S)
        if needed_s != self._watchdog_s:
            self._watchdog_s = needed_s
            self._send(f"WATCHDOG_USEC={round(needed_s * 1e6)}\nWATCHDOG=1")

    def told(self, event: Event) -> None:
        if event.code == "ready":
            self.ready(event.text)
        elif event.code == "stopping":
            self.stopping()
        elif event.code == "building" and not self._ready:
            self.more_time(BUILDING_S)
        elif event.level != "info":
            self.status(event.text)

    def _send(self, text: str) -> None:
        if self._socket is None or not self._address:
            return
        name = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            self._socket.sendto(text.encode("utf-8", "replace"), name)
        except BlockingIOError:
            return  # its queue is full; the next beat follows
        except OSError as error:
            log.warning("%s: the service manager is not told (%s)", self._address, error)


def _line(text: str) -> str:
    """One line: what follows a line's end would be a message of its own."""
    return " ".join(text.split())
