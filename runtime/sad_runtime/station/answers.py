"""Gives every part exactly one decision: numbers it, records it, publishes it. Any thread may answer; the first wins.

So the watchdog can answer a part whose inspection hangs, and the inspection's own result, when it comes, is discarded.
Only here does a sequence number arise, so there are no holes; and only here is a verdict turned down: a PASS that is
too late, or unrecorded where records are required, becomes INVALID.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from sad_runtime.inspector import Inspection
from sad_runtime.journal.journal import Journal
from sad_runtime.messages import Decision, Flag
from sad_runtime.station.part import Finding, Part
from sad_runtime.verdict import Reason, Verdict


@dataclass(frozen=True)
class Judge:
    """What decisions say of the model and the thresholds they rest on."""

    recipe: int = 0
    model_digest: str = ""
    backend: str = ""
    precision: str = ""
    threshold: float | None = None
    threshold_rev: int = 0
    simulated: bool = False
    degraded: bool = False


class Answers:
    def __init__(
        self,
        *,
        station: str,
        run: str,
        boot_id: str,
        journal: Journal,
        publish: Callable[[Decision], None],
        require_records: bool = False,
    ) -> None:
        self.judge = Judge()
        self.camera = ""
        """Digest of the camera's identity and settings."""
        self.seq_last = 0
        self._who = {"station": station, "run": run, "boot_id": boot_id}
        self._journal = journal
        self._publish = publish
        self._require_records = require_records
        self._lock = threading.Lock()

    def of_camera(self, digest: str) -> None:
        """What decisions say of the camera from now on."""
        self.camera = digest

    def answer(self, part: Part, finding: Finding) -> Decision | None:
        """Publishes the decision on `part` and returns it; None when the part already has one."""
        with self._lock:
            if part.answered:
                return None
            part.answered = True
            began_ns = time.monotonic_ns()
            self.seq_last += 1
            decision = self._decision(part, _in_time(part, finding))
            source = part.frame.source if part.frame is not None else ""
            recorded = self._journal.record(decision, source)
            settled = self._settled(part, decision, recorded, began_ns)
            if (settled.verdict, settled.flags) != (decision.verdict, decision.flags):
                self._journal.amend(settled, source)
            self._publish(settled)
            return settled

    def _decision(self, part: Part, finding: Finding) -> Decision:
        judge, frame, found = self.judge, part.frame, finding.inspection
        return Decision(
            **self._who,
            seq=self.seq_last,
            trigger_id=part.trigger_id,
            part_id=part.part_id,
            encoder=part.encoder,
            frame_id=frame.frame_id if frame else None,
            captured_ns=frame.captured_ns if frame else None,
            mono_ns=time.monotonic_ns(),
            verdict=finding.verdict,
            reason=finding.reason,
            score=found.score if found else None,
            p_value=found.p_value if found else None,
            regions=_boxes(found) if found else [],
            threshold=judge.threshold,
            threshold_rev=judge.threshold_rev,
            recipe=judge.recipe,
            model_digest=judge.model_digest,
            camera=self.camera,
            backend=judge.backend,
            precision=judge.precision,
            deadline_ms=part.deadline_ms,
            latency_ms=_latencies(part, found),
            age_ms=part.age_ms(),
            flags=_flags(judge, found),
        )

    def _settled(self, part: Part, decision: Decision, recorded: bool, began_ns: int) -> Decision:
        """`decision` as it leaves the house: stamped now, that is after the journal."""
        changes: dict[str, object] = {}
        if not recorded:
            changes["flags"] = [*decision.flags, "unrecorded"]
            if self._require_records:
                changes |= {"verdict": Verdict.INVALID, "reason": Reason.NOT_ONLINE}
        now_ns = time.monotonic_ns()
        if decision.verdict is not Verdict.INVALID and now_ns >= part.deadline_ns:
            changes |= {"verdict": Verdict.INVALID, "reason": Reason.LATE}
        latency_ms = decision.latency_ms | {"publish": round((now_ns - began_ns) / 1e6, 3)}
        return decision.model_copy(
            update={
                **changes,
                "mono_ns": now_ns,
                "age_ms": round((now_ns - part.started_ns) / 1e6, 3),
                "latency_ms": latency_ms,
            }
        )


def _in_time(part: Part, finding: Finding) -> Finding:
    if finding.verdict is Verdict.INVALID or time.monotonic_ns() < part.deadline_ns:
        return finding
    return Finding(Verdict.INVALID, Reason.LATE, finding.inspection)


def _boxes(found: Inspection) -> list[tuple[int, int, int, int, float]]:
    return [(box.x, box.y, box.width, box.height, round(box.score, 4)) for box in found.regions]


def _latencies(part: Part, found: Inspection | None) -> dict[str, float]:
    steps = dict(part.latency_ms)
    if found is not None:
        steps |= {"pre": found.latency_ms["pre"], "infer": found.latency_ms["infer"], "post": found.latency_ms["judge"]}
    return {name: round(value, 3) for name, value in steps.items()}


def _flags(judge: Judge, found: Inspection | None) -> list[Flag]:
    flags: list[Flag] = []
    if found is not None and found.review:
        flags.append("review")
    if judge.simulated:
        flags.append("simulated")
    if judge.degraded:
        flags.append("degraded")
    return flags
