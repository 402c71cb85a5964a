"""An engine is built by what the TensorRT at hand can do. Built here with the real TensorRT-RTX, which needs no GPU."""

from __future__ import annotations

from typing import Any

import onnx
import pytest

from bundles import tiny_onnx
from old_tensorrt import HALF, SINGLE, OldTensorRT
from sad_runtime.engines.build import engine_from_onnx
from sad_runtime.engines.settings import EngineSettings
from sad_runtime.errors import BackendError

PLAIN = EngineSettings()


@pytest.fixture
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx")


def changed(index: int, **fields: Any) -> bytes:
    """The tiny graph with node `index` another one."""
    model = onnx.load_from_string(tiny_onnx())
    for name, value in fields.items():
        setattr(model.graph.node[index], name, value)
    return bytes(model.SerializeToString())


def test_an_engine_is_built_and_its_progress_told(rtx: Any) -> None:
    told: list[tuple[float, str]] = []
    built = engine_from_onnx(
        rtx, "tensorrt_rtx", tiny_onnx(), PLAIN, watch=lambda share, phase: told.append((share, phase))
    )
    assert len(built.engine) > 10_000
    assert built.timing == b""
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert told[-1][1] == "Building engine"


@pytest.mark.parametrize(("op", "said"), [("Det", "Det"), ("Nonsense", "Plugin not found")])
def test_an_op_that_is_not_taken_is_named_with_its_layer(rtx: Any, op: str, said: str) -> None:
    model = changed(4, op_type=op, name="head/abs")
    with pytest.raises(BackendError, match=rf"layer 'head/abs' \(number 4\) \(op {op}\) is not taken") as caught:
        engine_from_onnx(rtx, "tensorrt_rtx", model, PLAIN)
    assert said in str(caught.value)


@pytest.mark.parametrize("size", [3, 100, 300])
def test_a_file_that_is_no_model_is_refused(rtx: Any, size: int) -> None:
    with pytest.raises(BackendError, match=r"cannot be read: .*Failed to parse the ONNX model"):
        engine_from_onnx(rtx, "tensorrt_rtx", tiny_onnx()[:size], PLAIN)


def without_output() -> bytes:
    model = onnx.load_from_string(tiny_onnx())
    del model.graph.output[1:]
    return bytes(model.SerializeToString())


def renamed_input() -> bytes:
    model = onnx.load_from_string(tiny_onnx())
    model.graph.input[0].name = model.graph.node[0].input[0] = "pixels"
    return bytes(model.SerializeToString())


def open_batch() -> bytes:
    model = onnx.load_from_string(tiny_onnx())
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (b"", "has no output heatmap, score, embedding"),
        (without_output(), "has no output score, embedding"),
        (renamed_input(), "takes pixels, not image"),
        (open_batch(), r"shape \(-1, 64, 64, 3\), expected a fixed"),
    ],
)
def test_a_graph_that_is_not_ours_is_refused(rtx: Any, model: bytes, why: str) -> None:
    with pytest.raises(BackendError, match=why):
        engine_from_onnx(rtx, "tensorrt_rtx", model, PLAIN)


@pytest.mark.parametrize(
    ("layers", "flags"),
    [
        ([("CONVOLUTION", SINGLE)], []),
        ([("CONVOLUTION", SINGLE), ("CONVOLUTION", HALF)], ["FP16"]),
        ([("QUANTIZE", "int8"), ("CONVOLUTION", SINGLE)], ["INT8"]),
        ([("DEQUANTIZE", HALF), ("CONVOLUTION", HALF)], ["FP16", "INT8"]),
    ],
)
def test_without_typed_networks_the_flags_say_what_the_file_holds(
    layers: list[tuple[str, str]], flags: list[str]
) -> None:
    old = OldTensorRT(layers)
    engine_from_onnx(old, "tensorrt", b"onnx", PLAIN)
    assert (old.network_flags, old.config.flags) == (0b1, flags)


def test_a_typed_network_keeps_the_types_of_the_file_and_takes_no_flags() -> None:
    ten = OldTensorRT([("QUANTIZE", HALF)], typed=True)
    engine_from_onnx(ten, "tensorrt", b"onnx", PLAIN)
    assert (ten.network_flags, ten.config.flags) == (0b11, [])


def test_settings_reach_the_builder() -> None:
    old = OldTensorRT()
    engine_from_onnx(old, "tensorrt", b"onnx", EngineSettings(workspace_mb=512, optimisation_level=5))
    assert old.config.pools == {"WORKSPACE": 512 * 2**20}
    assert old.config.builder_optimization_level == 5


def test_the_dla_is_told_the_old_way_and_falls_back_to_the_gpu() -> None:
    ten = OldTensorRT([("CONVOLUTION", HALF)], typed=True, dla_cores=2)
    engine_from_onnx(ten, "tensorrt", b"onnx", EngineSettings(dla_core=1))
    assert (ten.network_flags, ten.config.flags) == (0b1, ["FP16", "GPU_FALLBACK"])
    assert (ten.config.default_device_type, ten.config.DLA_core) == ("DLA", 1)


def test_a_dla_that_is_not_there_or_cannot_do_fp32_is_refused() -> None:
    with pytest.raises(BackendError, match=r"dla_core 1: TensorRT 8\.6\.1 finds 1 DLA cores"):
        engine_from_onnx(OldTensorRT([("X", HALF)], dla_cores=1), "tensorrt", b"onnx", EngineSettings(dla_core=1))
    with pytest.raises(BackendError, match="FP16 and INT8 only, and this is an fp32 file"):
        engine_from_onnx(OldTensorRT(dla_cores=1), "tensorrt", b"onnx", EngineSettings(dla_core=0))


def test_a_calibration_table_makes_int8_of_an_fp32_file() -> None:
    ten = OldTensorRT(typed=True)
    engine_from_onnx(ten, "tensorrt", b"onnx", PLAIN, int8_table=b"the table")
    calibrator = ten.config.int8_calibrator
    assert (ten.network_flags, ten.config.flags) == (0b1, ["INT8"])
    assert (calibrator.read_calibration_cache(), calibrator.get_batch(["image"])) == (b"the table", None)


def test_a_calibration_table_is_refused_where_tensorrt_takes_none(rtx: Any) -> None:
    with pytest.raises(BackendError, match=r"int8_table: TensorRT 1\.\S+ takes no calibration tables"):
        engine_from_onnx(rtx, "tensorrt_rtx", tiny_onnx(), PLAIN, int8_table=b"the table")


def test_the_timing_cache_goes_in_and_comes_out_and_one_that_does_not_fit_is_left() -> None:
    old = OldTensorRT()
    assert engine_from_onnx(old, "tensorrt", b"onnx", PLAIN, timing=b"earlier").timing == b"notes of this build"
    assert old.config.timing == [b"earlier"]
    picky = OldTensorRT(takes_timing=False)
    assert engine_from_onnx(picky, "tensorrt", b"onnx", PLAIN, timing=b"foreign").timing == b"notes of this build"
    assert picky.config.timing == [b"foreign", b""]


def test_what_tensorrt_said_is_in_the_error_and_memory_has_its_own_advice() -> None:
    with pytest.raises(BackendError, match="no engine could be built of this model: Error 9: no tactic"):
        engine_from_onnx(OldTensorRT(plan=None, says="Error 9:\n no tactic"), "tensorrt", b"onnx", PLAIN)
    with pytest.raises(BackendError, match=r"memory ran out .*Lower engines\.workspace_mb .*Cuda Runtime \(out of"):
        engine_from_onnx(
            OldTensorRT(plan=None, says="Error 1: Cuda Runtime (out of memory)"), "tensorrt", b"onnx", PLAIN
        )


def test_a_box_without_a_driver_is_told_so() -> None:
    class NoGpu(OldTensorRT):
        def Builder(self, log: Any) -> Any:  # noqa: N802
            log.log(log.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    with pytest.raises(BackendError, match=r"no builder on this box .*error: 35.* Is there a GPU"):
        engine_from_onnx(NoGpu(), "tensorrt", b"onnx", PLAIN)
