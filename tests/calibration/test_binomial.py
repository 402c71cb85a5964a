"""Clopper-Pearson bounds against scipy's beta distribution."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from sad_calibration.binomial import at_most, observed, rate_below


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))), st.floats(0.5, 0.999))
def test_the_bound_is_the_beta_quantile(count: tuple[int, int], confidence: float) -> None:
    rejects, parts = count
    expected = beta.ppf(confidence, rejects + 1, parts - rejects)
    assert rate_below(rejects, parts, confidence) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("rejects", "parts", "rate"), [(0, 60, 0.04), (3, 60, 0.1), (59, 60, 0.99), (500, 2000, 0.26)])
def test_the_binomial_tail_is_scipys(rejects: int, parts: int, rate: float) -> None:
    assert at_most(rejects, parts, rate) == pytest.approx(binom.cdf(rejects, parts, rate), rel=1e-9)


def test_nothing_rejected_of_sixty_proves_less_than_five_percent() -> None:
    assert observed(0, 60) == "0 of 60 good parts rejected: below 4.9 % with 95 % confidence"


def test_everything_rejected_proves_nothing() -> None:
    assert rate_below(7, 7) == 1.0


def test_more_parts_prove_more() -> None:
    bounds = [rate_below(0, parts) for parts in (1, 10, 100, 1000, 3000)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[-1] < 0.001


@pytest.mark.parametrize(("rejects", "parts"), [(-1, 5), (6, 5), (0, 0)])
def test_impossible_counts_are_refused(rejects: int, parts: int) -> None:
    with pytest.raises(ValueError, match="no count"):
        rate_below(rejects, parts)


def test_a_confidence_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="confidence"):
        rate_below(0, 5, 1.0)
