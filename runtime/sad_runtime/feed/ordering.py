"""Decisions in order and without holes, from a feed that may drop, repeat or restart. Pure: no sockets, no clock.

Everything seen on the feed goes in; what can be delivered comes out in `ready`. A `hole` is what must be fetched from
the snapshot socket before anything later is delivered; what cannot be fetched becomes a `Gap`, never silence.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from sad_runtime.messages import Decision, SnapshotReply


@dataclass(frozen=True)
class Gap:
    """Decisions that are lost to this reader; both ends are included."""

    run: str
    from_seq: int
    to_seq: int

    @property
    def count(self) -> int:
        return self.to_seq - self.from_seq + 1


@dataclass(frozen=True)
class Hole:
    """Decisions still to be fetched, both ends included; no end: whatever a run that is over has left behind."""

    run: str
    from_seq: int
    to_seq: int | None


class Ordering:
    """`history`: the first run is wanted from its first decision, not from the first live one."""

    def __init__(self, *, history: bool = False) -> None:
        self.run: str | None = None
        self.hole: Hole | None = None
        self.ready: deque[Decision | Gap] = deque()
        self._history = history
        self._held: deque[Decision] = deque()
        self._next = 0
        """The number to be delivered next; 0 while any will do."""
        self._asked_for_tail = False

    def saw(self, decision: Decision) -> None:
        """A live decision."""
        self._held.append(decision)
        self._settle()

    def saw_last(self, run: str, seq_last: int) -> None:
        """A heartbeat: everything up to `seq_last` has been sent before it."""
        if self._held or self.hole is not None or not self._reach(run):
            return
        if self._next == 0:
            self._next = seq_last + 1
        if seq_last >= self._next:
            self.hole = Hole(run, self._next, seq_last)

    def saw_run(self, run: str) -> None:
        """A hello."""
        if not self._held and self.hole is None:
            self._reach(run)

    def fill(self, page: SnapshotReply) -> None:
        """An answer for the hole: closes it, or leaves the part that the next page has to fill."""
        hole = self.hole
        if hole is None:
            return
        for decision in sorted(page.items, key=lambda item: item.seq):
            fits = decision.seq >= self._next and (hole.to_seq is None or decision.seq <= hole.to_seq)
            if decision.run == hole.run and fits:
                self._skip_to(hole.run, decision.seq)
                self._deliver(decision)
        if page.next_seq is None or page.next_seq <= hole.from_seq or self._next > (hole.to_seq or page.next_seq):
            self.give_up()
        else:
            self.hole = Hole(hole.run, page.next_seq, hole.to_seq)

    def give_up(self) -> None:
        """What is still missing in the hole is lost."""
        hole, self.hole = self.hole, None
        if hole is not None and hole.to_seq is not None:
            self._skip_to(hole.run, hole.to_seq + 1)
        self._settle()

    def _settle(self) -> None:
        """Delivers what was held back, up to the next hole."""
        while self._held and self.hole is None and self._reach(self._held[0].run):
            decision = self._held[0]
            if self._next == 0:
                self._next = decision.seq
            if decision.seq > self._next:
                self.hole = Hole(decision.run, self._next, decision.seq - 1)
                return
            self._held.popleft()
            if decision.seq == self._next:
                self._deliver(decision)

    def _reach(self, run: str) -> bool:
        """True when `run` is the one going on. Before a new one begins, the end of the old one is asked for, once."""
        if run == self.run:
            return True
        if self.run is not None and self._next > 0 and not self._asked_for_tail:
            self._asked_for_tail = True
            self.hole = Hole(self.run, self._next, None)
            return False
        restarted = self.run is not None
        self.run, self._next, self._asked_for_tail = run, int(restarted or self._history), False
        return True

    def _deliver(self, decision: Decision) -> None:
        self.ready.append(decision)
        self._next = decision.seq + 1

    def _skip_to(self, run: str, seq: int) -> None:
        if seq > self._next:
            self.ready.append(Gap(run, self._next, seq - 1))
            self._next = seq
