"""Histograms of a real graph's tensors, run in ONNX Runtime with all its optimisation on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from numpy.typing import NDArray
from onnx import helper

from bundles import tiny_onnx
from convolutions import SHAPE, SIZE_PX, Pictures, convolving_onnx, pictures
from sad_calibration.int8.activations import all_tensors, conv_inputs, observed, picture_shape, picture_tensors
from sad_calibration.int8.histogram import Histogram
from sad_runtime.backends.engines import onnxruntime_alone
from sad_runtime.errors import BackendError, DataError, MissingExtra


def as_written(model: bytes, tensors: list[str], shown: Pictures) -> dict[str, NDArray[np.float32]]:
    """Every value of `tensors`, from ONNX Runtime with its optimisation off."""
    onnxruntime = onnxruntime_alone()
    parsed = onnx.load_from_string(model)
    parsed.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in tensors)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(parsed.SerializeToString(), options, providers=["CPUExecutionProvider"])
    runs = [session.run(tensors, {"image": picture[None]}) for picture in shown]
    return {name: np.concatenate([run[index].ravel() for run in runs]) for index, name in enumerate(tensors)}


def test_what_feeds_a_conv_is_listed_in_graph_order_and_once() -> None:
    assert conv_inputs(convolving_onnx()) == ["normalised", "relu0", "large"]


def test_all_float_tensors_are_listed_and_no_others() -> None:
    names = all_tensors(convolving_onnx())
    assert names[:4] == ["float", "scaled", "normalised", "conv0"]
    assert set(names) >= {"norm0", "relu0", "same2", "sum", "large", "conv3", "heatmap", "score", "embedding"}
    assert not {"image", "nchw", "w0", "scales"} & set(names)


def test_the_picture_itself_ends_at_the_first_conv() -> None:
    assert picture_tensors(convolving_onnx()) == ["float", "scaled", "normalised"]


def test_values_are_those_of_the_graph_as_it_is_written() -> None:
    model, shown = convolving_onnx(), pictures(5)
    names = [name for name in all_tensors(model) if name not in ("score", "embedding")]
    found = observed(model, names, shown)
    assert list(found) == names
    for name, values in as_written(model, names, shown).items():
        one = found[name]
        assert one.count == values.size, name
        assert one.maximum == pytest.approx(np.abs(values).max(), rel=1e-5), name
        expected = Histogram(name)
        expected.add(values)
        moved = np.abs(np.cumsum(one.counts - expected.counts)).max()  # rounding moves a value over an edge
        assert moved <= 0.002 * one.count, name


def test_threads_and_the_kind_of_collection_change_nothing_that_matters() -> None:
    model, shown = convolving_onnx(), pictures(3)
    one = observed(model, ["sum"], np.stack(shown), threads=1)["sum"]
    other = observed(model, ["sum"], iter(shown))["sum"]
    assert one.count == other.count
    assert one.maximum == pytest.approx(other.maximum, rel=1e-5)


def test_activations_of_pictures_gone_by_are_not_kept() -> None:
    """Each picture makes 3 MB; all of them would be 600."""
    model = convolving_onnx(channels=192)
    names = ["relu0", "sum", "large"]
    process, after = psutil.Process(), list[int]()

    def shown() -> Iterator[NDArray[np.uint8]]:
        for number, picture in enumerate(pictures(4) * 50):
            if number in (40, 199):
                after.append(process.memory_info().rss)
            yield picture

    found = observed(model, names, shown())
    assert found["large"].count == 200 * 192 * SIZE_PX * SIZE_PX
    assert after[1] - after[0] < 30 * 2**20


@pytest.mark.filterwarnings("error")
def test_nan_in_the_model_names_the_tensor_and_the_picture() -> None:
    with pytest.raises(BackendError, match=r"picture 1: tensor 'large' of the model holds NaN"):
        observed(convolving_onnx(spoil=True), ["relu0", "large"], pictures(2))


def test_infinity_in_the_model_names_the_tensor_it_comes_from() -> None:
    with pytest.raises(BackendError, match="'relu0' of the model holds NaN or infinity"):
        observed(convolving_onnx(gain=3e38), ["normalised", "relu0", "large"], pictures(1))


def test_progress_is_told_where_the_number_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sad_runtime.cli.progress.time.monotonic", iter(range(0, 10_000, 20)).__next__)
        observed(convolving_onnx(), ["sum"], pictures(3), label="INT8 ranges")
    assert "INT8 ranges: 3/3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros((SIZE_PX, SIZE_PX, 1), np.uint8), r"picture 2: uint8 \(32, 32, 1\)"),
        (np.zeros(SHAPE, np.float32), "picture 2: float32"),
        (np.zeros((1, *SHAPE), np.uint8), "picture 2"),
    ],
)
def test_a_picture_that_does_not_fit_is_refused_by_number(wrong: NDArray[Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        observed(convolving_onnx(), ["sum"], [*pictures(1), wrong])


def test_no_picture_at_all_is_refused() -> None:
    with pytest.raises(DataError, match="no picture"):
        observed(convolving_onnx(), ["sum"], [])


@pytest.mark.parametrize(
    ("tensor", "said"), [("conv9", "no float tensor called conv9"), ("nchw", "nchw"), ("w0", "w0"), ("image", "image")]
)
def test_a_tensor_that_cannot_be_measured_is_refused(tensor: str, said: str) -> None:
    with pytest.raises(BackendError, match=said):
        observed(convolving_onnx(), ["sum", tensor], pictures(1))


def test_a_graph_with_no_conv_has_nothing_for_int8() -> None:
    model = tiny_onnx()
    assert conv_inputs(model) == []
    with pytest.raises(BackendError, match="no Conv"):
        observed(model, conv_inputs(model), [np.zeros((64, 64, 3), np.uint8)])


def test_a_graph_of_another_batch_is_refused() -> None:
    assert picture_shape(convolving_onnx()) == SHAPE
    with pytest.raises(BackendError, match="graph of batch 1"):
        picture_shape(convolving_onnx(batch=4))


@pytest.mark.parametrize("rubbish", [b"", b"rubbish", b"PK\x03\x04 a zip" * 20, convolving_onnx()[:-700]])
def test_what_is_no_model_of_ours_is_refused(rubbish: bytes) -> None:
    with pytest.raises(BackendError, match="INT8 calibration"):
        observed(rubbish, ["sum"], pictures(1))


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_box_without_the_packages_is_told_which_extra_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = convolving_onnx()
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf"needs {package}\. Run: pip install 'sad-inspection\[export\]'"):
        observed(model, ["sum"], pictures(1))
