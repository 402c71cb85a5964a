"""Measuring good parts on a real backend, and the cuts made of what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bundles import SIZE_PX, SPEC, good_picture
from sad_calibration.conformal import promise
from sad_calibration.thresholds import Calibration, cuts, measure
from sad_runtime.backends.constant import ConstantBackend
from sad_runtime.backends.table import backend_for
from sad_runtime.bundle import read_bundle
from sad_runtime.decide import Thresholds, wants_review
from sad_runtime.errors import BackendError, DataError, UsageError
from sad_runtime.inspector import Inspector
from sad_runtime.manifest import Roi

ANY = Thresholds(0.0, 0.0, 0.0)


def calibration(n: int) -> Calibration:
    return Calibration([float(score) for score in range(n)], [2.0 * score for score in range(n)], 0.25)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_backend_and_an_inspector_measure_the_same(tiny_bundle: Path, engine: str) -> None:
    model = read_bundle(tiny_bundle).model("fp32")
    goods = [good_picture(seed) for seed in range(5)]
    with backend_for(engine, model, SPEC) as backend:
        bare = measure(backend, goods)
        assert measure(Inspector(backend, ANY), iter(goods)) == bare
    expected = [10 * np.abs(good.astype(np.float32).mean(axis=2) / 255 - 0.5) for good in goods]
    assert bare.scores == pytest.approx([float(heatmap.max()) for heatmap in expected], rel=1e-5)
    assert bare.pixel_maxima == pytest.approx(bare.scores)
    assert bare.heatmap_low == pytest.approx(np.median([np.median(heatmap) for heatmap in expected]), rel=1e-4)


def test_an_inspector_crops_full_frames_to_its_roi(tiny_bundle: Path) -> None:
    model = read_bundle(tiny_bundle).model("fp32")
    frame = np.zeros((SIZE_PX + 40, SIZE_PX + 30, 3), np.uint8)
    frame[8 : 8 + SIZE_PX, 5 : 5 + SIZE_PX] = good_picture(1)
    with backend_for("onnxruntime", model, SPEC) as backend:
        roi = Roi(x=5, y=8, width=SIZE_PX, height=SIZE_PX)
        assert measure(Inspector(backend, ANY, roi=roi), [frame]) == measure(backend, [good_picture(1)])


def test_no_pictures_are_refused() -> None:
    with pytest.raises(DataError, match="no pictures"), ConstantBackend(b"", SPEC) as backend:
        measure(backend, [])


def test_a_backend_that_says_nan_sets_no_threshold() -> None:
    with pytest.raises(BackendError, match="finite"), ConstantBackend(b"", SPEC, option="nan") as backend:
        measure(backend, [good_picture()])


def test_score_and_pixel_thresholds_carry_the_same_promise() -> None:
    made = cuts(calibration(99), target=0.05)
    assert made.promise == promise(calibration(99).scores, 0.05)
    assert (made.score_threshold, made.pixel_threshold, made.heatmap_low) == (94.0, 188.0, 0.25)
    assert made.review_threshold is None


def test_the_review_band_lies_below_the_rejects() -> None:
    made = cuts(calibration(99), target=0.02, review_rate=0.1)
    assert (made.score_threshold, made.review_threshold) == (97.0, 89.0)
    station = Thresholds(made.score_threshold, made.pixel_threshold, made.heatmap_low, made.review_threshold)
    assert [wants_review(score, station) for score in (89.0, 90.0, 97.0, 98.0)] == [False, True, True, False]


@pytest.mark.parametrize("review_rate", [0.02, 0.01])
def test_a_review_band_inside_the_rejects_is_refused(review_rate: float) -> None:
    with pytest.raises(UsageError, match="larger share"):
        cuts(calibration(99), target=0.02, review_rate=review_rate)


@pytest.mark.parametrize(("target", "n", "ask"), [(None, 20, "9.53 %"), (0.001, 9, "20 %"), (0.05, 39, "7.5 %")])
def test_a_review_band_too_narrow_for_the_parts_is_refused_with_one_that_works(
    target: float | None, n: int, ask: str
) -> None:
    with pytest.raises(DataError, match=f"ask for {ask} or bring more"):
        cuts(calibration(n), target=target, review_rate=0.0505 if target == 0.05 else 0.04)
    made = cuts(calibration(n), target=target, review_rate=float(ask.removesuffix(" %")) / 100)
    assert made.review_threshold is not None
    assert made.review_threshold < made.score_threshold
