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
from sad_train.synthesis.labels import anomaly_label
from sad_train.synthesis.poisson import poisson_blend

Change = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]
Mode = Literal["binary", "continuous", "logistic"]
K, X0 = 1 / 6, 15.0


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


def reference(change: Change, mode: str, footprint: NDArray[np.uint8]) -> NDArray[np.float64]:
    """As the authors' code: the change above one level, median-filtered 5x5, and a float median of the change."""
    before, after, touched = change
    difference = np.abs(after.astype(float) - before.astype(float)).mean(axis=2) * touched
    support = median_filter((difference > 1).astype(float), 5) * touched
    smooth = median(difference * support, footprint)  # type: ignore[no-untyped-call]
    if mode == "binary":
        return np.asarray(support)
    if mode == "continuous":
        return np.asarray(smooth * support / 255)
    return np.asarray(support / (1 + np.exp(-K * (smooth - X0))))


def apart(change: Change, mode: Mode, footprint: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.asarray(np.abs(anomaly_label(*change, mode, (K, X0)) - reference(change, mode, footprint)))


@pytest.mark.parametrize(("mode", "most"), [("binary", 0.0), ("continuous", 1 / 255), ("logistic", K / 4)])
def test_labels_are_the_papers_formula_to_within_one_grey_level(change: Change, mode: Mode, most: float) -> None:
    """With a square median in the reference too; 8 bits round the change by half a level."""
    assert apart(change, mode, np.ones((11, 11), np.uint8)).max() <= most


@pytest.mark.parametrize(("mode", "mean"), [("binary", 0.0), ("continuous", 0.002), ("logistic", 0.01)])
def test_a_square_median_instead_of_the_papers_disk_changes_labels_little(
    change: Change, mode: Mode, mean: float
) -> None:
    assert apart(change, mode, disk(5)).mean() <= mean  # type: ignore[no-untyped-call]


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
