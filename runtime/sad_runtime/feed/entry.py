"""What a reader learns of its own connection: whether the station lets it in, and if not, why.

ZeroMQ is silent about it. After some refusals libzmq goes on knocking, after others it gives up for good without a
word, so that a reader which is put on the list later would wait for ever; `again` says when to connect anew.
"""

from __future__ import annotations

import contextlib
import math
import struct
import time

import zmq
from zmq.constants import Event

from sad_runtime.feed.curve_keys import ClientKeys

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]

WATCHED = (
    Event.HANDSHAKE_SUCCEEDED
    | Event.HANDSHAKE_FAILED_NO_DETAIL
    | Event.HANDSHAKE_FAILED_PROTOCOL
    | Event.HANDSHAKE_FAILED_AUTH
)
KNOCKS = 3
"""Handshakes broken off in a row before it means something; one also breaks off when the station restarts."""
AGAIN_S = 1.0


class Entry:
    """Over one connecting socket; `look` in its thread. `refusal`: why there is no connection, None while there is."""

    def __init__(self, context: Context, socket: Socket, address: str, keys: ClientKeys | None) -> None:
        self.refusal: str | None = None
        self.again_s = math.inf
        """When to connect anew, by time.monotonic."""
        self._socket, self._address, self._keys = socket, address, keys
        self._broken_off = 0
        socket.monitor(f"inproc://entry-{id(self)}", WATCHED)
        self.monitor: Socket = context.socket(zmq.PAIR)
        self.monitor.setsockopt(zmq.RCVHWM, 0)  # libzmq's I/O thread would wait for a reader that does not poll
        self.monitor.connect(f"inproc://entry-{id(self)}")

    def look(self) -> None:
        """Reads what has happened since the last call, and connects anew when it is time to."""
        while int(self.monitor.get(zmq.EVENTS)) & zmq.POLLIN:
            event, value = struct.unpack("=HI", self.monitor.recv_multipart()[0])
            self._heard(event, value)
        if time.monotonic() >= self.again_s:
            self.again_s = math.inf
            self._connect_anew()

    def close(self) -> None:
        """Before the socket: a context whose monitor is open never ends."""
        self._socket.disable_monitor()
        self.monitor.close(linger=0)

    def _heard(self, event: int, value: int) -> None:
        if event == Event.HANDSHAKE_SUCCEEDED:
            self.refusal, self._broken_off = None, 0
        elif event == Event.HANDSHAKE_FAILED_NO_DETAIL:
            self._broken_off += 1
            if self._broken_off >= KNOCKS and self.refusal is None:
                self.refusal = f"{self._address}: {self._why_broken_off()}"
        else:
            why = self._why_not_accepted() if event == Event.HANDSHAKE_FAILED_AUTH else self._why_no_protocol()
            self.refusal = f"{self._address}: {why}"
            self.again_s = time.monotonic() + AGAIN_S

    def _why_not_accepted(self) -> str:
        if self._keys is None:
            return "the station did not let this reader in"
        key = self._keys.own.public
        return (
            f"the station did not accept this key, {key}. Have {key.name}.key put on its allow-list "
            "(feed.security.curve.allow in the station's file)"
        )

    def _why_no_protocol(self) -> str:
        if self._keys is None:
            return "the station wants keys there: --server-key STATION.key --key MINE.key_secret (sad-keys makes them)"
        return "the station speaks plain text there; leave the keys out, or ask at its encrypted address"

    def _why_broken_off(self) -> str:
        """libzmq tells no more than that the other side hung up."""
        if self._keys is None:
            return (
                "whoever listens there breaks off the handshake. A station that wants keys does "
                "(--server-key STATION.key --key MINE.key_secret), and so does what is no station"
            )
        return (
            f"whoever listens there breaks off the handshake. Is {self._keys.server} really this station's key "
            "(sad-keys show on both computers), and is this its encrypted address?"
        )

    def _connect_anew(self) -> None:
        with contextlib.suppress(zmq.ZMQError):  # libzmq may have forgotten it already
            self._socket.disconnect(self._address)
        self._socket.connect(self._address)
