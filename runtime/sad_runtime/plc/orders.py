"""Orders to the station's command socket, and its answers, in a thread of their own.

A trigger is of this moment: it is sent to a station that is connected now or not at all, never kept for one that comes
back later, and after one that was not answered the connection is made anew.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from types import TracebackType

import zmq

from sad_runtime.feed.curve_keys import ClientKeys
from sad_runtime.messages import Command, CommandReply, MessageError, decode, encode
from sad_runtime.plc.answer import Answer, NoReply
from sad_runtime.plc.inbox import Inbox

log = logging.getLogger(__name__)
ANSWER_S = 1.0
RESYNC_S = 3.0
"""The station itself waits a second for its loop."""
CHANGE_OVER_S = 190.0
"""What a change-over may take (station/orders.py), and a little more."""
LOOK_MS = 50
END_S = 2.0


OnAnswer = Callable[[Command, Answer], None]
"""Called in the thread of the orders, once for each of them."""


class Orders:
    """Opened by `with`; `send` may be called by any thread and returns at once."""

    def __init__(self, address: str | None, keys: ClientKeys | None, on_answer: OnAnswer) -> None:
        """Without an address nothing can be sent."""
        self._address, self._on_answer = address, on_answer
        self._keys = keys if address is not None and address.startswith("tcp://") else None
        self.failure: str | None = None
        """Why nothing can be sent any more."""
        self._stop, self._anew = threading.Event(), threading.Event()
        self._inbox: Inbox[Command] = Inbox()
        self._open: dict[int, tuple[Command, float]] = {}
        """Sent and not answered: until when by time.monotonic."""

    def __enter__(self) -> Orders:
        self._inbox.__enter__()
        self._thread = threading.Thread(target=self._run, name="orders", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(END_S)
        if not self._thread.is_alive():
            self._inbox.__exit__(None, None, None)

    def send(self, command: Command) -> None:
        self._inbox.put(command)

    def forget(self) -> None:
        """The station was started anew: nobody answers what it was asked before."""
        self._anew.set()

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:
            log.exception("orders to %s cannot be sent any more", self._address)
            self.failure = f"orders to {self._address}: {error}"

    def _work(self) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        socket: zmq.Socket[bytes] | None = None
        try:
            socket = self._connected(context)
            while not self._stop.is_set():
                socket = self._turn(context, socket)
        finally:
            if socket is not None:
                socket.close(linger=0)
            context.term()

    def _turn(
        self, context: zmq.Context[zmq.Socket[bytes]], socket: zmq.Socket[bytes] | None
    ) -> zmq.Socket[bytes] | None:
        poller = zmq.Poller()
        poller.register(self._inbox.fd, zmq.POLLIN)
        if socket is not None:
            poller.register(socket, zmq.POLLIN)
        readable = dict(poller.poll(LOOK_MS))
        if socket is not None and socket in readable:
            self._read(socket)
        if self._overdue() and socket is not None:
            socket.close(linger=0)  # whatever it still holds is not of this moment
            socket = self._connected(context)
        for command in self._inbox.take():
            self._send(socket, command)
        return socket

    def _connected(self, context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes] | None:
        if self._address is None:
            return None
        socket = context.socket(zmq.DEALER)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.SNDHWM, 100)
        socket.setsockopt(zmq.HEARTBEAT_IVL, 500)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 1500)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        if self._keys is not None:
            self._keys.apply(socket)
        try:
            socket.connect(self._address)
        except zmq.ZMQError:
            socket.close()
            raise
        return socket

    def _send(self, socket: zmq.Socket[bytes] | None, command: Command) -> None:
        try:
            if socket is None:
                raise zmq.Again
            socket.send(encode(command), zmq.NOBLOCK)
        except zmq.Again:
            self._on_answer(command, NoReply.NOT_SENT)
            return
        self._open[command.id] = (command, time.monotonic() + self._limit_s(command))

    def _limit_s(self, command: Command) -> float:
        """What is sent during a change-over waits for it at the station."""
        if command.op == "resync":
            return RESYNC_S
        changing = any(open_.op == "recipe" for open_, _ in self._open.values())
        return CHANGE_OVER_S if command.op == "recipe" or changing else ANSWER_S

    def _read(self, socket: zmq.Socket[bytes]) -> None:
        try:
            reply = decode(CommandReply, socket.recv_multipart()[-1])
        except MessageError as error:
            log.warning("%s: an answer that is none (%s)", self._address, error)
            return
        command, _ = self._open.pop(reply.id, (None, 0.0))
        if command is not None:
            self._on_answer(command, reply)

    def _overdue(self) -> bool:
        """Gives up what was not answered in time; True when there was something."""
        now_s = time.monotonic()
        if self._anew.is_set():
            self._anew.clear()
            now_s = math.inf
        late = [command for command, until_s in self._open.values() if now_s >= until_s]
        for command in late:
            del self._open[command.id]
            self._on_answer(command, NoReply.NO_ANSWER)
        return bool(late)
