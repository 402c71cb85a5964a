"""Labels of synthetic anomalies, held against a plain float implementation after the paper's."""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import median_filter
from skimage.filters import median
from skimage.morphology import disk

from sad_runtime.cameras.demo.parts import render
from sad_train.synthesis.labels import MEDIAN_PX, SUPPORT_PX, anomaly_label, odd_third
from sad_train.synthesis.poisson import poisson_blend

Change = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]
Mode = Literal["binary", "continuous", "logistic"]
K, X0 = 1 / 6, 15.0
PARTS = ("washer", "fabric")


@pytest.fixture(scope="module")
def change() -> Change:
    """A washer before and after a blend, and where the blend could change it."""
    before, other = (render("washer", seed=2, index=index, size_px=128).image for index in (0, 1))
    after = before.copy()
    here = (slice(20, 80), slice(30, 78))
    mask = np.zeros((60, 48), bool)
    mask[4:-4, 4:-4] = True
    after[here] = poisson_blend(before[here], other[50:110, 70:118], mask, mixed=False)
    touched = np.zeros(before.shape[:2], bool)
    touched[here] = True
    return before, after, touched


def reference(
    change: Change, mode: str, footprint: NDArray[np.uint8], support_px: int = SUPPORT_PX
) -> NDArray[np.float64]:
    """As the authors' code: the change above one level, median-filtered 5x5, and a float median of the change."""
    before, after, touched = change
    difference = np.abs(after.astype(float) - before.astype(float)).mean(axis=2) * touched
    support = median_filter((difference > 1).astype(float), support_px) * touched
    smooth = median(difference * support, footprint)  # type: ignore[no-untyped-call]
    if mode == "binary":
        return np.asarray(support)
    if mode == "continuous":
        return np.asarray(smooth * support / 255)
    return np.asarray(support / (1 + np.exp(-K * (smooth - X0))))


@pytest.mark.parametrize(("mode", "most"), [("binary", 0.0), ("continuous", 1 / 255), ("logistic", K / 4)])
@pytest.mark.parametrize(("patch_px", "window_px"), [(5, 1), (9, 3), (15, 5)])
def test_labels_of_small_patches_are_the_papers_formula_to_within_one_grey_level(
    change: Change, patch_px: int, window_px: int, mode: Mode, most: float
) -> None:
    """With a square median of their own size in the reference too; 8 bits round the change by half a level."""
    made = anomaly_label(*change, mode, (K, X0), patch_px=patch_px)
    footprint = np.ones((window_px, window_px), np.uint8)
    assert np.abs(made - reference(change, mode, footprint, window_px)).max() <= most


@pytest.mark.parametrize("patch_px", [33, 60])
def test_the_support_of_a_patch_of_the_papers_size_is_the_papers(change: Change, patch_px: int) -> None:
    made = anomaly_label(*change, "binary", (K, X0), patch_px=patch_px)
    assert np.array_equal(made, reference(change, "binary", np.ones((1, 1), np.uint8)))


@pytest.mark.parametrize(("mode", "mean", "most_of_99"), [("continuous", 0.01, 0.08), ("logistic", 0.025, 0.18)])
def test_labels_are_the_papers_to_within_the_stated_tolerance(mode: Mode, mean: float, most_of_99: float) -> None:
    """On the support of blended washers and fabrics, beside the float median over a disk of radius 5."""
    apart = np.concatenate([apart_on_support(blend(part, seed), mode) for part in PARTS for seed in range(8)])
    assert apart.mean() < mean
    assert np.percentile(apart, 99) < most_of_99


def apart_on_support(change: Change, mode: Mode) -> NDArray[np.float64]:
    wanted = reference(change, mode, disk(5))  # type: ignore[no-untyped-call]
    return np.asarray(np.abs(anomaly_label(*change, mode, (K, X0)) - wanted)[wanted > 0])


def blend(part: str, seed: int) -> Change:
    """A box of at least 33 px of another picture blended into a part of 256 px."""
    rng = np.random.default_rng(seed)
    before, other = (render(part, seed=2, index=index).image for index in (2 * seed, 2 * seed + 1))
    tall, wide = (int(side) for side in rng.integers(33, 110, 2))
    (y, x), (from_y, from_x) = (rng.integers(0, (256 - tall, 256 - wide)) for _ in range(2))
    after, touched = before.copy(), np.zeros(before.shape[:2], bool)
    here, mask = (slice(y, y + tall), slice(x, x + wide)), np.zeros((tall, wide), bool)
    mask[4:-4, 4:-4] = True
    patch = other[from_y : from_y + tall, from_x : from_x + wide]
    after[here] = poisson_blend(before[here], patch, mask, mixed=part == "fabric")
    touched[here] = True
    return before, after, touched


def test_windows_are_odd_and_at_most_a_third_of_the_patch() -> None:
    assert [odd_third(side, MEDIAN_PX) for side in (5, 8, 9, 14, 15, 21, 27, 32, 33, 200)] == [
        1,
        1,
        3,
        3,
        5,
        7,
        9,
        9,
        11,
        11,
    ]
    assert all(odd_third(side, MEDIAN_PX) <= max(1, side / 3) for side in range(5, 100))


@pytest.mark.parametrize("side", [5, 7, 9, 12, 16, 20, 24, 30, 33, 48])
def test_a_patch_of_any_size_gets_a_full_label(side: int) -> None:
    """What a blend changes of a patch of 5 px is 3x3, in which a window of 5 or 11 px would find nothing."""
    before = np.full((side, side, 3), 60, np.uint8)
    after = before.copy()
    after[1:-1, 1:-1] = 180
    label = anomaly_label(before, after, np.ones((side, side), bool), "logistic", (K, X0), patch_px=side)
    assert label[side // 2, side // 2] > 0.99
    assert (label > 0.99).sum() >= 0.6 * (side - 2) ** 2


@pytest.mark.parametrize("mode", ["binary", "continuous", "logistic"])
def test_a_label_lies_between_0_and_1_and_only_where_the_picture_was_touched(change: Change, mode: Mode) -> None:
    before, after, touched = change
    touched = touched & (np.indices(touched.shape).sum(axis=0) % 7 > 0)  # many small gaps, as a part's outline has
    label = anomaly_label(before, after, touched, mode, (K, X0))
    assert label.dtype == np.float32
    assert label.shape == touched.shape
    assert label.min() >= 0
    assert 0 < label.max() <= 1
    assert not label[~touched].any()


def test_one_grey_level_is_no_anomaly_and_two_are() -> None:
    before = np.full((40, 40, 3), 100, np.uint8)
    touched = np.ones((40, 40), bool)
    for step, found in ((1, 0.0), (2, 1.0)):
        after = before.copy()
        after[10:30, 10:30] += np.uint8(step)
        assert anomaly_label(before, after, touched, "binary", (K, X0))[20, 20] == found


def test_specks_smaller_than_the_median_carry_no_label() -> None:
    before = np.full((40, 40, 1), 100, np.uint8)
    after = before.copy()
    after[20:22, 20:22] = 255
    assert not anomaly_label(before, after, np.ones((40, 40), bool), "binary", (K, X0)).any()


@pytest.mark.parametrize("level", [5, 15, 45, 120])
def test_a_logistic_label_is_the_logistic_of_the_change(level: int) -> None:
    before = np.full((60, 60, 3), 60, np.uint8)
    after = before.copy()
    after[10:50, 10:50] += np.uint8(level)
    label = anomaly_label(before, after, np.ones((60, 60), bool), "logistic", (K, X0))
    assert label[30, 30] == pytest.approx(1 / (1 + np.exp(-K * (level - X0))), abs=1e-6)
    assert label[0, 0] == 0


def test_a_steep_logistic_does_not_overflow() -> None:
    before, after = np.zeros((30, 30, 1), np.uint8), np.full((30, 30, 1), 9, np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        label = anomaly_label(before, after, np.ones((30, 30), bool), "logistic", (100.0, 200.0))
    assert not label.any()


def test_a_change_in_one_channel_counts_a_third() -> None:
    before = np.full((40, 40, 3), 60, np.uint8)
    after = before.copy()
    after[..., 2] += np.uint8(90)
    label = anomaly_label(before, after, np.ones((40, 40), bool), "continuous", (K, X0))
    assert label[20, 20] == pytest.approx(30 / 255)
