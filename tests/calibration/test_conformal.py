"""The promise about false rejects: its arithmetic for every n, and that it holds on exchangeable parts."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sad_calibration.conformal import parts_needed, percent, promise
from sad_runtime.decide import judge, p_value
from sad_runtime.errors import DataError, UsageError
from sad_runtime.verdict import Verdict

scores_lists = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)
rates = st.floats(1e-4, 0.9999)


def test_the_threshold_is_the_kth_largest_score() -> None:
    made = promise([float(score) for score in range(1, 20)], 0.1)
    assert (made.threshold, made.guaranteed_false_reject, made.supported) == (18.0, 0.1, True)


def test_without_a_target_the_least_that_can_be_promised_is_taken() -> None:
    made = promise([1.0, 3.0, 2.0], None)
    assert (made.threshold, made.guaranteed_false_reject) == (3.0, 0.25)
    assert made.supported
    assert made.needed is None


def test_a_target_too_small_for_the_parts_falls_back_and_says_how_many_to_bring() -> None:
    made = promise(range(40), 0.005)
    assert (made.threshold, made.supported, made.needed) == (39.0, False, 199)
    assert made.guaranteed_false_reject == pytest.approx(1 / 41)
    assert made.text == "with 40 calibration parts the least that can be promised is 2.4 %; for 0.5 % bring 199"


@pytest.mark.parametrize("hundredths", range(1, 100))
@pytest.mark.parametrize("n", [9, 19, 99, 199, 999])
def test_decimal_rates_are_not_lost_to_floating_point(hundredths: int, n: int) -> None:
    exact = math.floor(Fraction(hundredths, 100) * (n + 1))
    for rate in (hundredths / 100, float(f"{hundredths}") / 100, float(f"0.{hundredths:02}")):
        made = promise(range(n), rate)
        assert made.supported == (exact >= 1)
        assert made.threshold == n - max(exact, 1)


def test_ten_percent_of_nine_parts_is_one() -> None:
    assert promise(range(9), 0.1).supported


@given(st.floats(1e-5, 0.99))
def test_the_number_to_bring_is_the_smallest_that_supports_the_rate(rate: float) -> None:
    needed = parts_needed(rate)
    assert promise(range(needed), rate).supported
    if needed > 1:
        assert not promise(range(needed - 1), rate).supported


@given(scores_lists, rates, st.floats(-1e6, 1e6))
def test_rejecting_above_the_threshold_is_rejecting_by_p_value(scores: list[float], rate: float, score: float) -> None:
    made = promise(scores, rate)
    rejected = judge(score, made.threshold) is Verdict.FAIL
    assert rejected == (p_value(score, sorted(scores)) <= made.guaranteed_false_reject * (1 + 1e-12))


@given(scores_lists, rates, rates)
def test_a_larger_rate_never_raises_the_threshold(scores: list[float], one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert promise(scores, high).threshold <= promise(scores, low).threshold
    assert promise(scores, None).threshold >= promise(scores, low).threshold


@given(scores_lists, rates)
def test_the_promise_never_exceeds_a_supported_target(scores: list[float], rate: float) -> None:
    made = promise(scores, rate)
    assert made.threshold in scores
    assert made.n == len(scores)
    assert (made.needed is None) == made.supported
    if made.supported:
        assert made.guaranteed_false_reject <= rate * (1 + 1e-9)
    else:
        assert made.guaranteed_false_reject == 1 / (len(scores) + 1)


@pytest.mark.parametrize("n", range(1, 60, 7))
@pytest.mark.parametrize("rate", [0.02, 0.05, 0.1, 0.3])
def test_good_parts_are_rejected_no_more_often_than_promised(n: int, rate: float) -> None:
    """4000 draws of n calibration parts and a new one, all of one heavy-tailed process; slack: 4 standard errors."""
    draws = 4000
    rng = np.random.default_rng(1000 * n + round(100 * rate))
    parts = rng.standard_t(2, (draws, n + 1))
    made = [promise(row[:-1], rate) for row in parts]
    rejected = np.mean([judge(row[-1], m.threshold) is Verdict.FAIL for row, m in zip(parts, made, strict=True)])
    promised = made[0].guaranteed_false_reject
    slack = 4 * math.sqrt(promised * (1 - promised) / draws)
    assert abs(rejected - promised) < slack  # for continuous scores the bound is met exactly, so both sides are tested


def test_ties_are_rejected_less_often_not_more() -> None:
    rng = np.random.default_rng(0)
    parts = rng.integers(0, 4, (4000, 20)).astype(float)
    rejected = np.mean([judge(row[-1], promise(row[:-1], 0.1).threshold) is Verdict.FAIL for row in parts])
    assert rejected <= 0.1


@pytest.mark.parametrize("scores", [[], [1.0, math.nan], [math.inf], [-math.inf, 0.0]])
def test_no_scores_or_broken_ones_are_refused(scores: list[float]) -> None:
    with pytest.raises(DataError):
        promise(scores, 0.1)


@pytest.mark.parametrize("target", [0.0, 1.0, -0.1, 5.0, math.nan])
def test_a_target_that_is_no_rate_is_refused(target: float) -> None:
    with pytest.raises(UsageError, match="false reject rate"):
        promise([1.0], target)


def test_numpy_scores_are_taken_too() -> None:
    assert promise(np.array([1, 2, 3], np.float32), None).threshold == 3.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rate", "shown"), [(1 / 41, "2.4 %"), (0.1, "10 %"), (0.995, "100 %"), (0.0005, "0.05 %"), (1, "100 %")]
)
def test_percent_is_short(rate: float, shown: str) -> None:
    assert percent(rate) == shown
