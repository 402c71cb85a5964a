"""The engines behind their one seam: same numbers, same refusals, whatever is installed."""

from __future__ import annotations

import importlib.util
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from bundles import SIZE_PX, SPEC, bad_picture, good_picture, tiny_onnx
from sad_calibration.cli import main as calibrate
from sad_runtime.backends.base import OUTPUTS, Backend, Outputs, check_outputs
from sad_runtime.backends.table import BACKENDS, backend_for, check_installed, chosen_backend
from sad_runtime.engines.settings import EngineSettings, for_option
from sad_runtime.errors import BackendError, MissingExtra, UsageError
from sad_runtime.manifest import InputSpec

ENGINES = ["openvino", "onnxruntime"]
ALL = [*ENGINES, "constant"]


def batch(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(picture[np.newaxis])


def renamed(old: str, new: str) -> bytes:
    """The tiny graph with one of its inputs or outputs called something else."""
    model = onnx.load_from_string(tiny_onnx())
    for item in [*model.graph.input, *model.graph.output]:
        if item.name == old:
            item.name = new
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
    return bytes(model.SerializeToString())


def two_inputs() -> bytes:
    model = onnx.load_from_string(tiny_onnx())
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))
    model.graph.node.append(helper.make_node("Identity", ["mask"], ["mask_out"]))
    model.graph.output.append(helper.make_tensor_value_info("mask_out", TensorProto.FLOAT, [1]))
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("seed", range(3))
def test_the_engines_agree(seed: int) -> None:
    found = []
    for engine in ENGINES:
        with backend_for(engine, tiny_onnx(), SPEC) as backend:
            found.append([backend.infer(batch(make(seed))) for make in (good_picture, bad_picture)])
    for one, other in zip(*found, strict=True):
        for left, right in zip(one, other, strict=True):
            assert left.dtype == right.dtype == np.float32
            assert np.allclose(left, right, atol=1e-5)  # float32 sums of three and of 4096 values


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_repeats_itself_bit_for_bit_and_hands_its_arrays_over(engine: str) -> None:
    with backend_for(engine, tiny_onnx(), SPEC, threads=1) as backend:
        first = backend.infer(batch(good_picture(1)))
        kept = [array.copy() for array in first]
        backend.infer(batch(bad_picture(2)))
        again = backend.infer(batch(good_picture(1)))
    for array, before, after in zip(first, kept, again, strict=True):
        assert np.array_equal(array, before)
        assert np.array_equal(array, after)


@pytest.mark.parametrize("engine", ENGINES)
def test_pictures_that_are_views_give_what_their_copies_give(engine: str) -> None:
    view = good_picture(1)[:, ::-1][np.newaxis]
    with backend_for(engine, tiny_onnx(), SPEC) as backend:
        expected = backend.infer(np.ascontiguousarray(view))
        assert np.array_equal(backend.infer(view).heatmap, expected.heatmap)


@pytest.mark.parametrize("engine", ALL)
def test_use_before_open_and_after_close_is_an_error(engine: str) -> None:
    backend = backend_for(engine, tiny_onnx(), SPEC)
    with pytest.raises(BackendError, match=f"{engine}: not open"):
        backend.infer(batch(good_picture()))
    with pytest.raises(BackendError, match="not open"):
        backend.warm_up()
    backend.close()
    with backend:
        backend.warm_up()
    with pytest.raises(BackendError, match="not open"):
        backend.infer(batch(good_picture()))
    backend.close()


@pytest.mark.parametrize("engine", ALL)
def test_a_closed_backend_can_be_opened_again(engine: str) -> None:
    backend = backend_for(engine, tiny_onnx(), SPEC)
    scores = []
    for _ in range(2):
        with backend:
            scores.append(float(backend.infer(batch(good_picture())).score[0]))
    assert scores[0] == scores[1]


@pytest.mark.parametrize("engine", ALL)
@pytest.mark.parametrize(
    "pictures",
    [
        np.zeros((1, SIZE_PX, SIZE_PX, 1), np.uint8),
        np.zeros((1, SIZE_PX, SIZE_PX + 1, 3), np.uint8),
        np.zeros((1, 3, SIZE_PX, SIZE_PX), np.uint8),
        np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8),
        np.zeros((1, SIZE_PX, SIZE_PX, 3), np.float32),
        np.zeros((1, SIZE_PX, SIZE_PX, 3), np.int8),
    ],
)
def test_pictures_that_do_not_fit_are_refused(engine: str, pictures: NDArray[np.uint8]) -> None:
    with backend_for(engine, tiny_onnx(), SPEC) as backend, pytest.raises(BackendError, match="expected uint8"):
        backend.infer(pictures)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", OUTPUTS)
def test_a_graph_without_one_of_our_outputs_is_refused_by_name(engine: str, name: str) -> None:
    backend = backend_for(engine, renamed(name, "logits"), SPEC)
    with pytest.raises(BackendError, match=f"{engine}: the graph has no output {name}; is it ours"):
        backend.open()
    with pytest.raises(BackendError, match="not open"):
        backend.infer(batch(good_picture()))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("model", "named"), [(renamed("image", "input.1"), r"input\.1"), (two_inputs(), "mask")])
def test_a_graph_with_other_inputs_is_refused_by_name(engine: str, model: bytes, named: str) -> None:
    with pytest.raises(BackendError, match=named):
        backend_for(engine, model, SPEC).open()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_graph_of_another_size_than_the_manifest_says_is_refused(engine: str) -> None:
    with pytest.raises(BackendError, match="the manifest says"):
        backend_for(engine, tiny_onnx(), InputSpec(height=SIZE_PX, width=SIZE_PX * 2, channels=3)).open()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "model", [b"", b"garbage", bytes(1000), tiny_onnx()[:200], b"PK\x03\x04" * 50, b"<net name='x'></net>"]
)
def test_bytes_that_are_no_model_are_a_backend_error(engine: str, model: bytes) -> None:
    with pytest.raises(BackendError, match=engine):
        backend_for(engine, model, SPEC).open()


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=40, deadline=None, derandomize=True)  # an engine that dies of damage takes the tests with it
@given(position=st.floats(0, 1, exclude_max=True), value=st.integers(0, 255))
def test_a_damaged_model_is_a_backend_error_or_runs(engine: str, position: float, value: int) -> None:
    model = bytearray(tiny_onnx())
    model[int(position * len(model))] = value
    with suppress(BackendError), backend_for(engine, bytes(model), SPEC) as backend:
        backend.infer(batch(good_picture()))


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_leaves_no_python_thread(engine: str) -> None:
    before = threading.active_count()
    with backend_for(engine, tiny_onnx(), SPEC) as backend:
        backend.warm_up()
    assert threading.active_count() == before


@pytest.mark.parametrize("engine", ENGINES)
def test_a_missing_engine_names_its_install_command(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, engine, None)
    extra = {"openvino": "cpu", "onnxruntime": "export"}[engine]
    with pytest.raises(MissingExtra, match=rf"pip install 'sad-inspection\[{extra}\]'"):
        backend_for(engine, tiny_onnx(), SPEC).open()


# The stand-in


@pytest.mark.parametrize(("name", "score"), [("constant", 0.0), ("constant:3.5", 3.5), ("constant:-1e3", -1000.0)])
def test_the_stand_in_says_the_same_of_every_picture(name: str, score: float) -> None:
    with backend_for(name, b"never read", SPEC) as backend:
        for picture in (good_picture(), bad_picture()):
            found = backend.infer(batch(picture))
            assert check_outputs(found, batch(picture), name) is found
            assert (float(found.score[0]), float(found.heatmap.max())) == (score, score)


def test_the_stand_in_shows_what_a_broken_engine_does() -> None:
    with backend_for("constant:nan", b"", SPEC) as backend:
        assert np.isnan(backend.infer(batch(good_picture())).score[0])


def test_an_option_that_is_no_number_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="expected a number"):
        backend_for("constant:high", b"", SPEC).open()


# The table


def test_auto_picks_an_installed_engine_and_says_why() -> None:
    name, why = chosen_backend("auto")
    assert name == "openvino"
    assert "OpenVINO is installed" in why
    assert backend_for("auto", tiny_onnx(), SPEC).name == name


def test_an_unknown_engine_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="auto, tensorrt, tensorrt_rtx, openvino, onnxruntime, constant"):
        chosen_backend("tensorflow")


def test_an_option_that_the_engine_does_not_take_is_refused() -> None:
    with pytest.raises(UsageError, match="takes nothing after its name"):
        backend_for("onnxruntime:gpu", tiny_onnx(), SPEC).open()


def test_every_row_of_the_table_stands_under_its_own_name() -> None:
    assert all(kind.name == name and issubclass(kind, Backend) for name, kind in BACKENDS.items())


@pytest.mark.parametrize(
    "outputs",
    [
        Outputs(np.zeros((1, 8, 9), np.float32), np.zeros(1, np.float32), np.zeros((1, 4), np.float32)),
        Outputs(np.zeros((1, 1, 8, 8), np.float32), np.zeros(1, np.float32), np.zeros((1, 4), np.float32)),
        Outputs(np.zeros((1, 8, 8), np.float32), np.zeros((1, 1), np.float32), np.zeros((1, 4), np.float32)),
        Outputs(np.zeros((1, 8, 8), np.float32), np.zeros(2, np.float32), np.zeros((1, 4), np.float32)),
        Outputs(np.zeros((1, 8, 8), np.float32), np.zeros(1, np.float32), np.zeros(4, np.float32)),
        Outputs(np.zeros((1, 8, 8), np.float32), np.zeros(1, np.float32), np.zeros((2, 4), np.float32)),
    ],
)
def test_outputs_of_other_shapes_than_the_contract_are_refused(outputs: Outputs) -> None:
    with pytest.raises(BackendError, match="do not belong"):
        check_outputs(outputs, np.zeros((1, 8, 8, 3), np.uint8), "x")


def test_the_tiny_graph_passes_the_onnx_checker(tmp_path: Path) -> None:
    onnx.checker.check_model(onnx.load_from_string(tiny_onnx()), full_check=True)


@pytest.mark.parametrize(
    "name",
    ["tensorrt_rtx:foo", "tensorrt:-1", "tensorrt:64", "tensorrt:" + "9" * 5000, "tensorrt:\u0661", "tensorrt:1.0"],
)
def test_what_is_no_gpu_after_the_colon_is_refused_before_anything_is_opened(name: str) -> None:
    with pytest.raises(UsageError, match="expected the number of a GPU after the colon, 0 to 63") as caught:
        chosen_backend(name)
    assert len(str(caught.value)) < 200


def test_auto_takes_nothing_after_a_colon() -> None:
    for name in ("auto:7", "auto:"):
        with pytest.raises(UsageError, match="auto takes nothing after a colon"):
            chosen_backend(name)


def test_the_number_of_a_gpu_wins_over_the_settings() -> None:
    plain = EngineSettings(device=3, max_mb=7)
    assert for_option("tensorrt", "", plain) == plain
    assert for_option("tensorrt", "12", plain) == EngineSettings(device=12, max_mb=7)
    assert chosen_backend("tensorrt:12")[0] == "tensorrt:12"


def test_a_backend_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_installed("constant")
    with pytest.raises(MissingExtra, match=r"sad-inspection\[tensorrt\]"):
        check_installed("tensorrt:0")


def test_calibrating_keeps_engines_where_the_station_does(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[EngineSettings] = []

    def noted(*given: Any, engines: EngineSettings) -> Backend:
        asked.append(engines)
        return backend_for("onnxruntime", *given[1:], engines=engines)

    monkeypatch.setattr("sad_calibration.cli.backend_for", noted)
    assert calibrate([str(tiny_bundle), "--state", str(tmp_path), "--dry-run"]) == 0
    assert asked == [EngineSettings(folder=str(tmp_path / "engines"))]
