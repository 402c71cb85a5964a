"""What became of each part, as the PLC is told: results, counters, and notes for the record. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sad_runtime.plc.results import Results
from sad_runtime.plc.status import RING, Counters, Result
from sad_runtime.plc.triggers import Pending
from sad_runtime.verdict import Reason, Verdict

U32 = 0xFFFF_FFFF


@dataclass(frozen=True)
class Note:
    """Something to be written down; `kind` as in record/entry.py."""

    kind: str
    text: str = ""
    result: Result | None = None
    part_id: int | None = None
    trigger_id: int | None = None


class Account:
    def __init__(self, first_seq: int) -> None:
        self.results = Results(first_seq)
        self.counters = Counters()
        self.run = ""
        """Of the station."""
        self._notes: list[Note] = []

    def add(self, result: Result) -> None:
        dropped = self.results.add(result)
        self.count(
            total=1,
            passed=result.verdict is Verdict.PASS,
            failed=result.verdict is Verdict.FAIL,
            invalid=result.verdict is Verdict.INVALID,
        )
        self._notes.append(Note("result", "", result))
        if dropped is not None:
            self._spoilt([dropped.spoilt(Reason.QUEUE_FULL)], "dropped unread: eight newer ones wait")

    def add_own(self, reason: Reason, now_ns: int, part: Pending | None = None) -> None:
        """INVALID, for want of a decision."""
        self.add(
            Result(
                seq=self.results.next_seq(),
                verdict=Verdict.INVALID,
                reason=reason,
                part_id=part.part_id if part else 0,
                trigger_id=part.trigger_id if part else 0,
                encoder=part.encoder if part else 0,
                age_ms=(now_ns - part.seen_ns) / 1e6 if part else 0.0,
                run=self.run,
                made_ns=now_ns,
                until_ns=part.until_ns if part else now_ns,
            )
        )

    def add_lost(self, count: int, now_ns: int) -> None:
        """Of parts whose decisions never came, and that nobody knows by name."""
        for _ in range(min(count, RING)):
            self.add_own(Reason.LATE, now_ns)

    def acknowledge(self, seq: int) -> list[Result] | None:
        """What was read; None where `seq` is of nothing that waits."""
        read = self.results.acknowledge(seq)
        self._notes.extend(Note("acknowledged", "", result) for result in read or ())
        return read

    def queueing(self, on: bool) -> None:
        dropped = [result for result in self.results.queueing(on) if result.verdict is Verdict.PASS]
        self._spoilt([result.spoilt(Reason.NOT_ONLINE) for result in dropped], "ENABLE changed")

    def spoil(self, reason: Reason, why: str) -> None:
        """No result that nobody has read yet is a PASS any more."""
        self._spoilt(self.results.spoil(reason), why)

    def expire(self, now_ns: int) -> None:
        self._spoilt(self.results.expire(now_ns), "nobody took it within its deadline")

    def count(self, **more: int) -> None:
        counts = self.counters
        self.counters = replace(counts, **{name: (getattr(counts, name) + n) & U32 for name, n in more.items()})

    def note(self, kind: str, text: str, part: Pending | None = None) -> None:
        part_id, trigger_id = (part.part_id, part.trigger_id) if part else (None, None)
        self._notes.append(Note(kind, text, None, part_id, trigger_id))

    def take_notes(self) -> list[Note]:
        notes, self._notes = self._notes, []
        return notes

    def _spoilt(self, results: list[Result], why: str) -> None:
        self._notes.extend(Note("spoilt", why, result) for result in results)
