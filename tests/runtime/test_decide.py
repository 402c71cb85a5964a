"""Verdicts, p-values and regions, against brute force. Nothing that is not a number may ever pass."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sad_runtime.decide import MAX_REGIONS, Region, Thresholds, judge, p_value, regions, wants_review
from sad_runtime.verdict import Verdict

anything = st.floats(allow_nan=True, allow_infinity=True)
finite = st.floats(allow_nan=False, allow_infinity=False)


@given(anything, anything)
def test_pass_is_only_ever_a_finite_score_up_to_a_finite_threshold(score: float, threshold: float) -> None:
    verdict = judge(score, threshold)
    proved = math.isfinite(score) and math.isfinite(threshold)
    assert (verdict is Verdict.INVALID) == (not proved)
    assert (verdict is Verdict.PASS) == (proved and score <= threshold)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_invalid_on_either_side(broken: float) -> None:
    assert judge(broken, 1.0) is Verdict.INVALID
    assert judge(0.0, broken) is Verdict.INVALID
    assert judge(broken, broken) is Verdict.INVALID


def test_the_threshold_itself_still_passes() -> None:
    assert judge(2.5, 2.5) is Verdict.PASS
    assert judge(math.nextafter(2.5, 3), 2.5) is Verdict.FAIL


def test_numpy_numbers_are_judged_too() -> None:
    assert judge(np.float32(1.0), 2.0) is Verdict.PASS
    assert judge(np.float32("nan"), 2.0) is Verdict.INVALID


@given(anything, finite, st.none() | anything)
def test_a_review_lies_between_the_two_thresholds(score: float, cut: float, review: float | None) -> None:
    flagged = wants_review(score, Thresholds(score=cut, pixel=0.0, heatmap_low=0.0, review=review))
    between = review is not None and min(cut, review) < score <= max(cut, review)
    assert flagged == (between and math.isfinite(score) and not math.isnan(review or 0.0))


@given(st.lists(finite, max_size=40), finite)
def test_the_p_value_is_the_counted_one(good: list[float], score: float) -> None:
    expected = (1 + sum(one >= score for one in good)) / (len(good) + 1)
    assert p_value(score, sorted(good)) == pytest.approx(expected, abs=1e-15)


@given(st.lists(finite, max_size=10))
def test_what_is_no_number_is_the_least_ordinary_of_all(good: list[float]) -> None:
    assert p_value(math.nan, sorted(good)) == 0.0
    assert p_value(math.inf, sorted(good)) == 1 / (len(good) + 1)
    assert p_value(-math.inf, sorted(good)) == 1.0


def flooded(heatmap: NDArray[np.float32], threshold: float) -> list[tuple[int, int, int, int, float]]:
    """Connected areas (eight neighbours) by a plain flood fill: x, y, width, height, highest value."""
    open_pixels = {(int(y), int(x)) for y, x in np.argwhere(heatmap > threshold)}
    found = []
    while open_pixels:
        area, edge = set(), [open_pixels.pop()]
        while edge:
            y, x = edge.pop()
            area.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & open_pixels
            open_pixels -= near
            edge += near
        ys, xs = [y for y, _ in area], [x for _, x in area]
        peak = max(float(heatmap[pixel]) for pixel in area)
        found.append((min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1, peak))
    return found


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
def test_regions_are_those_of_a_flood_fill(seed: int, height: int, width: int, threshold: float) -> None:
    heatmap = np.random.default_rng(seed).random((height, width), np.float32)
    expected = sorted(flooded(heatmap, threshold), key=lambda area: -area[4])
    assume(len({area[4] for area in expected}) == len(expected))
    found = [(area.x, area.y, area.width, area.height, area.score) for area in regions(heatmap, threshold)]
    assert found == expected[:MAX_REGIONS]


def test_the_highest_peak_is_told_however_small_its_area() -> None:
    heatmap = np.zeros((200, 200), np.float32)
    heatmap[:180:6, :180:6] = 1.0
    heatmap[:180:6, 1:180:6] = 1.0  # 900 areas of two pixels
    heatmap[199, 199] = 9.0
    found = regions(heatmap, 0.5)
    assert found[0] == Region(199, 199, 1, 1, 9.0)
    assert len(found) == MAX_REGIONS


def test_the_pixel_threshold_itself_is_not_a_region() -> None:
    assert regions(np.full((5, 5), 2.0, np.float32), 2.0) == []
    assert regions(np.full((5, 5), 2.0, np.float32), 1.5) == [Region(0, 0, 5, 5, 2.0)]


def test_heatmaps_of_nothing_but_nan_have_no_region() -> None:
    assert regions(np.full((5, 5), np.nan, np.float32), 0.0) == []


def test_infinite_pixels_are_regions_and_infinite_thresholds_are_never_passed() -> None:
    heatmap = np.zeros((5, 5), np.float32)
    heatmap[1, 2] = np.inf
    assert regions(heatmap, 1.0) == [Region(2, 1, 1, 1, math.inf)]
    assert regions(heatmap, math.inf) == []
