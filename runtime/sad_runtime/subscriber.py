"""Reads a station's feed: every decision once, in order, with lost ones fetched back from the snapshot socket.

    with Subscriber("tcp://127.0.0.1:5555") as feed:
        for decision in feed:
            if feed.age_ms(decision) < decision.deadline_ms and decision.verdict is not Verdict.PASS:
                ...

Everything happens inside `poll` (and the iterators, which call it): no thread, so `alive` is as fresh as the last poll.
`feed/ordering.py` decides what is missing, `feed/recovery.py` fetches it. Imports neither numpy nor OpenCV.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from types import TracebackType

import zmq

from sad_runtime.errors import UsageError
from sad_runtime.feed.address import as_reached
from sad_runtime.feed.curve_keys import ClientKeys
from sad_runtime.feed.entry import Entry
from sad_runtime.feed.lag import Lag
from sad_runtime.feed.ordering import Gap, Ordering
from sad_runtime.feed.recovery import Context, Recovery
from sad_runtime.identity import boot_id
from sad_runtime.messages import (
    MAX_MESSAGE_BYTES,
    TOPICS,
    Decision,
    Event,
    Heartbeat,
    Hello,
    MessageError,
    UnknownMajor,
    decode_published,
)

ALIVE_MS = 350.0
"""Three heartbeats missed, and one late."""
LIVE_KEPT = 4096
"""Of how many live decisions the time of arrival is kept."""

log = logging.getLogger(__name__)


class Subscriber:
    """One station's feed; use it from one thread. `station` None: the first station that speaks.

    `history` starts at the first decision of the run that is going on instead of the first live one. `snapshot` is the
    address to fetch lost decisions from; by default the one that the feed tells. `recover=False` fetches none: a gate,
    which must not act on old decisions anyway, then never waits for them. What is lost goes to `on_gap`, in its place
    between the decisions, and is counted in `lost`. `high_water` messages may wait unread. `keys` (from
    `feed.curve_keys.client_keys`) are needed where the station is encrypted: at its tcp addresses, once it has keys.
    """

    def __init__(
        self,
        address: str,
        *,
        station: str | None = None,
        history: bool = False,
        snapshot: str | None = None,
        keys: ClientKeys | None = None,
        recover: bool = True,
        on_gap: Callable[[Gap], None] | None = None,
        on_event: Callable[[Event], None] | None = None,
        recovery_timeout_s: float = 1.0,
        high_water: int = 20_000,
    ) -> None:
        self.station = station
        self.heartbeat: Heartbeat | None = None
        """The last one read."""
        self.lost = 0
        self.refused = 0
        """Messages that could not be read."""
        self.heatmaps: str | None = None
        """Where the station's heatmaps are, as seen from here; None before its hello."""
        self.snapshot = snapshot
        """Where earlier decisions are to be had: as given, else as its hello told; None before it."""
        self._address, self._high_water = address, high_water
        self._keys = keys if address.startswith("tcp://") else None  # a socket file is plain text
        self._snapshot_keys = keys
        self._snapshot, self._recover, self._timeout_s = snapshot, recover, recovery_timeout_s
        self._on_gap, self._on_event = on_gap, on_event
        self._ordering = Ordering(history=history)
        self._boot_id = boot_id()
        self._beat_ns = 0
        self._arrivals: dict[tuple[str, int], int] = {}
        self._lags: dict[str, Lag] = {}
        """By boot_id: a clock goes on over restarts of the station."""
        self._woken = False

    def __enter__(self) -> Subscriber:
        """Raises UsageError for an address that is none; a publisher that is not there yet is waited for."""
        self._context: Context = zmq.Context()
        self._recovery = Recovery(self._context, self._snapshot, self._timeout_s, self._snapshot_keys)
        self._feed = self._context.socket(zmq.SUB)
        self._feed.setsockopt(zmq.LINGER, 0)
        self._feed.setsockopt(zmq.RCVHWM, self._high_water)
        self._feed.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
        self._feed.setsockopt(zmq.HEARTBEAT_IVL, 500)
        self._feed.setsockopt(zmq.HEARTBEAT_TIMEOUT, 1500)
        self._feed.setsockopt(zmq.HANDSHAKE_IVL, 1000)
        self._feed.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        if self._keys is not None:
            self._keys.apply(self._feed)
        self._entry = Entry(self._context, self._feed, self._address, self._keys)
        for kind in ("decision", "event", "hello", "heartbeat"):  # heartbeats last: they tell what must have come
            self._feed.subscribe("hello" if kind == "hello" else f"{kind}.{self.station or ''}")
        try:
            self._feed.connect(self._address)
        except zmq.ZMQError as error:
            self.close()
            raise UsageError(
                f"{self._address}: not the address of a feed ({zmq.strerror(error.errno or 0)}); "
                "write for example tcp://127.0.0.1:5555"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._recovery.hang_up()
        self._entry.close()
        self._feed.close(linger=0)
        self._context.term()

    def __iter__(self) -> Iterator[Decision]:
        return self.decisions()

    def decisions(self, timeout_s: float | None = None) -> Iterator[Decision]:
        """Decisions as they come; ends when none came for `timeout_s`, never by default."""
        while (decision := self.poll(math.inf if timeout_s is None else timeout_s * 1000)) is not None:
            yield decision

    def poll(self, timeout_ms: float, wake: int | None = None) -> Decision | None:
        """The next decision, or None when there is none within `timeout_ms`. Raises UnknownMajor.

        `wake`: a file descriptor; None is returned as soon as it can be read, for whoever waits for other things too.
        """
        until_s = time.monotonic() + timeout_ms / 1000
        self._receive(0.0)
        while True:
            while self._ordering.ready:
                item = self._ordering.ready.popleft()
                if isinstance(item, Decision):
                    return item
                self._tell(item)
            left_s = max(0.0, until_s - time.monotonic())
            read = self._receive(left_s, wake)
            if not self._ordering.ready and (self._woken or (left_s == 0.0 and (not read or timeout_ms > 0))):
                return None

    @property
    def run(self) -> str | None:
        """The run that decisions are delivered of; another one after a restart of the station."""
        return self._ordering.run

    @property
    def refusal(self) -> str | None:
        """Why the station does not let this reader in, as far as `poll` has learnt; it goes on knocking meanwhile."""
        return self._entry.refusal

    @property
    def alive(self) -> bool:
        """The station's loop made progress lately, as far as `poll` has read."""
        return self.silent_ms < ALIVE_MS

    @property
    def silent_ms(self) -> float:
        """ms since the last heartbeat was sent (received, when it came from another computer); infinity before one."""
        if self.heartbeat is None:
            return math.inf
        return self._since_ms(self.heartbeat, self._beat_ns)

    def recovered(self, decision: Decision) -> bool:
        """True when `decision` came from the journal: good for records, too old to act on."""
        return (decision.run, decision.seq) not in self._arrivals

    def age_ms(self, decision: Decision) -> float:
        """ms since the trigger (the capture in free run); infinity when recovered. Act only while below deadline_ms.

        From another computer the way is not counted, but what held the message up is (feed/lag.py)."""
        arrived_ns = self._arrivals.get((decision.run, decision.seq))
        if arrived_ns is None:
            return math.inf
        return decision.age_ms + self._since_ms(decision, arrived_ns)

    def _since_ms(self, message: Decision | Heartbeat, arrived_ns: int) -> float:
        """Also counts the time that a message lay unread, where publisher and reader share a clock."""
        start_ns = min(arrived_ns, message.mono_ns) if message.boot_id == self._boot_id else arrived_ns
        return (time.monotonic_ns() - start_ns) / 1e6

    def _tell(self, gap: Gap) -> None:
        self.lost += gap.count
        log.warning("decisions %d to %d of run %s are lost", gap.from_seq, gap.to_seq, gap.run)
        if self._on_gap is not None:
            self._on_gap(gap)

    def _receive(self, wait_s: float, wake: int | None = None) -> bool:
        """Reads at most one message and one snapshot page, after at most `wait_s`. False when there was nothing."""
        poller = zmq.Poller()
        if wake is not None:
            poller.register(wake, zmq.POLLIN)
        poller.register(self._feed, zmq.POLLIN)
        poller.register(self._entry.monitor, zmq.POLLIN)
        snapshot = self._recovery.socket
        if snapshot is not None:
            poller.register(snapshot, zmq.POLLIN)
        wait_s = max(0.0, min(wait_s, min(self._recovery.wake_s, self._entry.again_s) - time.monotonic()))
        readable = dict(poller.poll(None if math.isinf(wait_s) else math.ceil(wait_s * 1000)))
        self._woken = readable.pop(wake, 0) != 0
        if self._feed in readable:
            self._read_feed()
        if snapshot is not None and snapshot in readable:
            self._read_page()
        self._entry.look()
        self._pursue_hole()
        return bool(readable)

    def _read_feed(self) -> None:
        topic, *rest = self._feed.recv_multipart()
        if topic.partition(b".")[0].decode("ascii", "replace") not in TOPICS or not rest:
            return  # a kind of message that is younger than this reader
        try:
            message = decode_published(topic, rest[0])
        except UnknownMajor:
            raise
        except MessageError as error:
            self.refused += 1
            if self.refused == 1 or self.refused % 1000 == 0:
                log.warning("a message on %s was refused (%d so far): %s", self._address, self.refused, error)
            return
        if isinstance(message, Decision | Event | Heartbeat | Hello) and self._is_ours(message.station):
            self._sort(message)

    def _is_ours(self, station: str) -> bool:
        """Subscriptions match by prefix, so `line1` also gets what `line10` says."""
        self.station = self.station or station
        return self.station == station

    def _sort(self, message: Decision | Event | Heartbeat | Hello) -> None:
        if isinstance(message, Decision):
            self._note_arrival(message)
            self._ordering.saw(message)
        elif isinstance(message, Heartbeat):
            self.heartbeat, self._beat_ns = message, self._arrived_ns(message)
            self._ordering.saw_last(message.run, message.seq_last)
        elif isinstance(message, Hello):
            self.heatmaps = as_reached(message.heatmaps, self._address)
            if self._snapshot is None:
                self.snapshot = as_reached(message.snapshot, self._address)
                self._recovery.move_to(self.snapshot)
            self._ordering.saw_run(message.run)
        elif self._on_event is not None:
            self._on_event(message)

    def _note_arrival(self, decision: Decision) -> None:
        self._arrivals[decision.run, decision.seq] = self._arrived_ns(decision)
        if len(self._arrivals) > LIVE_KEPT:
            del self._arrivals[next(iter(self._arrivals))]

    def _arrived_ns(self, message: Decision | Heartbeat) -> int:
        """When it would have come if nothing had held it up."""
        now_ns = time.monotonic_ns()
        if message.boot_id == self._boot_id:
            return now_ns
        if message.boot_id not in self._lags:
            self._lags = {message.boot_id: Lag()}
        return now_ns - self._lags[message.boot_id].saw(message.mono_ns, now_ns)

    def _read_page(self) -> None:
        page = self._recovery.read()
        if page.error is None:
            self._ordering.fill(page)
        elif "cannot be read" not in page.error:  # that may pass; it is asked again while there is time
            self._ordering.give_up()

    def _pursue_hole(self) -> None:
        """Until nothing is missing, or there is an answer to wait for."""
        while (hole := self._ordering.hole) is not None:
            if self._recover and self.station is not None and self._recovery.pursue(hole, self.station):
                return
            self._ordering.give_up()
        self._recovery.hang_up()
