"""Results as a PLC reads them: numbered, the last eight shown back, unread ones waiting for their ACK. Pure.

Nothing here makes a PASS; what waits too long stops being one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from sad_runtime.plc.status import RING, Result
from sad_runtime.verdict import Reason, Verdict

U32 = 2**32
HALF = 2**31


class Results:
    def __init__(self, first_seq: int = 1) -> None:
        """`first_seq`: number of the first result; another one at each start, so that an old ACK_SEQ fits none."""
        self.overrun = False
        """Results were dropped unread; until somebody clears it."""
        self.shown: Result | None = None
        """Still readable after its ACK."""
        self.waits_for_ack = False
        """Results queue. Else the newest is shown, and none is ever dropped unread."""
        self.ring: deque[Result] = deque(maxlen=RING)
        """Newest first."""
        self._unread: deque[Result] = deque()
        self._seq = (first_seq - 1) % U32

    @property
    def queue(self) -> int:
        return len(self._unread)

    @property
    def oldest_unread(self) -> Result | None:
        return self._unread[0] if self._unread else None

    def next_seq(self) -> int:
        """Up to 2**32 - 1, then 1: 0 says that there was none yet."""
        self._seq = self._seq % (U32 - 1) + 1
        return self._seq

    def add(self, result: Result) -> Result | None:
        """Returns a result that was dropped unread for it."""
        self.ring.appendleft(result)
        dropped = None
        if not self.waits_for_ack:
            self._unread.clear()
        elif len(self._unread) >= RING:
            dropped, self.overrun = self._unread.popleft(), True
        self._unread.append(result)
        self._show()
        return dropped

    def acknowledge(self, seq: int) -> list[Result] | None:
        """All up to `seq` were read; returns them. None when `seq` is of no result that waits."""
        if all(result.seq != seq for result in self._unread):
            return None
        read = []
        while self._unread and (seq - self._unread[0].seq) % U32 < HALF:
            read.append(self._unread.popleft())
        self._show()
        return read

    def already_read(self, seq: int) -> bool:
        """`seq` was given, and does not wait any more."""
        return seq != 0 and (self._seq - seq) % U32 < HALF and all(result.seq != seq for result in self._unread)

    def waits(self, trigger_id: int, part_id: int) -> bool:
        """A result of this part was not read yet."""
        return any((result.trigger_id, result.part_id) == (trigger_id, part_id) for result in self._unread)

    def queueing(self, on: bool) -> list[Result]:
        """Results wait for their ACK from now on, or the newest is shown. Returns what is dropped: whoever begins to
        read was not there for it, whoever ends reads no more.
        """
        if on == self.waits_for_ack:
            return []
        self.waits_for_ack = on
        dropped = list(self._unread)
        self._unread.clear()
        return dropped

    def expire(self, now_ns: int) -> list[Result]:
        """A PASS nobody took in time is none any more. Returns what it became."""
        if not self.waits_for_ack:
            if any(result.verdict is Verdict.PASS and now_ns >= result.until_ns for result in self._unread):
                self._unread.clear()
            return []
        return self._spoil(Reason.LATE, lambda result: now_ns >= result.until_ns)

    def spoil(self, reason: Reason) -> list[Result]:
        """No result that nobody has read yet is a PASS any more. Returns what they became."""
        return self._spoil(reason, lambda result: True)

    def _spoil(self, reason: Reason, which: Callable[[Result], bool]) -> list[Result]:
        was = [result for result in self._unread if result.verdict is Verdict.PASS and which(result)]
        if was:
            now = {result.seq: result.spoilt(reason) for result in was}
            self._unread = deque(now.get(result.seq, result) for result in self._unread)
            self.ring = deque((now.get(result.seq, result) for result in self.ring), maxlen=RING)
            self._show()
            return list(now.values())
        return []

    def _show(self) -> None:
        if self._unread:
            self.shown = self._unread[0]
