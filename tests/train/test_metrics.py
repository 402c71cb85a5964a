"""The metrics against scikit-learn, against counting by hand, and on inputs that have no answer."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sad_train.metrics.image import best_f1, image_ap, image_auroc, spearman
from sad_train.metrics.operating_points import frr_at_escape, recall_at_frr
from sad_train.metrics.pixel import AUPIMO_BOUNDS, PixelMetrics, aupimo_of, pixel_metrics
from sad_train.metrics.pixel_counts import MAX_CUTS, JudgedMap, cuts_for, judged_map

labelled = st.lists(st.tuples(st.booleans(), st.integers(-4, 4)), min_size=2, max_size=40)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(labelled)
def test_image_metrics_equal_scikit_learn_with_ties(pairs: list[tuple[bool, int]]) -> None:
    from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

    labels, scores = [label for label, _ in pairs], [score / 2 for _, score in pairs]
    f1 = best_f1(labels, scores)
    if len(set(labels)) < 2:
        assert (image_auroc(labels, scores), image_ap(labels, scores), f1) == (None, None, None)
        return
    assert image_auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert image_ap(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert f1 is not None
    assert f1.f1 == pytest.approx(max(f1_score(labels, np.array(scores) >= cut) for cut in scores), abs=1e-12)
    assert f1_score(labels, np.array(scores) > f1.threshold) == pytest.approx(f1.f1, abs=1e-12)


def test_scores_of_any_size_keep_their_order() -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = rng.random(300) < 0.3
        scores = rng.normal(0, 1, 300).astype(np.float32) * 10.0 ** rng.integers(-6, 6) + labels
        assert image_auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12), seed
        assert image_ap(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12), seed


def test_constant_scores_tell_nothing() -> None:
    assert image_auroc([True, False, True, False], [3.0] * 4) == 0.5
    assert image_ap([True, False, False, False], [3.0] * 4) == 0.25


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        image_auroc([True, False], [float("nan"), 1.0])


def test_rank_correlation_equals_scipy() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(5)
    a = rng.integers(0, 6, 50)
    b = a + rng.integers(0, 6, 50)
    assert spearman(a, b) == pytest.approx(float(spearmanr(a, b).statistic), abs=1e-12)
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    assert spearman([1, 2], [1, 2]) is None


def test_recall_at_a_false_reject_rate_allows_whole_pictures_only() -> None:
    good, defect = list(range(100)), [50, 98.5, 99.5, 200]
    assert recall_at_frr(good, defect, 0.001) == 0.5
    assert recall_at_frr(good, defect, 0.01) == 0.75
    assert recall_at_frr(good, defect, 1.0) == 1.0
    assert recall_at_frr([1.0, 1.0], [1.0, 1.0], 0.01) == 0.0


def test_false_rejects_at_an_escape_rate_allow_whole_pictures_only() -> None:
    good, defect = list(range(100)), [10.5, *([95.5] * 19)]
    assert frr_at_escape(good, defect, 0.0) == 0.89
    assert frr_at_escape(good, defect, 0.01) == 0.89
    assert frr_at_escape(good, defect, 0.05) == 0.04
    assert frr_at_escape([1.0], [1.0], 0.0) == 1.0


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=30),
    st.lists(st.integers(0, 8), min_size=1, max_size=30),
    st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.5]),
)
def test_operating_points_are_the_best_of_all_thresholds(goods: list[int], defects: list[int], rate: float) -> None:
    good, defect = np.array(goods), np.array(defects)
    rates = [(np.mean(good > cut), np.mean(defect <= cut)) for cut in np.arange(-1, 10) + 0.5]
    rates += [(np.mean(good > cut), np.mean(defect <= cut)) for cut in np.arange(0, 9)]
    best_recall = max(1 - escape for reject, escape in rates if reject <= rate + 1e-12)
    least_reject = min(reject for reject, escape in rates if escape <= rate + 1e-12)
    assert recall_at_frr(good, defect, rate) == pytest.approx(best_recall)
    assert frr_at_escape(good, defect, rate) == pytest.approx(least_reject)


def test_rates_without_a_class_have_no_answer() -> None:
    assert recall_at_frr([], [1.0], 0.01) is None
    assert frr_at_escape([1.0], [], 0.01) is None


def random_maps(
    seed: int, *, goods: int = 3, defects: int = 4, size_px: int = 24, levels: int = 0
) -> tuple[list[JudgedMap], list[JudgedMap]]:
    """Noise with a lift inside the masks; with `levels`, full of ties."""
    rng = np.random.default_rng(seed)
    shape = (size_px, size_px)
    masks = []
    for _ in range(defects):
        mask = np.zeros(shape, bool)
        for _ in range(int(rng.integers(1, 4))):
            y, x, height, width = rng.integers(0, size_px - 8, 2).tolist() + rng.integers(1, 8, 2).tolist()
            mask[y : y + height, x : x + width] = True
        masks.append(mask)

    def heat(lift: NDArray[np.float64]) -> NDArray[np.float32]:
        values = rng.normal(0, 1, shape) + lift
        return np.asarray(np.round(values * levels) / levels if levels else values, dtype=np.float32)

    good = [judged_map(heat(np.zeros(shape)), None, shape) for _ in range(goods)]
    return good, [judged_map(heat(1.5 * mask), mask, shape) for mask in masks]


def all_pixels(maps: list[JudgedMap]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    return (
        np.concatenate([judged.mask().ravel() for judged in maps]),
        np.concatenate([judged.values().ravel() for judged in maps]),
    )


def brute_aupro(maps: list[JudgedMap], limit: float = 0.3) -> float:
    """A point at every value there is; components by scikit-image; area by the trapezium rule, cut at `limit`."""
    from skimage.measure import label

    truth, scores = all_pixels(maps)
    components = [
        judged.values()[regions == index]
        for judged in maps
        for regions in [np.asarray(label(judged.mask(), connectivity=2))]  # type: ignore[no-untyped-call]
        for index in range(1, regions.max() + 1)
    ]
    points = [(0.0, 0.0)]
    for cut in np.unique(scores)[::-1]:
        overlap = float(np.mean([np.mean(component >= cut) for component in components]))
        points.append((float(np.mean(scores[~truth] >= cut)), overlap))
    area = 0.0
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 >= limit or x1 == x0:
            continue
        end = min(x1, limit)
        y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
        area += (end - x0) * (y0 + y_end) / 2
    return area / limit


@pytest.mark.parametrize("levels", [0, 3])
@pytest.mark.parametrize("seed", range(5))
def test_pixel_metrics_equal_scikit_learn_and_brute_force(seed: int, levels: int) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    good, defect = random_maps(seed, levels=levels)
    found = pixel_metrics({"spot": defect}, good)[""]
    truth, scores = all_pixels([*good, *defect])
    assert found.auroc == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert found.ap == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    assert found.aupro == pytest.approx(brute_aupro([*good, *defect]), abs=1e-12)


def test_each_type_is_held_against_all_good_pictures() -> None:
    good, defect = random_maps(7, defects=6)
    found = pixel_metrics({"a": defect[:2], "b": defect[2:]}, good)
    assert set(found) == {"", "a", "b"}
    alone = pixel_metrics({"a": defect[:2]}, good)["a"]
    assert found["a"].auroc == pytest.approx(alone.auroc, abs=1e-12)
    assert found["a"].aupro == pytest.approx(alone.aupro, abs=1e-12)
    assert found[""].aupro == pytest.approx(pixel_metrics({"all": defect}, good)[""].aupro, abs=1e-12)


def test_enlarged_maps_of_a_million_pixels_stay_within_the_stated_error() -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(11)
    maps = []
    for index in range(4):
        mask = np.zeros((600, 500), bool)
        mask[100:160, 200:280] = index > 0
        lift = cv2.resize(mask.astype(np.float32), (160, 192), interpolation=cv2.INTER_AREA)
        noise = cv2.GaussianBlur(rng.normal(0, 1, (192, 160)).astype(np.float32), (0, 0), 2)
        maps.append(judged_map(np.asarray(noise + 0.3 * lift), mask if index else None, (600, 500)))
    assert len(cuts_for(maps)) <= MAX_CUTS + 1
    found = pixel_metrics({"x": maps[1:]}, maps[:1])[""]
    truth, scores = all_pixels(maps)
    assert found.auroc == pytest.approx(roc_auc_score(truth, scores), abs=1e-5)
    assert found.ap == pytest.approx(average_precision_score(truth, scores), abs=3e-4)


def test_a_mask_comes_back_bit_for_bit() -> None:
    mask = np.random.default_rng(3).random((37, 53)) < 0.2
    judged = judged_map(np.zeros((8, 8), np.float32), mask, mask.shape)
    assert np.array_equal(judged.mask(), mask)
    assert judged.values().shape == mask.shape


def test_aupimo_is_the_mean_recall_over_the_logarithm_of_the_rate() -> None:
    low, high = AUPIMO_BOUNDS
    middle = float(np.sqrt(low * high))
    # cuts ascending: everything, half of the defect at the middle rate, none of it at no good pixel
    assert aupimo_of(np.array([1.0, 0.5, 0.0]), np.array([1.0, middle, 0.0])) == pytest.approx(0.25)
    assert aupimo_of(np.array([1.0, 1.0]), np.array([1.0, 0.0])) == 1.0
    assert aupimo_of(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0.0


def test_aupimo_equals_counting_at_many_rates() -> None:
    good, defect = random_maps(21, goods=4, defects=3, size_px=300)
    goods = np.sort(np.concatenate([judged.values().ravel() for judged in good]))
    rates = np.geomspace(*AUPIMO_BOUNDS, 4001)
    expected = []
    for judged in defect:
        inside = judged.values()[judged.mask()]
        # at each rate: reject from the lowest value that leaves no more good pixels than the rate allows
        allowed = np.floor(rates * len(goods) + 1e-9).astype(int)
        cuts = goods[len(goods) - 1 - allowed]
        expected.append(np.mean([np.mean(inside > cut) for cut in cuts]))
    found = pixel_metrics({"x": defect}, good)[""].aupimo
    assert found == pytest.approx(float(np.mean(expected)), abs=0.005)


def test_aupimo_is_not_told_when_good_pixels_are_too_few() -> None:
    good, defect = random_maps(1)
    found = pixel_metrics({"x": defect}, good)[""]
    assert found.aupimo is None
    assert found.aupro is not None


def test_pixel_metrics_without_masks_have_no_answer() -> None:
    good, _ = random_maps(1)
    assert pixel_metrics({}, good) == {"": PixelMetrics()}


def test_pixel_metrics_without_good_pictures_rest_on_the_good_pixels_of_defects() -> None:
    _, defect = random_maps(2)
    found = pixel_metrics({"x": defect}, [])[""]
    assert found.auroc is not None
    assert found.aupimo is None


def test_constant_heatmaps_tell_nothing() -> None:
    mask = np.zeros((20, 20), bool)
    mask[5:9, 5:9] = True
    blank = np.full((20, 20), 2.0, np.float32)
    found = pixel_metrics({"x": [judged_map(blank, mask, (20, 20))]}, [judged_map(blank, None, (20, 20))])[""]
    assert found.auroc == 0.5
    assert found.aupro == pytest.approx(0.15)
