"""The application heartbeat: proof that the loop which grabs and judges makes progress.

ZeroMQ's own heartbeats are answered by its I/O thread, also while the program hangs, so they prove nothing about the
line. These are sent only while the loop's last `tick` is young, and stop by themselves when it stands still.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from sad_runtime.feed.decisions import DecisionSocket
from sad_runtime.messages import Heartbeat, Hello, encode, topic_of
from sad_runtime.verdict import State

PERIOD_S = 0.1
SHORTEST_QUIET_MS = 250
HELLO_EVERY_S = 0.02
"""At most: every hello goes to all, so one reader's flood of subscriptions must not become everybody's flood."""


class Identity(NamedTuple):
    """Who speaks: what every published message carries."""

    station: str
    run: str
    boot_id: str


@dataclass(frozen=True)
class Status:
    """What the station says of itself between two calls of `Feed.status`."""

    state: State = State.PREOPERATIONAL
    online: bool = False
    recipe: int = 0
    model_digest: str = ""
    deadline_ms: int = 1000

    @property
    def quiet_ms(self) -> int:
        """How long the loop may stand still: a part may take its whole deadline."""
        return max(SHORTEST_QUIET_MS, self.deadline_ms)


class Pulse:
    """What the loop tells, and the heartbeat made of it. One thread ticks, another may read."""

    def __init__(self, identity: Identity, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.status = Status()
        self.seq_last = 0
        self._identity, self._clock_ns = identity, clock_ns
        self._ticks, self._ticked_ns = 0, clock_ns()
        self._frame_ns: int | None = None

    def tick(self) -> None:
        self._ticks += 1
        self._ticked_ns = self._clock_ns()

    def saw_frame(self, mono_ns: int) -> None:
        self._frame_ns = mono_ns

    def beat(self) -> Heartbeat | None:
        """None while the loop has stood still for longer than quiet_ms."""
        now_ns, status, frame_ns = self._clock_ns(), self.status, self._frame_ns
        if now_ns - self._ticked_ns > status.quiet_ms * 1_000_000:
            return None
        return Heartbeat(
            run=self._identity.run,
            station=self._identity.station,
            seq_last=self.seq_last,
            state=status.state,
            online=status.online,
            loop_count=self._ticks,
            quiet_ms=status.quiet_ms,
            cam_age_ms=None if frame_ns is None else (now_ns - frame_ns) / 1e6,
            recipe=status.recipe,
            model_digest=status.model_digest,
            deadline_ms=status.deadline_ms,
            mono_ns=now_ns,
            boot_id=self._identity.boot_id,
        )


def keep_beating(socket: DecisionSocket, pulse: Pulse, hello: Callable[[], Hello], stop: threading.Event) -> None:
    """The heartbeat thread: a beat every PERIOD_S, and a hello as soon as somebody subscribes to it."""
    poller = select.poll()
    poller.register(socket.fd, select.POLLIN)
    due_s = next_hello_s = time.monotonic()
    asked = False
    while not stop.is_set():
        wake_s = min(due_s, next_hello_s) if asked else due_s
        poller.poll(0.0 if socket.more else max(0.0, (wake_s - time.monotonic()) * 1000))
        socket.pursue()
        asked = asked or any(b"hello".startswith(topic) for topic in socket.new_topics())
        if asked and time.monotonic() >= next_hello_s:
            asked, next_hello_s = False, time.monotonic() + HELLO_EVERY_S
            message = hello()
            socket.send(topic_of(message), encode(message))
        if time.monotonic() >= due_s:
            due_s = max(due_s + PERIOD_S, time.monotonic())
            beat = pulse.beat()
            if beat is not None:
                socket.send(topic_of(beat), encode(beat))
