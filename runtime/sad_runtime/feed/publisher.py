"""The feed of one station: four sockets and their threads, opened before the model loads (DESIGN 4.5, 4.10).

    decisions  decisions.py   sent by the loop itself; heartbeat.py beats beside it
    heatmaps   heatmaps.py    own thread, latest wins
    snapshot   requests.py    own thread, answers from the journal
    commands   requests.py    own thread, hands commands to the station

A fifth thread (door.py) keeps the door of all four: who may come in, and who was refused.

What is said is in `messages.py`; when to say it is the station's. `docs/feed.md` tells readers what they can rely on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np
import zmq
from numpy.typing import NDArray

from sad_runtime.decide import Thresholds
from sad_runtime.feed.address import Context, check_address
from sad_runtime.feed.binding import Binding
from sad_runtime.feed.config import FeedConfig as FeedConfig
from sad_runtime.feed.config import check_reach
from sad_runtime.feed.decisions import DecisionSocket
from sad_runtime.feed.door import Door
from sad_runtime.feed.heartbeat import Identity, Pulse, Status, keep_beating
from sad_runtime.feed.heatmaps import HeatmapSocket
from sad_runtime.feed.protection import Protection
from sad_runtime.feed.requests import RequestSocket, answer_command, answer_snapshot
from sad_runtime.manifest import Roi
from sad_runtime.messages import (
    Command,
    CommandReply,
    Decision,
    Event,
    Hello,
    SnapshotReply,
    SnapshotRequest,
    encode,
    topic_of,
)
from sad_runtime.verdict import State

MAX_SNAPSHOT_REQUEST_BYTES = 4 * 1024
MAX_COMMAND_BYTES = 64 * 1024


class Feed:
    """Opened with `with`; `addresses` then holds what was really bound."""

    linger_ms: int = 2000
    """How long closing waits for messages under way; 0 when there is no time left."""

    def __init__(
        self,
        config: FeedConfig,
        *,
        station: str,
        run: str,
        boot_id: str,
        ipc_folder: Path,
        replay: Callable[[SnapshotRequest], SnapshotReply],
        on_command: Callable[[Command], CommandReply],
    ) -> None:
        """`replay` and `on_command` are called in a thread each, and must return: closing waits for them.

        Raises ConfigError for an address that may not be bound, UsageError for keys that cannot be used.
        """
        self.addresses: dict[str, str] = {}
        """Of each socket, the one that readers are told of."""
        self._addresses = {
            "decisions": config.decisions,
            "heatmaps": config.heatmaps,
            "snapshot": config.snapshot,
            "commands": config.commands or [f"ipc://{ipc_folder.absolute() / 'commands.ipc'}"],
        }
        check_reach(config)
        for addresses in self._addresses.values():
            for address in addresses:
                check_address(address)
        self._protection = Protection(config)
        self._identity = Identity(station, run, boot_id)
        self._pulse = Pulse(self._identity)
        self._replay, self._on_command = replay, on_command
        self._stop = threading.Event()
        self._opened = ExitStack()

    def __enter__(self) -> Feed:
        """Binds everything or nothing. Raises UsageError for an address in use."""
        with ExitStack() as opening:
            context: Context = zmq.Context()
            opening.callback(context.term)
            self._open_sockets(context, opening)
            self._start_threads(opening)
            self._opened = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def publish(self, message: Decision | Event) -> None:
        """Sends at once, never waits. From any thread, but decisions one after another, in order of seq."""
        self._decisions.send(topic_of(message), encode(message))
        if isinstance(message, Decision):
            self._pulse.seq_last = message.seq  # after sending: a heartbeat never tells of a decision still to come

    def offer_heatmap(self, seq: int, heatmap: NDArray[np.float32], thresholds: Thresholds, roi: Roi | None) -> None:
        """heatmap: (H, W), copied when somebody subscribes. Never waits; a newer one takes its place."""
        self._heatmaps.offer(seq, heatmap, thresholds, roi)

    def tick(self) -> None:
        """The loop made progress; at least every 50 ms while it has nothing to do."""
        self._pulse.tick()

    def status(
        self, *, state: State, online: bool, recipe: int = 0, model_digest: str = "", deadline_ms: int = 1000
    ) -> None:
        """What heartbeats and hellos say from now on."""
        self._pulse.status = Status(state, online, recipe, model_digest, deadline_ms)

    def saw_frame(self, mono_ns: int) -> None:
        """The camera delivered; `mono_ns` by time.monotonic_ns."""
        self._pulse.saw_frame(mono_ns)

    def decision_subscribers(self) -> int:
        """How many subscriptions to this station's decisions are alive."""
        return self._decisions.subscribers(f"decision.{self._identity.station}".encode())

    def refused(self) -> dict[str, int]:
        """How many peers were not let in, by why, and how many requests were dropped (`requests`)."""
        dropped = self._snapshot.dropped + self._requests.dropped
        return self._door.counts() | ({"requests": dropped} if dropped else {})

    def _open_sockets(self, context: Context, opening: ExitStack) -> None:
        """The door before all else: nothing is bound that it does not keep."""
        self._decisions = DecisionSocket(context, self._protection)
        self._heatmaps = HeatmapSocket(context, self._identity, self._protection)
        self._snapshot = RequestSocket(
            context,
            "snapshot",
            self._protection,
            max_bytes=MAX_SNAPSHOT_REQUEST_BYTES,
            answer=lambda data: answer_snapshot(data, self._identity.station, self._replay),
        )
        self._requests = RequestSocket(
            context,
            "commands",
            self._protection,
            max_bytes=MAX_COMMAND_BYTES,
            answer=lambda data: answer_command(data, self._on_command),
        )
        self._bindings = [socket.binding for socket in self._sockets()]
        self._door = Door(context, self._protection.allowed, self._send_away)
        opening.callback(self._door.close)
        for binding in self._bindings:
            opening.callback(self._close, binding)
        for binding in self._bindings:
            self._door.watch(binding.name, binding.watch(context))
        for binding in self._bindings:
            binding.bind(self._addresses[binding.name])
            self.addresses[binding.name] = _told(binding.endpoints)

    def _sockets(self) -> tuple[DecisionSocket, HeatmapSocket, RequestSocket, RequestSocket]:
        return self._decisions, self._heatmaps, self._snapshot, self._requests

    def _send_away(self) -> None:
        for binding in self._bindings:
            binding.send_away()

    def _close(self, binding: Binding) -> None:
        binding.close(self.linger_ms)

    def _start_threads(self, opening: ExitStack) -> None:
        self._stop.clear()
        self._pulse.tick()
        work: dict[str, Callable[[], None]] = {
            "heartbeat": lambda: keep_beating(self._decisions, self._pulse, self._hello, self._stop),
            "heatmaps": lambda: self._heatmaps.serve(self._stop),
            "snapshot": lambda: self._snapshot.serve(self._stop),
            "commands": lambda: self._requests.serve(self._stop),
            "door": lambda: self._door.serve(self._stop),
        }
        threads = [threading.Thread(target=run, name=f"feed-{name}", daemon=True) for name, run in work.items()]
        opening.callback(self._end, threads)
        for thread in threads:
            thread.start()

    def _end(self, threads: list[threading.Thread]) -> None:
        self._stop.set()
        for thread in threads:
            if thread.is_alive():
                thread.join()

    def _hello(self) -> Hello:
        return Hello(
            run=self._identity.run,
            station=self._identity.station,
            state=self._pulse.status.state,
            snapshot=self.addresses["snapshot"],
            heatmaps=self.addresses["heatmaps"],
        )


def _told(endpoints: list[str]) -> str:
    """The one for readers elsewhere; whoever is on this computer finds a socket file without being told."""
    return next((endpoint for endpoint in endpoints if endpoint.startswith("tcp://")), endpoints[0])
