"""The addresses of one socket: bound in the right order, watched, and bound again to send everybody away.

ZeroMQ cannot cut off one reader. Whoever is taken off the allow-list goes by unbinding, which ends all connections of
that address; those who may still read connect again by themselves within a fraction of a second.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

import zmq

from sad_runtime.errors import UsageError
from sad_runtime.feed.address import Context, Socket, bind, ipc_path
from sad_runtime.feed.protection import Protection

WATCHED = (
    zmq.Event.ACCEPTED
    | zmq.Event.HANDSHAKE_SUCCEEDED
    | zmq.Event.HANDSHAKE_FAILED_NO_DETAIL
    | zmq.Event.HANDSHAKE_FAILED_PROTOCOL
    | zmq.Event.HANDSHAKE_FAILED_AUTH
    | zmq.Event.DISCONNECTED
)
PATIENCE_S = 1.0
"""libzmq gives a port back in its own time, a few ms; after so long somebody else has it."""
COMPLAIN_EVERY_S = 10.0

log = logging.getLogger(__name__)


class Binding:
    """`send_away` from any thread; `pursue` from the thread that owns the socket; the rest while no thread runs."""

    def __init__(self, name: str, socket: Socket, protection: Protection) -> None:
        self.name = name
        self.endpoints: list[str] = []
        self._socket, self._protection = socket, protection
        self._encrypted: list[str] = []
        self._down: list[str] = []
        self._asked = threading.Event()
        self._monitor: Socket | None = None
        self._complain_s = 0.0

    def watch(self, context: Context) -> Socket:
        """The socket on which its connections are told of, for the doorkeeper. Closed by `close`."""
        address = f"inproc://watch-{self.name}"
        self._socket.monitor(address, WATCHED)
        self._monitor = context.socket(zmq.PAIR)
        self._monitor.setsockopt(zmq.RCVHWM, 0)  # with a limit, a slow doorkeeper would block libzmq's I/O thread
        self._monitor.connect(address)
        return self._monitor

    def bind(self, addresses: list[str]) -> None:
        """Fills `endpoints`, in the order given. Raises ConfigError, or UsageError for what cannot be bound."""
        bound: dict[int, str] = {}
        secret = [index for index, address in enumerate(addresses) if self._protection.encrypts(address)]
        for index, address in enumerate(addresses):
            if index in secret:
                continue
            if self._protection.is_open(self.name, address):
                log.warning("%s at %s is PLAIN TEXT: whoever reaches this port reads along", self.name, address)
            bound[index] = bind(self._socket, address)
        if secret:
            self._protection.apply(self.name, self._socket)
        for index in secret:
            bound[index] = bind(self._socket, addresses[index])
        self.endpoints = [bound[index] for index in range(len(addresses))]
        self._encrypted = [bound[index] for index in secret]

    def send_away(self) -> None:
        """Ends every encrypted connection, at the owner's next `pursue`."""
        self._asked.set()

    def pursue(self) -> None:
        """Costs nothing while nobody asked. An address that cannot be bound at once is tried again at the next call."""
        if self._asked.is_set():
            self._asked.clear()
            self._complain_s = time.monotonic() + PATIENCE_S
            for endpoint in self._encrypted:
                if endpoint not in self._down:
                    self._socket.unbind(endpoint)
                    self._down.append(endpoint)
        for endpoint in list(self._down):
            try:
                bind(self._socket, endpoint)
            except UsageError as error:
                self._complain(error)
            else:
                self._down.remove(endpoint)

    def close(self, linger_ms: int) -> None:
        """The monitor first: a context whose monitor is open never ends."""
        if self._monitor is not None:
            self._socket.disable_monitor()
            self._monitor.close(linger=0)
        self._socket.close(linger=linger_ms)
        for path in self._files():
            path.unlink(missing_ok=True)  # libzmq leaves it behind

    def _files(self) -> list[Path]:
        return [path for path in map(ipc_path, self.endpoints) if path is not None]

    def _complain(self, error: UsageError) -> None:
        if time.monotonic() >= self._complain_s:
            self._complain_s = time.monotonic() + COMPLAIN_EVERY_S
            log.error("%s: nobody can connect for now: %s", self.name, error)
