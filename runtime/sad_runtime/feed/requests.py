"""The two sockets that answer: snapshot and commands. A ROUTER each, with a thread each, so that reading back a long
record never delays a trigger.

Whatever arrives here was written by a stranger: bytes that make no sense get a reply that says so, or are dropped and
counted. REQ clients send an empty frame before the message, DEALER clients none; both are answered in their own way.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import zmq

from sad_runtime.errors import SadError
from sad_runtime.feed.address import Context
from sad_runtime.feed.binding import Binding
from sad_runtime.feed.pace import Pace
from sad_runtime.feed.protection import Protection
from sad_runtime.messages import (
    I63,
    SNAPSHOT_PAGE,
    Command,
    CommandReply,
    MessageError,
    SnapshotReply,
    SnapshotRequest,
    decode,
    encode,
    unpack,
)

POLL_MS = 100
REQUESTS_PER_S, BURST = 1000.0, 200
"""What one socket answers. More is left waiting with its sender, and ZeroMQ takes from all senders in turn: beside n
that flood, a trigger waits for n requests, n ms."""

log = logging.getLogger(__name__)


class RequestSocket:
    """`answer` gets the bytes of one request and returns those of its reply; it is called in the thread of `serve`."""

    def __init__(
        self,
        context: Context,
        name: str,
        protection: Protection,
        *,
        max_bytes: int,
        answer: Callable[[bytes], bytes],
    ) -> None:
        self.dropped = 0
        self.answered = 0
        self._pace = Pace(REQUESTS_PER_S, BURST)
        self._name, self._answer, self._warned_s = name, answer, 0.0
        self._socket = context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.MAXMSGSIZE, max_bytes)
        self._socket.setsockopt(zmq.RCVHWM, 100)
        self._socket.setsockopt(zmq.SNDHWM, 16)
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, 1000)
        self._allowed = protection.allowed
        self.binding = Binding(name, self._socket, protection)

    def serve(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.binding.pursue()
            if not self._socket.poll(POLL_MS):
                continue
            wait_s = self._pace.wait_s()
            if wait_s:
                stop.wait(wait_s)
            else:
                self._take(self._socket.recv_multipart(copy=False))

    def _take(self, frames: list[zmq.Frame]) -> None:
        """What lay in the queue when its sender's key was taken off the list is not carried out."""
        if self._is_welcome(frames[-1]):
            self._serve_one([frame.bytes for frame in frames])
        else:
            self._drop("its key is not on the list any more")

    def _is_welcome(self, frame: zmq.Frame) -> bool:
        """By the name that the door gave the connection; sockets without keys have none."""
        if self._allowed is None:
            return True
        try:
            name = frame.get("User-Id")
        except zmq.ZMQError:
            return True
        return not name or name in self._allowed.names()

    def _serve_one(self, frames: list[bytes]) -> None:
        *envelope, request = frames
        if len(envelope) not in (1, 2) or envelope[1:] not in ([], [b""]):
            self._drop(f"{len(frames)} frames")
            return
        try:
            self._socket.send_multipart([*envelope, self._answer(request)], zmq.NOBLOCK)
            self.answered += 1
        except zmq.ZMQError as error:
            self._drop(f"the reply cannot be sent: {error}")

    def _drop(self, why: str) -> None:
        self.dropped += 1
        if time.monotonic() - self._warned_s > 1.0:
            self._warned_s = time.monotonic()
            log.warning("%s socket: request dropped (%s), %d so far", self._name, why, self.dropped)


def answer_command(data: bytes, on_command: Callable[[Command], CommandReply]) -> bytes:
    """The reply to the bytes of a command; never raises."""
    try:
        command = decode(Command, data)
    except MessageError as error:
        return encode(CommandReply(id=_id_in(data), ok=False, error=str(error)))
    try:
        return encode(on_command(command))
    except SadError as error:
        log.warning("command %s refused: %s", command.op, error)
        return encode(CommandReply(id=command.id, ok=False, error=str(error)))
    except Exception:
        log.exception("command %s failed", command.op)
        return encode(CommandReply(id=command.id, ok=False, error="the station failed to do it; see its log"))


def answer_snapshot(data: bytes, station: str, replay: Callable[[SnapshotRequest], SnapshotReply]) -> bytes:
    """The reply to the bytes of a snapshot request; never raises."""
    try:
        request = decode(SnapshotRequest, data)
    except MessageError as error:
        return encode(SnapshotReply(error=str(error)))
    if request.station != station:
        return encode(SnapshotReply(error=f"this is station {station}"))
    try:
        return encode(_one_page(replay(request)))
    except SadError as error:
        log.warning("snapshot of %d to %d refused: %s", request.from_seq, request.to_seq, error)
        return encode(SnapshotReply(error=str(error)))
    except Exception:
        log.exception("snapshot of %d to %d failed", request.from_seq, request.to_seq)
        return encode(SnapshotReply(error="the station failed to read its journal; see its log"))


def _one_page(reply: SnapshotReply) -> SnapshotReply:
    if len(reply.items) <= SNAPSHOT_PAGE:
        return reply
    return reply.model_copy(update={"items": reply.items[:SNAPSHOT_PAGE], "next_seq": reply.items[SNAPSHOT_PAGE].seq})


def _id_in(data: bytes) -> int:
    """The id of a command that is otherwise unreadable, so that its sender can match the refusal; 0 without one."""
    try:
        number = unpack(data).get("id")
    except MessageError:
        return 0
    return number if type(number) is int and 0 <= number <= I63 else 0
