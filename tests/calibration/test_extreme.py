"""The extreme-value estimate: its fit against known tails, its refusals, and that it never undercuts the promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import genpareto

from sad_calibration.extreme import estimate, pareto_from_moments, pareto_quantile
from sad_runtime.errors import DataError


@pytest.mark.parametrize("shape", [-0.4, -0.1, 0.0, 0.2, 0.4])
def test_the_fit_finds_the_tail_it_was_drawn_from(shape: float) -> None:
    draws = np.sort(genpareto.rvs(shape, scale=2.0, size=200_000, random_state=3))
    fitted, scale = pareto_from_moments(draws)
    assert fitted == pytest.approx(shape, abs=0.03)
    assert scale == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("shape", [-0.4, 0.0, 1e-12, 0.3])
@pytest.mark.parametrize("exceeded", [0.5, 0.01, 1e-5])
def test_the_quantile_is_scipys(shape: float, exceeded: float) -> None:
    expected = genpareto.isf(exceeded, shape, scale=1.5)
    assert pareto_quantile(shape, 1.5, exceeded) == pytest.approx(expected, rel=1e-6)


def test_the_shape_is_clipped() -> None:
    assert pareto_from_moments(np.sort(genpareto.rvs(0.95, size=5000, random_state=0)))[0] == 0.5
    assert pareto_from_moments(np.array([1.0, 1.0, 1.0, 1.0]))[0] == -0.5


def test_the_interval_holds_the_truth_most_of_the_time() -> None:
    """Normal scores, n = 300, target 1 in 1000. The interval is nominally 90 %; small-sample intervals are short."""
    truth, held = 3.0902, 0
    for seed in range(40):
        scores = np.random.default_rng(seed).standard_normal(300)
        found = estimate(scores.tolist(), 0.001, seed=seed)
        held += found.low <= truth <= found.high
    assert held >= 28


def test_the_same_seed_gives_the_same_interval() -> None:
    scores = np.random.default_rng(1).standard_normal(100).tolist()
    assert estimate(scores, 0.001) == estimate(scores, 0.001)
    assert estimate(scores, 0.001, seed=1) != estimate(scores, 0.001)


def test_it_is_named_an_estimate_with_its_interval() -> None:
    found = estimate(np.random.default_rng(1).standard_normal(100).tolist(), 0.001)
    assert found.text.startswith("estimate, not a promise: 0.1 % of good parts")
    assert found.low <= found.threshold <= found.high
    assert found.exceedances == 10


@pytest.mark.parametrize("seed", range(20))
def test_it_is_never_below_the_highest_good_score(seed: int) -> None:
    scores = np.random.default_rng(seed).uniform(size=60).tolist()
    found = estimate(scores, 0.01)
    assert found.threshold >= max(scores)
    assert found.high >= max(scores)


def test_smaller_targets_are_never_lower() -> None:
    scores = np.random.default_rng(4).gumbel(size=200).tolist()
    cuts = [estimate(scores, target).threshold for target in (0.004, 0.001, 1e-4, 1e-6)]
    assert cuts == sorted(cuts)
    assert math.isfinite(cuts[-1])


def test_fewer_than_thirty_scores_are_refused() -> None:
    with pytest.raises(DataError, match="no estimate from 29 scores"):
        estimate([float(score) for score in range(29)], 0.001)


def test_a_target_that_can_be_promised_is_refused() -> None:
    with pytest.raises(DataError, match="can promise it"):
        estimate([float(score) for score in range(100)], 0.01)


@pytest.mark.parametrize("scores", [[1.0] * 50, [float(index) for index in range(40)] + [50.0] * 10])
def test_scores_without_a_tail_are_refused(scores: list[float]) -> None:
    with pytest.raises(DataError, match="all the same"):
        estimate(scores, 0.001)


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(DataError, match="finite"):
        estimate([math.nan] * 50, 0.001)
