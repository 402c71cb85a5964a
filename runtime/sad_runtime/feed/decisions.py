"""The socket that carries decisions, events, heartbeats and hellos: an XPUB that tells who subscribes.

The loop sends on it directly, without a queue or a thread between, since that is the shortest way to a gate; a lock
makes it safe for the heartbeat thread to use it too. Sending never blocks: at the high-water mark of a subscriber
that does not read, new messages to that one are dropped, and it finds the hole by `seq`.
"""

from __future__ import annotations

import threading
from collections import Counter

import zmq

from sad_runtime.feed.address import Context
from sad_runtime.feed.binding import Binding
from sad_runtime.feed.protection import Protection

MAX_TOPIC_BYTES = 4096
NOTICES_AT_ONCE = 100
"""Subscriptions read while the lock is held: a flood of them must not hold up a decision."""


class DecisionSocket:
    """`send` and the rest may be called from any thread; `close` when all threads that use it have ended."""

    def __init__(self, context: Context, protection: Protection) -> None:
        self._lock = threading.Lock()
        self._topics: Counter[bytes] = Counter()
        self.more = False
        """Whether `new_topics` left some unread."""
        self._socket = context.socket(zmq.XPUB)
        self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)  # every subscription and its end, also the second equal one
        self._socket.setsockopt(zmq.SNDHWM, 1000)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_TOPIC_BYTES)
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, 500)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 1500)
        self._socket.setsockopt(zmq.HANDSHAKE_IVL, 1000)
        self.binding = Binding("decisions", self._socket, protection)

    def pursue(self) -> None:
        """Lets the binding do what it was asked for."""
        with self._lock:
            self.binding.pursue()

    @property
    def fd(self) -> int:
        """Becomes readable when subscriptions may have come; only a hint, `new_topics` tells."""
        return int(self._socket.FD)

    def send(self, topic: bytes, data: bytes) -> None:
        with self._lock:
            self._socket.send(topic, zmq.SNDMORE)
            self._socket.send(data)

    def new_topics(self) -> list[bytes]:
        """Topics subscribed to since the last call, NOTICES_AT_ONCE at most. Does not wait."""
        fresh = []
        with self._lock:
            for _ in range(NOTICES_AT_ONCE):
                self.more = bool(int(self._socket.get(zmq.EVENTS)) & zmq.POLLIN)
                if not self.more:
                    break
                notice = self._socket.recv(zmq.NOBLOCK)
                if notice[:1] == b"\1":
                    self._topics[notice[1:]] += 1
                    fresh.append(notice[1:])
                elif notice[:1] == b"\0":
                    self._forget(notice[1:])
        return fresh

    def subscribers(self, topic: bytes) -> int:
        """How many subscriptions would receive `topic`."""
        with self._lock:
            return sum(count for prefix, count in self._topics.items() if topic.startswith(prefix))

    def _forget(self, topic: bytes) -> None:
        if self._topics[topic] > 1:
            self._topics[topic] -= 1
        else:
            del self._topics[topic]  # strangers think of ever new ones
