"""What a station keeps in memory, beside a bare engine; and whether it grows.

The growth here is a short form, over some ten thousand parts; only a soak over a million proves flatness.
"""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple

import numpy as np
from figure import Figure, Spread
from line import Line
from material import BARE_ENGINE, Material

from sad_runtime.subscriber import Subscriber

EARLY, PARTS = 200, 3000
GROWTH_PARTS, SAMPLES = 20_000, 120
SETTLED = 0.5
"""Share of the parts before growth is measured: the table's recent latencies fill over the first 10 000."""
BUDGET_MB = Spread(400.0)
GROWTH_BUDGET_MB = Spread(0.1)
JOURNAL_BUDGET_MB = Spread(2.0)


class Growth(NamedTuple):
    """MB per 1000 parts, and parts a second."""

    memory_mb: float
    journal_mb: float
    rate: float


def figures(material: Material, quick: bool) -> list[Figure]:
    parts, growth_parts = (40, 1000) if quick else (PARTS, GROWTH_PARTS)
    early = min(EARLY, parts // 2)
    early_mb, late_mb, peak_mb = _engine(material, early, parts)
    bare_mb = Spread(_bare_engine(material, early))
    growth = _growth(material, growth_parts)
    is_engine = "a process with OpenVINO and the model (bare_engine.py)"
    return [
        Figure(f"resident after {early} parts", "MB", Spread(early_mb), bare_mb, is_engine, "more"),
        Figure(f"resident after {parts} parts", "MB", Spread(late_mb), at_most=BUDGET_MB),
        Figure("the most that was ever resident", "MB", Spread(peak_mb), at_most=BUDGET_MB),
        Figure(f"growth per 1000 of {growth_parts} parts", "MB", Spread(growth.memory_mb), at_most=GROWTH_BUDGET_MB),
        Figure("  journal on disk per 1000 of them", "MB", Spread(growth.journal_mb), at_most=JOURNAL_BUDGET_MB),
        Figure("  parts a second meanwhile", "1/s", Spread(growth.rate)),
    ]


def _engine(material: Material, early: int, parts: int) -> tuple[float, float, float]:
    """MB resident (after `early` parts, after `parts`, at most) with a real model."""
    camera = f"folder:{material.pictures}?loop=1"
    with Line(material.bundle, camera, "--backend", "openvino") as line, Subscriber(line.decisions) as feed:
        early_mb = 0.0
        while (seq := line.next_decision(feed).seq) < parts:
            if seq >= early and not early_mb:
                early_mb = line.memory_mb
        return early_mb, line.memory_mb, line.memory_peak_mb


def _growth(material: Material, parts: int) -> Growth:
    """With the stand-in backend at full speed. Medians, because some MB come and go."""
    samples: list[float] = []
    every = max(1, parts // SAMPLES)
    camera = f"folder:{material.small_pictures}?loop=1"
    with Line(material.bundle, camera, "--backend", "constant") as line, Subscriber(line.decisions) as feed:
        first = line.next_decision(feed)
        while (decision := line.next_decision(feed)).seq < parts:
            if decision.seq > SETTLED * parts and decision.seq % every == 0:
                samples.append(line.memory_mb)
        journal_mb = line.journal_mb
        passed_s = (decision.mono_ns - first.mono_ns) / 1e9
    third = len(samples) // 3
    grown_mb = float(np.median(samples[-third:]) - np.median(samples[:third]))
    between = every * (len(samples) - third)
    return Growth(1000 * grown_mb / between, 1000 * journal_mb / parts, (decision.seq - first.seq) / passed_s)


def _bare_engine(material: Material, inferences: int) -> float:
    script = [sys.executable, str(BARE_ENGINE), str(material.model), str(max(2, inferences))]
    result = subprocess.run(script, check=True, capture_output=True, text=True)
    return float(result.stdout.split()[-1])
