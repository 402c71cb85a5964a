"""Counts a run's verdicts and keeps its recent latencies, for the table at the end."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from sad_runtime.messages import Decision
from sad_runtime.verdict import Verdict

RECENT = 10_000
"""Latencies of so many parts are kept, so that memory stays flat however long the run."""


class Tally:
    def __init__(self) -> None:
        self.parts = 0
        self.verdicts: Counter[Verdict] = Counter()
        self.reasons: Counter[str] = Counter()
        self.unrecorded = 0
        self._steps: dict[str, deque[float]] = {}

    def count(self, decision: Decision) -> None:
        self.parts += 1
        self.verdicts[decision.verdict] += 1
        if decision.verdict is Verdict.INVALID:
            self.reasons[decision.reason.value] += 1
        self.unrecorded += "unrecorded" in decision.flags
        for step, value in (*decision.latency_ms.items(), ("age", decision.age_ms)):
            self._steps.setdefault(step, deque(maxlen=RECENT)).append(value)

    def table(self) -> str:
        counts = "  ".join(f"{verdict.value} {self.verdicts[verdict]}" for verdict in Verdict)
        lines = [f"parts {self.parts}  {counts}"]
        if self.reasons:
            lines.append("INVALID: " + ", ".join(f"{reason} {n}" for reason, n in self.reasons.most_common()))
        if self.unrecorded:
            lines.append(f"unrecorded when published: {self.unrecorded}")
        if self._steps:
            lines.append(f"{'ms':<8}{'p50':>9}{'p99':>9}{'worst':>9}")
            for step, values in self._steps.items():
                p50, p99, worst = percentiles(values, (0.5, 0.99, 1.0))
                lines.append(f"{step:<8}{p50:>9.2f}{p99:>9.2f}{worst:>9.2f}")
        return "\n".join(lines)


def percentiles(values: Iterable[float], shares: Iterable[float]) -> list[float]:
    """Nearest-rank percentiles; `values` must not be empty."""
    ranked = sorted(values)
    return [ranked[min(len(ranked) - 1, int(share * len(ranked)))] for share in shares]
