"""One station's way through the gateway: its feed in, its gate, every way to a PLC out. One thread does all of it.

So when this thread hangs, the heartbeat that PLCs watch stands still, and they reject. What the PLC says and what the
station answers come from other threads into its inbox.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

from sad_runtime.feed.curve_keys import ClientKeys
from sad_runtime.feed.ordering import Gap
from sad_runtime.messages import Command, Event, Heartbeat, UnknownMajor
from sad_runtime.plc.account import Note
from sad_runtime.plc.answer import Answer
from sad_runtime.plc.base import Plc
from sad_runtime.plc.gate import Gate
from sad_runtime.plc.inbox import Inbox
from sad_runtime.plc.orders import Orders
from sad_runtime.plc.status import STOPPED, CommandBlock, Status
from sad_runtime.subscriber import Subscriber

log = logging.getLogger(__name__)
TICK_MS = 10.0
STALL_S, DEAF_S = 0.15, 0.25
"""After a turn that took so long (the process was stopped, the computer slept) what the PLC wrote may be as old; so it
is taken for old as long as such things may still come in."""
LOUD = {"fault": logging.WARNING, "restart": logging.WARNING, "missed": logging.WARNING, "lost": logging.WARNING}
PLAIN = {"plc": logging.INFO, "order": logging.INFO, "cleared": logging.INFO, "foreign": logging.WARNING}
END_S = 2.0
QUIET_S, MOST_SAID = 1.0, 100
"""The same line of the log comes at most so often; of so many different ones that is known."""


@dataclass(frozen=True)
class LaneSettings:
    station: str
    feed: str
    """Address of its decisions."""
    commands: str | None
    """Address of its command socket; None: nothing can be ordered."""
    keys: ClientKeys | None = None
    plc_silent_ms: int = 1000
    trigger_within_ms: int = 150


@dataclass(frozen=True)
class Hooks:
    """Who else wants to know; all return at once."""

    note: Callable[[str, Note], None] = lambda station, note: None
    gap: Callable[[str, Gap], None] = lambda station, gap: None
    record_fails: Callable[[str], bool] = lambda station: False


@dataclass
class Counts:
    refused_messages: int = 0
    turns: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    """Results by verdict and reason, all else by the kind of note."""


class Lane:
    """Opened by `with`. `failure`: why it ended by itself; the gateway then stops."""

    def __init__(self, settings: LaneSettings, ways: Sequence[Plc], identity: str, hooks: Hooks) -> None:
        """`ways`: those of this station. `identity`: of this start of the gateway."""
        self.station = settings.station
        self.status = Status()
        self.failure: str | None = None
        self.counts = Counts()
        self.feed_silent_ms = float("inf")
        self.snapshot: str | None = None
        """Where lost decisions can be fetched, as the station told."""
        self._settings, self._hooks = settings, hooks
        self._ways = list(ways)
        self._gate = Gate(
            identity=identity,
            plc_silent_ms=settings.plc_silent_ms,
            trigger_within_ms=settings.trigger_within_ms,
            can_order=settings.commands is not None,
            first_seq=1 + secrets.randbelow(2**32 - 1),
            now_ns=time.monotonic_ns(),
        )
        self._turned_s = time.monotonic()
        self._deaf_until_s = 0.0
        self._inbox: Inbox[CommandBlock | tuple[Command, Answer]] = Inbox()
        self._stop = threading.Event()
        self._beat: Heartbeat | None = None
        self._said_s: dict[str, float] = {}

    def __enter__(self) -> Lane:
        self._inbox.__enter__()
        self._thread = threading.Thread(target=self._run, name=f"lane {self.station}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if not self._thread.is_alive():
            self._inbox.__exit__(None, None, None)

    def stop(self) -> None:
        """Shows that nothing is valid any more, and ends; a lane that hangs is left behind. May be called twice."""
        self._stop.set()
        self._thread.join(END_S)

    def commanded(self, block: CommandBlock) -> None:
        """What the PLC wrote; any thread."""
        self._inbox.put(block)

    def counters(self) -> dict[str, int]:
        return {"refused_messages": self.counts.refused_messages, **self.counts.kinds}

    def _run(self) -> None:
        settings = self._settings
        try:
            feed = Subscriber(
                settings.feed,
                station=settings.station,
                keys=settings.keys,
                recover=False,
                on_gap=self._saw_gap,
                on_event=self._saw_event,
            )
            with feed, Orders(settings.commands, settings.keys, self._answered) as orders:
                try:
                    while not self._stop.is_set():
                        self._turn(feed, orders)
                except Exception:
                    self._show(STOPPED)  # before anything is closed, which may take its time
                    raise
        except Exception as error:
            log.exception("station %s: the gateway failed", self.station)
            self.failure = f"station {self.station}: {error}"
        finally:
            self._show(STOPPED if self.failure else Status())

    def _turn(self, feed: Subscriber, orders: Orders) -> None:
        gate = self._gate
        before_s, self._turned_s = self._turned_s, time.monotonic()
        if self._turned_s - before_s > STALL_S:
            self._deaf_until_s = self._turned_s + DEAF_S
        try:
            decision = feed.poll(TICK_MS, self._inbox.fd)
        except UnknownMajor as error:
            gate.schema_unknown(str(error), time.monotonic_ns())
            decision = None
        if orders.failure is not None:
            raise RuntimeError(orders.failure)
        now_ns = time.monotonic_ns()
        if feed.heartbeat is not None and feed.heartbeat is not self._beat:
            if self._beat is not None and self._beat.run != feed.heartbeat.run:
                orders.forget()
            self._beat = feed.heartbeat
            gate.heard(self._beat, now_ns)
        self.feed_silent_ms, self.snapshot = feed.silent_ms, feed.snapshot
        gate.tick(self.feed_silent_ms, now_ns)
        if decision is not None:
            gate.decided(decision, feed.age_ms(decision), now_ns)
        for item in self._inbox.take():
            if isinstance(item, CommandBlock):
                gate.commanded(item, now_ns, of_old=self._is_deaf())
            else:
                gate.replied(*item, now_ns)
        gate.own_record_fails(self._hooks.record_fails(self.station))
        for command in gate.take_orders():
            orders.send(command)
        self._show(gate.status())
        for note in gate.take_notes():
            self._tell(note)
        if feed.refusal is not None:
            self._say(logging.ERROR, feed.refusal)
        self.counts.refused_messages, self.counts.turns = feed.refused, self.counts.turns + 1

    def _is_deaf(self) -> bool:
        return time.monotonic() < self._deaf_until_s

    def _show(self, status: Status) -> None:
        if status != self.status:
            self.status = status
            for way in self._ways:
                way.write(self.station, status)

    def _answered(self, command: Command, answer: Answer) -> None:
        self._inbox.put((command, answer))

    def _saw_event(self, event: Event) -> None:
        self._gate.happened(event)

    def _saw_gap(self, gap: Gap) -> None:
        self._gate.missed(gap.count, time.monotonic_ns())
        self._hooks.gap(self.station, gap)

    def _tell(self, note: Note) -> None:
        kind = note.kind
        if kind == "result" and note.result is not None:
            kind = f"{note.result.verdict.value} {note.result.reason.value}"
        self.counts.kinds[kind] = self.counts.kinds.get(kind, 0) + 1
        self._hooks.note(self.station, note)
        level = LOUD.get(note.kind) or PLAIN.get(note.kind)
        if level is not None:
            self._say(level, note.text)

    def _say(self, level: int, text: str) -> None:
        now_s = time.monotonic()
        if now_s - self._said_s.get(text, float("-inf")) >= QUIET_S:
            if len(self._said_s) > MOST_SAID:
                self._said_s.clear()
            self._said_s[text] = now_s
            log.log(level, "station %s: %s", self.station, text)
