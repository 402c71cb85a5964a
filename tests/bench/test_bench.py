"""Every bench runs in its smallest size and yields figures. What the figures are is no test's business."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent
NAMES = ("latency", "startup", "memory", "gateway", "examples", "training")


@pytest.mark.slow
def test_every_bench_yields_figures_beside_its_peer(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    result = subprocess.run(
        [sys.executable, str(BENCH / "run.py"), "--quick", "--json", str(out)], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(out.read_text())
    assert int(report["machine"]["cores"]) >= 1
    assert 0 <= report["load"]["others"] <= 1
    figures = report["figures"]
    for name in NAMES:
        own = [figure for figure in figures if figure["bench"] == name]
        assert any(figure["peer"] is not None for figure in own), f"{name} is measured beside nothing"
        assert any(figure["verdict"] in ("within", "over") for figure in own), f"{name} is held against no budget"
        for figure in own:
            assert math.isfinite(figure["value"]["p50"]), figure
            assert figure["what"] in result.stdout


def test_a_bench_that_there_is_not_is_named() -> None:
    result = subprocess.run([sys.executable, str(BENCH / "run.py"), "latencies"], capture_output=True, text=True)
    assert result.returncode == 2
    assert "no bench latencies; there are latency, startup, memory, gateway, examples, training" in result.stderr


def test_a_figure_is_held_against_its_budget_on_the_side_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    figure = importlib.import_module("figure")
    ours, peer = figure.Spread(11.0, 20.0), figure.Spread(10.0, 14.0)
    more = figure.Figure("late", "ms", ours, peer, "bare", "more", at_most=figure.Spread(1.5, 5.0))
    assert (more.value, more.verdict) == (figure.Spread(1.0, 6.0), "over")
    times = figure.Figure("rate", "1/s", figure.Spread(120.0), figure.Spread(10.0), "bare", "times")
    assert (times.value, times.verdict) == (figure.Spread(12.0), "")
    assert dataclasses.replace(times, at_least=figure.Spread(10.0)).verdict == "within"
    assert dataclasses.replace(times, at_least=figure.Spread(12.5)).verdict == "over"
