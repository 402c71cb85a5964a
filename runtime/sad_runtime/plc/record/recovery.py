"""Fetches lost decisions back from the station's snapshot socket, for the record only: nobody may act on them.

In a thread of its own, a few decisions at a time with a pause after, because taking a page of 1024 apart holds
Python's lock, and with it the gate, for 13 ms and more; one of 64 for half a millisecond.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator

import zmq

from sad_runtime.feed.curve_keys import ClientKeys
from sad_runtime.feed.ordering import Gap, Ordering
from sad_runtime.feed.recovery import Context, Recovery
from sad_runtime.messages import Decision

AT_ONCE = 64
"""Decisions asked for at a time."""
PAUSE_S = 0.01
TIMEOUT_S = 10.0
"""For each AT_ONCE. A station that was started anew takes its time."""
MAX_WAITING = 1000
"""Gaps."""
LOOK_MS = 100

log = logging.getLogger(__name__)


class GapFetcher:
    """For one station. `on_decision` gets each decision of a gap once, in order; `on_lost` what stays lost, also when
    this is closed or asked for too much. `snapshot_address` is asked again and again; None: not known yet.
    """

    def __init__(
        self,
        station: str,
        snapshot_address: Callable[[], str | None],
        keys: ClientKeys | None,
        on_decision: Callable[[Decision], None],
        on_lost: Callable[[Gap], None],
        *,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.fetched = 0
        self.lost = 0
        """Decisions that are in no record here."""
        self._station, self._address, self._keys = station, snapshot_address, keys
        self._on_decision, self._on_lost, self._timeout_s = on_decision, on_lost, timeout_s
        self._waiting: deque[Gap] = deque()
        self._wake = threading.Condition()
        self._closing = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._work, name=f"plc recovery {self._station}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """What was not fetched by now counts as lost. May be called twice."""
        self._closing.set()
        with self._wake:
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(2.0)

    def fetch(self, gap: Gap) -> None:
        """Returns at once. Any thread may call."""
        dropped: Gap | None = gap
        with self._wake:
            if not self._ended and not self._closing.is_set():
                self._waiting.append(gap)
                dropped = self._waiting.popleft() if len(self._waiting) > MAX_WAITING else None
                self._wake.notify()
        if dropped is not None:
            self._lose(dropped)

    def _work(self) -> None:
        context: Context = zmq.Context()
        recovery = Recovery(context, None, self._timeout_s, self._keys)
        try:
            while (gap := self._next()) is not None:
                self._fetch(gap, recovery)
                recovery.hang_up()
        except Exception:
            log.exception("lost decisions of %s are not fetched back any more", self._station)
        finally:
            recovery.hang_up()
            context.term()
            with self._wake:
                self._ended = True
                left = list(self._waiting)
                self._waiting.clear()
            for gap in left:
                self._lose(gap)

    def _next(self) -> Gap | None:
        with self._wake:
            self._wake.wait_for(lambda: self._waiting or self._closing.is_set())
            return None if self._closing.is_set() else self._waiting.popleft()

    def _fetch(self, gap: Gap, recovery: Recovery) -> None:
        """Whatever happens, each decision of `gap` is told as fetched or as lost, what is lost side by side as one."""
        missing_from = gap.from_seq
        try:
            for decision in self._decisions(gap, recovery):
                if missing_from < decision.seq:
                    self._lose(Gap(gap.run, missing_from, decision.seq - 1))
                    missing_from = decision.seq
                self._on_decision(decision)
                self.fetched += 1
                missing_from = decision.seq + 1
        finally:
            if missing_from <= gap.to_seq:
                self._lose(Gap(gap.run, missing_from, gap.to_seq))

    def _decisions(self, gap: Gap, recovery: Recovery) -> Iterator[Decision]:
        """In order. The first stretch without an answer ends it: the next would get none either."""
        for first in range(gap.from_seq, gap.to_seq + 1, AT_ONCE):
            ordering = Ordering()
            ordering.saw_last(gap.run, first - 1)
            ordering.saw_last(gap.run, min(first + AT_ONCE - 1, gap.to_seq))
            answered = self._answered(ordering, recovery)
            yield from (item for item in ordering.ready if isinstance(item, Decision))
            if not answered:
                return
            self._closing.wait(PAUSE_S)

    def _answered(self, ordering: Ordering, recovery: Recovery) -> bool:
        """Fills the ordering's hole, or gives it up. False without a usable answer."""
        answered = False
        while (hole := ordering.hole) is not None:
            recovery.move_to(self._address())
            if self._closing.is_set() or not recovery.pursue(hole, self._station):
                ordering.give_up()
                return False
            if recovery.socket is None:
                self._closing.wait(LOOK_MS / 1e3)
            elif recovery.socket.poll(LOOK_MS):
                page = recovery.read()
                answered = page.error is None
                if answered:
                    ordering.fill(page)
                elif "cannot be read" not in (page.error or ""):  # that may pass; it is asked again while there is time
                    ordering.give_up()
        return answered

    def _lose(self, gap: Gap) -> None:
        with self._wake:
            self.lost += gap.count
        self._on_lost(gap)
