"""The doorkeeper of the feed: says who may come in (ZAP, RFC 27), and writes down who did not.

One thread asks and answers for all four sockets. Without it no encrypted handshake succeeds: each socket enforces its
ZAP domain, and a question that nobody answers ends after HANDSHAKE_IVL. pyzmq's ThreadAuthenticator would do for the
first half, but does not tell which address came with which key.
"""

from __future__ import annotations

import logging
import os
import socket as system_socket
import struct
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import zmq
from zmq.constants import Event

from sad_runtime.feed.address import Context, Socket
from sad_runtime.feed.allowed import AllowList
from sad_runtime.feed.curve_keys import PublicKey
from sad_runtime.feed.protection import DOMAIN
from sad_runtime.feed.refusals import Refusals

ZAP_ADDRESS = "inproc://zeromq.zap.01"
ZAP_VERSION = b"1.0"
POLL_MS = 200
LOOK_EVERY_S = 1.0
"""How soon a key file that came or went is noticed."""
ENTRIES_PER_TURN = 100
CRYPTOGRAPHIC, MECHANISM = 0x11000001, 0x11000002  # ZMQ_PROTOCOL_ERROR_ZMTP_*
FAILED = (Event.HANDSHAKE_FAILED_NO_DETAIL, Event.HANDSHAKE_FAILED_PROTOCOL)

log = logging.getLogger(__name__)


class Reason(NamedTuple):
    kind: str
    words: str


class Watch:
    """What is known of the connections of one socket. libzmq tells the peer and the failure one after the other."""

    def __init__(self, name: str, monitor: Socket) -> None:
        self.name, self.monitor = name, monitor
        self.accepted = self.greeted = self.failed = 0
        self._peers: dict[int, str] = {}
        self._failure: Reason | None = None

    def heard(self, event: int, value: int) -> tuple[str, Reason] | None:
        """(peer, why) once a refused peer is gone."""
        if event == Event.ACCEPTED:
            self.accepted += 1
            self._peers[value] = peer_of(value)
        elif event == Event.HANDSHAKE_SUCCEEDED:
            self.greeted += 1
        elif event == Event.HANDSHAKE_FAILED_AUTH:
            self.failed += 1  # told by the answer itself, with the name of the key
        elif event in FAILED:
            self.failed += 1
            self._failure = reason_of(event, value)
        elif event == Event.DISCONNECTED:
            failure, self._failure = self._failure, None
            peer = self._peers.pop(value, "somebody")
            if failure is not None:
                return peer, failure
        return None


class Door:
    """`serve` in a thread of its own; it owns the ZAP socket and reads the monitors."""

    def __init__(self, context: Context, allowed: AllowList | None, on_removed: Callable[[], None]) -> None:
        """`on_removed` is called when a key went off the list, to end the connections that it has."""
        self.refusals = Refusals()
        self._allowed, self._on_removed = allowed, on_removed
        self._watches: dict[Socket, Watch] = {}
        self._welcomed: dict[tuple[str, str, bytes], float] = {}
        self._look_s = time.monotonic() + LOOK_EVERY_S
        self._zap: Socket | None = None
        if allowed is not None:
            self._zap = context.socket(zmq.ROUTER)
            self._zap.setsockopt(zmq.LINGER, 0)
            self._zap.bind(ZAP_ADDRESS)

    def watch(self, name: str, monitor: Socket) -> None:
        self._watches[monitor] = Watch(name, monitor)

    def counts(self) -> dict[str, int]:
        """Refusals by kind, and `gone`: peers that left, or were cut off for junk, before they said who they are."""
        watches = list(self._watches.values())
        gone = sum(max(0, watch.accepted - watch.greeted - watch.failed) for watch in watches)
        return self.refusals.counts() | ({"gone": gone} if gone else {})

    def serve(self, stop: threading.Event) -> None:
        poller = zmq.Poller()
        for socket in (*self._watches, *([self._zap] if self._zap is not None else [])):
            poller.register(socket, zmq.POLLIN)
        while not stop.is_set():
            for socket, _ in poller.poll(POLL_MS):
                for _ in range(ENTRIES_PER_TURN):
                    if not int(socket.get(zmq.EVENTS)) & zmq.POLLIN:
                        break
                    self._read(socket)
            self._look_at_list()

    def close(self) -> None:
        if self._zap is not None:
            self._zap.close(linger=0)

    def _read(self, socket: Socket) -> None:
        frames = socket.recv_multipart()
        if socket is self._zap:
            self._answer(socket, frames)
            return
        watch = self._watches[socket]
        event, value = struct.unpack("=HI", frames[0])
        refused = watch.heard(event, value)
        if refused is not None:
            peer, (kind, words) = refused
            self.refusals.note(watch.name, peer, kind, words)

    def _answer(self, zap: Socket, frames: list[bytes]) -> None:
        """frames: routing id, empty, version, request id, domain, address, identity, mechanism, credentials..."""
        if len(frames) < 4:
            return
        name = self._let_in(frames)
        status = (b"200", b"OK") if name is not None else (b"400", b"not on the allow-list")
        reply = [frames[0], b"", ZAP_VERSION, frames[3], *status, (name or "").encode(), b""]
        zap.send_multipart(reply, zmq.NOBLOCK)

    def _let_in(self, frames: list[bytes]) -> str | None:
        """The name of the key that is let in; whatever is not exactly right is not."""
        if len(frames) != 9 or frames[2] != ZAP_VERSION or self._allowed is None:
            return None
        domain, address, _, mechanism, key = frames[4:]
        if mechanism != b"CURVE" or not domain.startswith(DOMAIN.encode()):
            return None
        socket, peer = domain[len(DOMAIN) :].decode("ascii", "replace"), address.decode("ascii", "replace")
        name = self._allowed.name_of(key)
        if name is None:
            stranger = PublicKey("unknown", key)
            self.refusals.note(socket, peer, "key", f"its key is not on the list (fingerprint {stranger.fingerprint})")
        else:
            self._welcome(socket, peer, key, name)
        return name

    def _welcome(self, socket: str, peer: str, key: bytes, name: str) -> None:
        """A line in the log, once an hour: recovery connects anew for every question."""
        now_s = time.monotonic()
        if now_s - self._welcomed.get((socket, peer, key), -3600.0) >= 3600.0:
            self._welcomed = {seen: told_s for seen, told_s in self._welcomed.items() if now_s - told_s < 3600.0}
            self._welcomed[socket, peer, key] = now_s
            log.info("%s connected to the %s socket from %s", name, socket, peer)

    def _look_at_list(self) -> None:
        if self._allowed is None or time.monotonic() < self._look_s:
            return
        self._look_s = time.monotonic() + LOOK_EVERY_S
        change = self._allowed.refresh()
        if change is None:
            return
        for key in change.added:
            log.info("%s is on the allow-list now", key)
        for key in change.removed:
            log.warning("%s is off the allow-list; its connections end", key)
        if change.removed:
            self._on_removed()


def reason_of(event: int, value: int) -> Reason:
    """What a failed handshake means, in words."""
    if event == Event.HANDSHAKE_FAILED_PROTOCOL and value == MECHANISM:
        return Reason("plain", "it speaks plain text, and this port is encrypted (or the other way round)")
    if event == Event.HANDSHAKE_FAILED_PROTOCOL and value == CRYPTOGRAPHIC:
        return Reason("server_key", "it holds another public key of this station than the right one")
    if event == Event.HANDSHAKE_FAILED_PROTOCOL:
        return Reason("protocol", f"it does not speak ZeroMQ as agreed (0x{value:08x})")
    return Reason("unfinished", "it hung up, stayed silent or sent junk in the handshake; so does a plain-text reader")


def peer_of(fd: int) -> str:
    """The address at the other end of a connection that libzmq has just accepted; it may be gone already."""
    try:
        copy = os.dup(fd)
    except OSError:
        return "somebody"
    try:
        with system_socket.socket(fileno=copy) as peer:
            name = peer.getpeername()
    except OSError:
        return "somebody"
    return str(name[0]) if isinstance(name, tuple) else "a program on this computer"
