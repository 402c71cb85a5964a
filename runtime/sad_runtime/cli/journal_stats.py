"""`sad-journal stats`: parts, yield, reasons and latencies by hour, day or run, in one pass over the journal."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sad_runtime.cli.journal_options import folder_from, wanted_from
from sad_runtime.journal.histogram import Histogram
from sad_runtime.journal.rows import Row, reading, rows
from sad_runtime.verdict import Verdict

FORMS = {"hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d"}
SHARES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
STEP_S = 2.0
"""Jumps of the wall clock from here on are told: a row is dated up to a second after its decision (`wait_ms`)."""


@dataclass
class Group:
    """An hour, a day or a run."""

    name: str
    verdicts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """`INVALID late`; PASS and FAIL have one reason each."""
    latency_ms: dict[str, Histogram] = field(default_factory=dict)
    clock_steps: list[tuple[int, float]] = field(default_factory=list)
    """(date after the jump in ns, seconds)"""

    @property
    def parts(self) -> int:
        return self.verdicts.total()

    def add(self, row: Row) -> None:
        self.verdicts[row.verdict] += 1
        if row.verdict == Verdict.INVALID.value:
            self.reasons[f"{row.verdict} {row.reason}"] += 1
        told = row.decision
        for step, value in [*told.get("latency_ms", {}).items(), ("age", told.get("age_ms"))]:
            if isinstance(value, (int, float)):
                self.latency_ms.setdefault(step, Histogram()).add(value)

    def as_object(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "parts": self.parts,
            **{verdict.value: self.verdicts[verdict.value] for verdict in Verdict},
            "invalid": {name.partition(" ")[2]: count for name, count in self.reasons.most_common()},
            "yield": self.verdicts[Verdict.PASS.value] / self.parts,
            "latency_ms": {
                step: {name: round(one.quantile(share), 4) for name, share in SHARES.items()} | {"max": one.largest}
                for step, one in self.latency_ms.items()
            },
            "clock_steps": [{"at_ns": at_ns, "seconds": round(step, 3)} for at_ns, step in self.clock_steps],
        }


class Clocks:
    """Finds jumps of the wall clock: within one boot it keeps its distance from the monotonic one."""

    def __init__(self) -> None:
        self._offset_ns: dict[str, int] = {}

    def step_s(self, row: Row) -> float | None:
        """By how much the clock jumped between the row before and this one; None when it did not."""
        told = row.decision
        boot, mono_ns = told.get("boot_id"), told.get("mono_ns")
        if not isinstance(boot, str) or not isinstance(mono_ns, int) or "unrecorded" in told.get("flags", []):
            return None
        offset_ns = row.decided_ns - mono_ns
        before_ns = self._offset_ns.get(boot, offset_ns)
        self._offset_ns[boot] = offset_ns
        step_s = (offset_ns - before_ns) / 1e9
        return step_s if abs(step_s) >= STEP_S else None


def stats(arguments: argparse.Namespace) -> int:
    folder, wanted = folder_from(arguments), wanted_from(arguments)
    groups: dict[str, Group] = {}
    clocks = Clocks()
    with reading(folder.journal) as journal:
        for row in rows(journal, wanted):
            name = group_of(row, arguments.by)
            group = groups.setdefault(name, Group(name))
            group.add(row)
            step_s = clocks.step_s(row)
            if step_s is not None:
                group.clock_steps.append((row.decided_ns, step_s))
    if arguments.json:
        print(
            json.dumps(
                {"station": folder.station, "by": arguments.by, "groups": [g.as_object() for g in groups.values()]}
            )
        )
    else:
        print("\n".join(line for group in groups.values() for line in as_lines(group)) or "no decision fits")
    return 0


def group_of(row: Row, by: str) -> str:
    return row.run if by == "run" else datetime.fromtimestamp(row.decided_ns / 1e9).strftime(FORMS[by])


def as_lines(group: Group) -> list[str]:
    counts = ", ".join(f"{group.verdicts[verdict.value]} {verdict.value}" for verdict in Verdict)
    yielded = group.verdicts[Verdict.PASS.value] / group.parts
    lines = [f"{group.name}   {group.parts} parts: {counts}; yield {yielded:.2%}"]
    lines += [f"  {count:>9}  {name}" for name, count in group.reasons.most_common()]
    for step, one in group.latency_ms.items():
        quantiles = "  ".join(f"{name} {one.quantile(share):9.3f}" for name, share in SHARES.items())
        lines.append(f"  {step:>9}  {quantiles}  max {one.largest:9.3f} ms")
    for at_ns, seconds in group.clock_steps:
        lines.append(
            f"      clock  jumped by {seconds:+.1f} s at {datetime.fromtimestamp(at_ns / 1e9):%Y-%m-%d %H:%M:%S}"
        )
    return lines
