"""Percentiles from counts: never too low, at most 3.2 % too high, of the last minute only, in memory that stays."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sad_runtime.ops.latency_window import SHARES, SLICE_NS, SLICES, TOTAL, Latencies, LatencyWindow
from sad_runtime.station.tally import percentiles

TOO_HIGH = 1 + 1 / 32
WINDOW_NS = SLICES * SLICE_NS


@given(st.lists(st.floats(min_value=0.001, max_value=3.6e6), min_size=1, max_size=300))
def test_a_percentile_is_never_too_low_and_at_most_a_bucket_too_high(values: list[float]) -> None:
    step = Latencies()
    for value in values:
        step.saw(value)
    found = step.now().percentiles()
    assert found is not None
    assert found.n == len(values)
    for told, exact in zip(found[1:], percentiles(values, SHARES), strict=True):
        assert exact < told <= exact * TOO_HIGH * (1 + 1e-9)


def test_it_says_of_a_long_run_what_sorting_it_would_say() -> None:
    rng = np.random.default_rng(5)
    values = rng.lognormal(mean=2.5, sigma=0.5, size=20_000).tolist()
    step = Latencies()
    for value in values:
        step.saw(value)
    found = step.now().percentiles()
    assert found is not None
    exact = percentiles(values, SHARES)
    assert [found.p50, found.p99, found.p999] == pytest.approx(exact, rel=1 / 32)


@pytest.mark.parametrize("odd", [0.0, -1.0, math.nan, 1e-9])
def test_what_is_no_time_counts_as_the_shortest(odd: float) -> None:
    step = Latencies()
    step.saw(odd)
    found = step.now().percentiles()
    assert found is not None
    assert found.p50 < 0.0011


@pytest.mark.parametrize("odd", [1e12, math.inf])
def test_what_takes_for_ever_counts_as_the_longest(odd: float) -> None:
    step = Latencies()
    step.saw(odd)
    found = step.now().percentiles()
    assert found is not None
    assert found.p50 == 2.0**22


def test_a_slow_minute_is_forgotten_a_minute_later_and_the_sum_is_not() -> None:
    window = LatencyWindow(0)
    window.saw({"infer": 900.0}, 950.0, 0)
    for second in range(1, 61):
        window.saw({"infer": 10.0}, 12.0, second * 1_000_000_000)
    recent = window.now(WINDOW_NS)["infer"].percentiles()
    assert recent is not None
    assert recent.p999 < 11
    assert 49 <= recent.n <= 60
    assert window.now(WINDOW_NS)["infer"].sum_ms == 900 + 60 * 10
    assert window.now(WINDOW_NS)["infer"].powers()[-1] == (2.0**22, 61)


def test_an_idle_line_has_no_recent_latency() -> None:
    window = LatencyWindow(0)
    window.saw({}, 5.0, 0)
    assert window.now(1)[TOTAL].percentiles() is not None
    assert window.now(WINDOW_NS + 1)[TOTAL].percentiles() is None


def test_a_clock_that_leaps_a_year_costs_no_year_of_turning() -> None:
    window = LatencyWindow(0)
    window.saw({}, 5.0, 0)
    year_ns = 365 * 24 * 3_600_000_000_000
    assert window.now(year_ns)[TOTAL].percentiles() is None
    window.saw({}, 7.0, year_ns + 1)
    recent = window.now(year_ns + 2)[TOTAL].percentiles()
    assert recent is not None
    assert recent.n == 1


def test_a_copy_does_not_move_while_parts_go_on() -> None:
    step = Latencies()
    step.saw(1.0)
    copy = step.now()
    step.saw(100.0)
    found = copy.percentiles()
    assert found is not None
    assert found.n == 1


def test_memory_is_the_same_after_ten_and_after_a_hundred_thousand_parts() -> None:
    def held(parts: int) -> int:
        window = LatencyWindow(0)
        for part in range(parts):
            window.saw({"infer": 1.0 + part % 1000}, 2.0, part * 1_000_000)
        step = window._steps["infer"]
        return sys.getsizeof(step._counts) + sum(sys.getsizeof(slice_) for slice_ in step._begins)

    assert held(100_000) <= held(10) + SLICES * 8 * 1024 + 1024 < 80_000
