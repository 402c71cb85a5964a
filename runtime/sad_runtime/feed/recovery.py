"""Fetches what is missing from the snapshot socket: asks, asks again after half the time, gives up after all of it."""

from __future__ import annotations

import logging
import math
import time

import zmq

from sad_runtime.feed.curve_keys import ClientKeys
from sad_runtime.feed.ordering import Hole
from sad_runtime.messages import (
    I63,
    MAX_MESSAGE_BYTES,
    SNAPSHOT_PAGE,
    MessageError,
    SnapshotReply,
    SnapshotRequest,
    decode,
    encode,
)

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]

log = logging.getLogger(__name__)


class Recovery:
    """One question at a time; every page has `timeout_s`. Used by the thread that polls."""

    def __init__(self, context: Context, address: str | None, timeout_s: float, keys: ClientKeys | None) -> None:
        self.socket: Socket | None = None
        """To be polled for an answer while it is there."""
        self._context, self._address, self._timeout_s = context, address, timeout_s
        self._keys = keys
        self._asked: Hole | None = None
        self._ask_again_s = self._give_up_s = math.inf

    @property
    def wake_s(self) -> float:
        """When `pursue` wants to be called again, by time.monotonic; infinity while nothing is missing."""
        return min(self._ask_again_s, self._give_up_s)

    def move_to(self, address: str | None) -> None:
        """Where to ask from now on; what is missing is asked for again, there."""
        if address != self._address:
            self._address, self._asked = address, None

    def pursue(self, hole: Hole, station: str) -> bool:
        """Asks for `hole` when it is time to. False when time is up."""
        now_s = time.monotonic()
        if hole != self._asked:
            self._give_up_s = now_s + self._timeout_s
        elif now_s >= self._give_up_s:
            return False
        if hole != self._asked or now_s >= self._ask_again_s:
            self._asked, self._ask_again_s = hole, now_s + self._timeout_s / 2
            self._ask(hole, station)
        return True

    def read(self) -> SnapshotReply:
        """The answer that the socket has; bytes that are none come back as its `error`."""
        if self.socket is None:
            return SnapshotReply(error="nothing was asked")
        try:
            page = decode(SnapshotReply, self.socket.recv_multipart()[-1])
        except MessageError as error:
            page = SnapshotReply(error=str(error))
        if page.error is not None:
            log.warning("lost decisions cannot be fetched from %s: %s", self._address, page.error)
        return page

    def hang_up(self) -> None:
        self._close()
        self._asked, self._ask_again_s, self._give_up_s = None, math.inf, math.inf

    def _ask(self, hole: Hole, station: str) -> None:
        """On a fresh socket, so that a late answer to an older question cannot be taken for this one's."""
        self._close()
        if self._address is None:
            return  # a hello will tell
        to_seq = I63 if hole.to_seq is None else hole.to_seq
        request = SnapshotRequest(station=station, run=hole.run, from_seq=hole.from_seq, to_seq=to_seq)
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.MAXMSGSIZE, SNAPSHOT_PAGE * MAX_MESSAGE_BYTES)
        if self._keys is not None and self._address.startswith("tcp://"):
            self._keys.apply(self.socket)  # a socket file is plain text
        try:
            self.socket.connect(self._address)
        except zmq.ZMQError as error:
            log.warning("%s: cannot be asked for lost decisions (%s)", self._address, zmq.strerror(error.errno or 0))
            self._close()
        else:
            self.socket.send(encode(request))

    def _close(self) -> None:
        if self.socket is not None:
            self.socket.close(linger=0)
            self.socket = None
