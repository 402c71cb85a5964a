"""OpenVINO's options: the same scores in the same order whatever is asked for, and bf16 never in disguise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bundles import SPEC, bad_picture, good_picture, tiny_onnx
from sad_runtime.backends.base import Outputs
from sad_runtime.backends.engines import openvino_alone
from sad_runtime.backends.openvino import OpenVINOBackend, openvino_settings
from sad_runtime.backends.table import backend_for, bound_name
from sad_runtime.errors import BackendError, UsageError
from sad_runtime.station.config import RecipeConfig, StationConfig
from sad_runtime.station.recipes import recipe_from

MODES = ["", "latency", "throughput", "f32", "pin", "nopin", "throughput,pin", "latency,f32,nopin"]
CHANNELS = 64


def named(option: str) -> str:
    return f"openvino:{option}" if option else "openvino"


def pictures(count: int) -> NDArray[np.uint8]:
    """No two alike: each has its own peak."""
    found = np.stack([good_picture(seed) for seed in range(count)])
    found[:, 5, 7] = (np.arange(count)[:, np.newaxis] * 2 + 160).astype(np.uint8)
    return found


def one_by_one(backend: str, given: NDArray[np.uint8]) -> Outputs:
    with backend_for(backend, tiny_onnx(), SPEC) as opened:
        return Outputs(*(np.concatenate(parts) for parts in zip(*(opened.infer(p[None]) for p in given), strict=True)))


def conv_onnx() -> bytes:
    """Two wide convolutions, for arithmetic that bf16 rounds: score = peak of a mean over channels."""
    rng = np.random.default_rng(0)
    weights = [
        rng.normal(0, 0.1, shape).astype(np.float32) for shape in ((CHANNELS, 3, 3, 3), (CHANNELS, CHANNELS, 3, 3))
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["x"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["nchw", "w0"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["c", "axis1"], ["heatmap"], keepdims=0),
        helper.make_node("ReduceMax", ["heatmap", "axes12"], ["score"], keepdims=0),
        helper.make_node("ReduceMean", ["b", "axes23"], ["embedding"], keepdims=0),
    ]
    constants = {"w0": weights[0], "w1": weights[1]}
    axes = {"axis1": [1], "axes12": [1, 2], "axes23": [2, 3]}
    model = onnx.load_from_string(tiny_onnx())
    model.graph.output[2].CopyFrom(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, CHANNELS]))
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    model.graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), name) for name, v in axes.items())
    return bytes(model.SerializeToString())


def has_bf16() -> bool:
    return "BF16" in openvino_alone().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.parametrize("option", MODES)
@pytest.mark.parametrize("threads", [0, 1])
def test_every_mode_gives_the_scores_of_the_reference_in_the_order_of_the_pictures(option: str, threads: int) -> None:
    given = pictures(7)
    expected = one_by_one("onnxruntime", given)
    assert len(set(expected.score.tolist())) == 7
    with backend_for(named(option), tiny_onnx(), SPEC, threads=threads) as backend:
        found = backend.infer(given)
        again = backend.infer(given[::-1])
    for one, other, turned in zip(expected, found, again, strict=True):
        assert one.shape == other.shape
        assert np.allclose(one, other, atol=1e-5)  # float32 sums
        assert np.array_equal(turned[::-1], other)


def test_throughput_keeps_several_pictures_in_flight() -> None:
    with OpenVINOBackend(tiny_onnx(), SPEC, option="throughput", threads=2) as backend:
        assert isinstance(backend, OpenVINOBackend)
        assert len(backend._requests) >= 2
        many = backend.infer(pictures(40))
    assert np.array_equal(many.score, one_by_one("openvino", pictures(40)).score)


@pytest.mark.parametrize("option", ["latency", "throughput"])
def test_no_picture_at_all_is_refused(option: str) -> None:
    with backend_for(named(option), tiny_onnx(), SPEC) as backend, pytest.raises(BackendError, match="0 pictures"):
        backend.infer(pictures(1)[:0])


def test_a_graph_of_several_pictures_takes_that_many_at_a_time() -> None:
    model = onnx.load_from_string(tiny_onnx())
    for item in [*model.graph.input, *model.graph.output]:
        item.type.tensor_type.shape.dim[0].dim_value = 2
    with backend_for("openvino:throughput", bytes(model.SerializeToString()), SPEC) as backend:
        found = backend.infer(pictures(6))
        with pytest.raises(BackendError, match="5 pictures given, this graph takes 2 at a time"):
            backend.infer(pictures(5))
    assert np.array_equal(found.score, one_by_one("openvino", pictures(6)).score)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("gpu", "no option 'gpu'; there are latency, throughput, f32, bf16, pin, nopin"),
        ("latency,", "no option ''"),
        ("LATENCY", "no option 'LATENCY'"),
        ("latency, pin", "no option ' pin'"),
        ("latency,throughput", "latency or throughput, and only once"),
        ("bf16,f32", "f32 or bf16, and only once"),
        ("pin,pin", "pin or nopin, and only once"),
    ],
)
def test_what_is_no_option_is_refused_before_anything_is_opened(option: str, said: str, tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match=said):
        OpenVINOBackend(b"never read", SPEC, option=option).open()
    config = StationConfig(backend=f"openvino:{option}")
    with pytest.raises(UsageError, match=said):
        recipe_from(0, RecipeConfig(bundle=str(tiny_bundle)), config, tiny_bundle.parent / "none")


def test_nothing_after_the_name_is_latency_in_f32() -> None:
    assert openvino_settings("") == {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    assert openvino_settings("nopin")["ENABLE_CPU_PINNING"] is False


# bf16: only as asked for, and never under the thresholds of f32


def test_bf16_is_near_f32_and_f32_is_the_reference() -> None:
    if not has_bf16():
        pytest.skip("this CPU does not compute in bf16")
    given = bad_picture()[np.newaxis]
    scores = {}
    for engine in ("onnxruntime", "openvino", "openvino:bf16", "openvino:bf16,throughput"):
        with backend_for(engine, conv_onnx(), SPEC) as backend:
            scores[engine] = float(backend.infer(given).score[0])
    size = abs(scores["onnxruntime"])
    assert scores["openvino"] == pytest.approx(scores["onnxruntime"], abs=1e-5 * size)
    off = abs(scores["openvino:bf16"] - scores["openvino"])
    assert 1e-5 * size < off < 0.02 * size  # 8 bits of mantissa: 0.4 % a rounding
    assert scores["openvino:bf16,throughput"] == pytest.approx(scores["openvino:bf16"], abs=0.02 * size)


def test_bf16_on_a_cpu_without_it_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    core = openvino_alone().Core

    class Plain(core):  # type: ignore[misc, valid-type]
        def get_property(self, device: str, name: str) -> Any:
            return ["FP32", "INT8"] if name == "OPTIMIZATION_CAPABILITIES" else super().get_property(device, name)

    monkeypatch.setattr(openvino_alone(), "Core", Plain)
    with pytest.raises(UsageError, match="this CPU does not compute in bf16"):
        backend_for("openvino:bf16", tiny_onnx(), SPEC).open()
    with backend_for("openvino:f32", tiny_onnx(), SPEC) as backend:
        backend.warm_up()


@pytest.mark.parametrize(
    ("backend", "bound"),
    [
        ("openvino", "openvino"),
        ("openvino:throughput,nopin", "openvino"),
        ("openvino:f32", "openvino"),
        ("openvino:bf16", "openvino:bf16"),
        ("openvino:throughput,bf16", "openvino:bf16"),
        ("onnxruntime", "onnxruntime"),
        ("constant:3.5", "constant"),
    ],
)
def test_thresholds_are_bound_to_the_engine_with_what_changes_its_scores(backend: str, bound: str) -> None:
    assert bound_name(backend) == bound
