"""From a decision to the result that a PLC is shown: what the station said, or INVALID where that may be of another
part, came too late, or cannot be right. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sad_runtime.messages import Decision
from sad_runtime.plc.status import Result
from sad_runtime.plc.triggers import Pending
from sad_runtime.verdict import Reason, Verdict

U16, U32 = 0xFFFF, 0xFFFF_FFFF


@dataclass(frozen=True)
class Case:
    """A decision and what is known of its part."""

    decision: Decision
    part: Pending | None
    """None: the PLC did not trigger it."""
    age_ms: float
    """Since the station began with the part."""
    now_ns: int
    within_ms: float
    """So far apart may the PLC's TRIGGER and the station's beginning be."""

    @property
    def until_ns(self) -> int:
        left_ms = self.decision.deadline_ms - self.age_ms
        until_ns = self.now_ns + round(max(0.0, left_ms) * 1e6) if math.isfinite(left_ms) else self.now_ns
        return until_ns if self.part is None else min(until_ns, self.part.until_ns)

    @property
    def is_other_part(self) -> bool:
        """Its encoder is another one: the name was given twice, or to the wrong part."""
        return self.part is not None and (self.decision.encoder or 0) & U32 != self.part.encoder & U32

    @property
    def is_other_moment(self) -> bool:
        """The station began well before the TRIGGER or long after it: the picture is of what lay there then."""
        if self.part is None:
            return False
        late_ms = (self.now_ns - self.part.seen_ns) / 1e6 - self.age_ms
        return not abs(late_ms) <= self.within_ms

    def doubt(self) -> Reason | None:
        """Why its verdict cannot be acted on."""
        decision = self.decision
        numbers = [value for value in (decision.score, decision.threshold, self.age_ms) if value is not None]
        if not all(math.isfinite(value) for value in numbers):
            return Reason.INFERENCE_ERROR
        if self.is_other_part or self.is_other_moment:
            return Reason.MISMATCH
        return Reason.LATE if self.now_ns >= self.until_ns else None

    def result(self, seq: int, doubt: Reason | None) -> Result:
        """`doubt`: INVALID for this reason, unless the station itself said INVALID."""
        decision, part = self.decision, self.part
        age_ms = self.age_ms if math.isfinite(self.age_ms) else float(decision.deadline_ms)
        result = Result(
            seq=seq,
            verdict=decision.verdict,
            reason=decision.reason,
            part_id=(decision.part_id or 0) & U32,
            trigger_id=(decision.trigger_id or 0) & U16,
            encoder=(decision.encoder or 0) & U32,
            score=decision.score,
            threshold=decision.threshold,
            regions=tuple(decision.regions),
            latency_ms=decision.age_ms,
            age_ms=max(age_ms, (self.now_ns - part.seen_ns) / 1e6) if part else age_ms,
            captured_ns=decision.captured_ns or 0,
            recipe=decision.recipe,
            model_digest=decision.model_digest,
            run=decision.run,
            feed_seq=decision.seq,
            simulated="simulated" in decision.flags,
            made_ns=self.now_ns,
            until_ns=self.until_ns,
        )
        return result if doubt is None or decision.verdict is Verdict.INVALID else result.spoilt(doubt)
