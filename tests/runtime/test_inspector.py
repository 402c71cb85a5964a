"""One picture in, one inspection out, on the real engines; whatever breaks is never a PASS."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bundles import SIZE_PX, SPEC, THRESHOLD, bad_picture, good_picture
from sad_runtime.backends.base import Backend, Outputs
from sad_runtime.backends.constant import ConstantBackend
from sad_runtime.backends.table import backend_for
from sad_runtime.bundle import read_bundle
from sad_runtime.decide import Region, Thresholds
from sad_runtime.errors import BackendError, DataError
from sad_runtime.inspector import Inspector
from sad_runtime.manifest import PictureSize, Roi
from sad_runtime.verdict import Reason, Verdict

CUTS = Thresholds(score=THRESHOLD, pixel=THRESHOLD, heatmap_low=0.5)
ENGINES = ["openvino", "onnxruntime"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_good_part_passes_and_a_bad_one_fails_with_its_place(tiny_bundle: Path, engine: str) -> None:
    backend = backend_for(engine, read_bundle(tiny_bundle).model("fp32"), SPEC)
    with Inspector(backend, CUTS, good_scores=[0.7, 0.6, 0.8]) as inspector:
        good, bad = inspector.inspect(good_picture()), inspector.inspect(bad_picture())
    assert (good.verdict, good.reason, good.regions, good.p_value > 0.25) == (Verdict.PASS, Reason.OK, [], True)
    assert (bad.verdict, bad.reason, bad.p_value) == (Verdict.FAIL, Reason.SCORE, 0.25)
    assert bad.regions == [Region(24, 20, 16, 10, pytest.approx(5.0))]  # type: ignore[arg-type]
    assert np.array_equal(good.picture, good_picture())
    assert set(good.latency_ms) == {"pre", "infer", "judge"}


def test_the_roi_is_cut_from_the_frame(tiny_bundle: Path) -> None:
    frame = np.zeros((SIZE_PX + 10, SIZE_PX + 10, 3), np.uint8)
    frame[4 : 4 + SIZE_PX, 6 : 6 + SIZE_PX] = good_picture()
    backend = backend_for("onnxruntime", read_bundle(tiny_bundle).model("fp32"), SPEC)
    with Inspector(backend, CUTS, roi=Roi(x=6, y=4, width=SIZE_PX, height=SIZE_PX)) as inspector:
        assert inspector.inspect(frame).verdict is Verdict.PASS
        with pytest.raises(DataError, match="leaves the picture"):
            inspector.inspect(good_picture())
    with Inspector(backend, CUTS) as inspector:
        assert inspector.inspect(frame).verdict is Verdict.FAIL


def test_scores_in_the_band_are_passed_for_review() -> None:
    cuts = Thresholds(score=3.0, pixel=9.0, heatmap_low=0.0, review=2.0)
    found = {}
    for score in ("2.0", "2.5", "3.0", "3.5"):
        with Inspector(ConstantBackend(b"", SPEC, option=score), cuts) as inspector:
            found[score] = inspector.inspect(good_picture())
    assert [one.review for one in found.values()] == [False, True, True, False]
    assert [one.verdict for one in found.values()] == [Verdict.PASS] * 3 + [Verdict.FAIL]


@pytest.mark.parametrize("threshold", [math.nan, math.inf, -math.inf])
def test_a_threshold_that_is_no_number_makes_every_part_invalid(threshold: float) -> None:
    with Inspector(ConstantBackend(b"", SPEC), Thresholds(threshold, 1.0, 0.0)) as inspector:
        found = inspector.inspect(good_picture())
    assert (found.verdict, found.reason) == (Verdict.INVALID, Reason.INFERENCE_ERROR)


@pytest.mark.parametrize("score", ["nan", "inf", "-inf"])
def test_a_score_that_is_no_number_is_an_error(score: str) -> None:
    with Inspector(ConstantBackend(b"", SPEC, option=score), CUTS) as inspector, pytest.raises(BackendError):
        inspector.inspect(good_picture())


class Broken(Backend):
    """A stand-in that spoils what a good engine says."""

    name = "broken"
    spoil: Callable[[Outputs], Outputs]

    def open(self) -> None:
        pass

    def infer(self, pictures: NDArray[np.uint8]) -> Outputs:
        heatmap = np.zeros(pictures.shape[:3], np.float32)
        return self.spoil(Outputs(heatmap, np.zeros(1, np.float32), np.zeros((1, 4), np.float32)))

    def close(self) -> None:
        pass


def one_nan_pixel(outputs: Outputs) -> Outputs:
    outputs.heatmap[0, 3, 5] = np.nan
    return outputs


def one_infinite_pixel(outputs: Outputs) -> Outputs:
    outputs.heatmap[0, 3, 5] = -np.inf
    return outputs


@pytest.mark.parametrize("spoil", [one_nan_pixel, one_infinite_pixel])
def test_one_broken_pixel_in_the_heatmap_is_an_error(spoil: Callable[[Outputs], Outputs]) -> None:
    backend = Broken(b"", SPEC)
    backend.spoil = spoil
    with Inspector(backend, CUTS) as inspector, pytest.raises(BackendError, match="finite"):
        inspector.inspect(good_picture())


def test_an_inspector_closes_its_backend() -> None:
    backend = ConstantBackend(b"", SPEC)
    with Inspector(backend, CUTS) as inspector:
        inspector.inspect(good_picture())
    with pytest.raises(BackendError, match="not open"):
        inspector.inspect(good_picture())


@pytest.mark.parametrize(("width", "height"), [(80, 48), (30, 30), (64, 80)])
def test_a_picture_unlike_those_learnt_from_is_refused(width: int, height: int) -> None:
    judged = PictureSize(width=64, height=64)
    refused = pytest.raises(DataError, match=f"{width}x{height}; this model learnt from 64x64")
    with Inspector(ConstantBackend(b"", SPEC), Thresholds(1.0, 1.0, 0.0), judged=judged) as inspector, refused:
        inspector.inspect(np.zeros((height, width, 3), np.uint8))


@pytest.mark.parametrize(("width", "height"), [(64, 64), (128, 128), (64, 66), (48, 48)])
def test_a_picture_a_little_larger_or_smaller_is_judged(width: int, height: int) -> None:
    judged = PictureSize(width=64, height=64)
    with Inspector(ConstantBackend(b"", SPEC), Thresholds(1.0, 1.0, 0.0), judged=judged) as inspector:
        assert inspector.inspect(np.zeros((height, width, 3), np.uint8)).verdict is Verdict.PASS


def test_with_an_roi_its_size_counts() -> None:
    judged = PictureSize(width=64, height=64)
    roi = Roi(x=10, y=0, width=64, height=64)
    with Inspector(ConstantBackend(b"", SPEC), Thresholds(1.0, 1.0, 0.0), roi=roi, judged=judged) as inspector:
        assert inspector.inspect(np.zeros((64, 200, 3), np.uint8)).verdict is Verdict.PASS
