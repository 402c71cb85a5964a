"""The TensorRT backend as it ships, over a GPU that is none: order, isolation, and what happens when it fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import drivers
from bundles import SIZE_PX, SPEC, THRESHOLD, bad_picture, good_picture, tiny_onnx
from drivers import FULL, LOST, Gpu, StandInRoom, backend_on
from sad_runtime.backends import table
from sad_runtime.backends.base import OUTPUTS, Outputs
from sad_runtime.backends.table import BACKENDS, backend_for, chosen_backend, gpu_backends, installed_backends
from sad_runtime.backends.tensorrt import EngineMissing, TensorRTBackend
from sad_runtime.backends.tensorrt_rtx import CHIPS, TensorRTRTXBackend
from sad_runtime.cameras.base import EndOfStream
from sad_runtime.decide import Thresholds
from sad_runtime.engines.gpu import NO_GPU
from sad_runtime.engines.gpu import Gpu as FoundGpu
from sad_runtime.engines.settings import EngineSettings
from sad_runtime.errors import BackendError, DeviceLost, MissingExtra, UsageError
from sad_runtime.inspector import Inspector
from sad_runtime.manifest import InputSpec
from sad_runtime.station.config import RecipeConfig
from sad_runtime.station.recipes import opened, recipe_from
from sad_runtime.verdict import State
from stations import ScriptedCamera, Stand, journal_rows, station, station_config


def backend(
    gpu: Gpu, room: StandInRoom | None = None, *, model: bytes | None = None, spec: InputSpec = SPEC, **settings: object
) -> TensorRTBackend:
    return backend_on(gpu, room)(model or tiny_onnx(), spec, engines=EngineSettings.model_validate(settings))


def pictures(count: int) -> NDArray[np.uint8]:
    return np.stack([bad_picture(seed) if seed % 3 == 1 else good_picture(seed) for seed in range(count)])


def expected(several: NDArray[np.uint8]) -> Outputs:
    with backend_for("onnxruntime", tiny_onnx(), SPEC, threads=1) as reference:
        return reference.infer(several)


def assert_same(found: Outputs, wanted: Outputs) -> None:
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


def wide_onnx(batch: int | str) -> bytes:
    """The tiny graph for several pictures at a time, or for any number."""
    model = onnx.load_from_string(tiny_onnx())
    for item in [*model.graph.input, *model.graph.output]:
        first = item.type.tensor_type.shape.dim[0]
        if isinstance(batch, str):
            first.dim_param = batch
        else:
            first.dim_value = batch
    return bytes(model.SerializeToString())


# What it gives


@pytest.mark.parametrize("zero_copy", [False, True])
@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("in_flight", [1, 2, 3, 8])
def test_several_pictures_come_back_in_order_as_the_reference_has_them(
    zero_copy: bool, graphs: bool, in_flight: int
) -> None:
    several = pictures(7)
    with backend(Gpu(zero_copy=zero_copy), graphs=graphs, in_flight=in_flight) as engine:
        assert_same(engine.infer(several), expected(several))
        assert_same(engine.infer(several[::-1]), expected(several[::-1]))
        assert_same(engine.infer(several[2:3]), expected(several[2:3]))


def test_outputs_belong_to_the_caller_and_outlive_the_backend() -> None:
    first, second = pictures(2)[:1], pictures(2)[1:]
    with backend(Gpu()) as engine:
        kept = engine.infer(first)
        engine.infer(second)
    assert_same(kept, expected(first))


@pytest.mark.parametrize("batch", [3, "N"])
def test_a_graph_for_several_pictures_gets_them_together(batch: int | str) -> None:
    gpu, several = Gpu(), pictures(6)
    with backend(gpu, model=wide_onnx(batch)) as engine:
        gpu.told.clear()
        found = engine.infer(several)
        for one, other in zip(found, expected(several), strict=True):
            assert np.allclose(one, other, atol=1e-5)  # sums over several pictures are taken in another order
        assert len(gpu.of("launch")) == (2 if batch == 3 else 6)
        if batch == 3:
            with pytest.raises(BackendError, match="4 pictures given, this engine takes 3 at a time"):
                engine.infer(several[:4])


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_the_engines_on_the_cpu_take_several_pictures_too(engine: str) -> None:
    several = pictures(3)
    with backend_for(engine, tiny_onnx(), SPEC) as on_cpu:
        found = on_cpu.infer(several)
        for one, other in zip(found, expected(several), strict=True):
            assert np.allclose(one, other, atol=1e-5)
        with pytest.raises(BackendError, match="0 pictures"):
            on_cpu.infer(several[:0])


def test_no_pictures_are_refused() -> None:
    with backend(Gpu()) as engine, pytest.raises(BackendError, match="0 pictures given"):
        engine.infer(pictures(1)[:0])


# How it works


def test_several_inferences_are_under_way_at_once_and_never_more_than_asked_for() -> None:
    gpu = Gpu()
    with backend(gpu, in_flight=3, graphs=False) as engine:
        engine.infer(pictures(3))
        gpu.told.clear()
        engine.infer(pictures(5))
    calls = [call.split()[0] for call in gpu.told if call.split()[0] in ("execute", "synchronise")]
    assert calls == ["execute"] * 3 + ["synchronise", "execute"] * 2 + ["synchronise"] * 3
    assert gpu.of("execute") == [1, 2, 3, 1, 2]
    assert gpu.of("synchronise") == [1, 2, 3, 1, 2]


def test_each_slot_has_its_own_stream_for_copies_and_execution() -> None:
    gpu = Gpu()
    with backend(gpu, in_flight=2, graphs=False) as engine:
        engine.infer(pictures(2))
        gpu.told.clear()
        engine.infer(pictures(2))
    steps = ["to_device", "to_device", "execute", "to_host", "to_host", "to_host"]
    assert gpu.told[:12] == [f"{step} {stream}" for stream in (1, 2) for step in steps]


def test_one_picture_at_a_time_takes_one_slot_only() -> None:
    gpu = Gpu()
    with backend(gpu, in_flight=8) as engine:
        for _ in range(5):
            engine.infer(pictures(1))
        assert gpu.told.count("create_execution_context") == 1
        engine.infer(pictures(3))
        assert gpu.told.count("create_execution_context") == 3


def test_a_graph_is_captured_after_a_first_plain_run_and_then_launched_alone() -> None:
    gpu = Gpu()
    with backend(gpu) as engine:
        assert gpu.told.index("execute 1") < gpu.told.index("synchronise 1") < gpu.told.index("captured 1")
        gpu.told.clear()
        engine.infer(pictures(1))
        assert gpu.told == ["launch 1", "synchronise 1"]


def test_without_graphs_nothing_is_captured() -> None:
    gpu = Gpu()
    with backend(gpu, graphs=False) as engine:
        engine.infer(pictures(1))
    assert not gpu.of("captured")
    assert not gpu.of("launch")


def test_a_capture_that_is_refused_is_told_and_inference_goes_on_without(caplog: pytest.LogCaptureFixture) -> None:
    gpu = Gpu()
    gpu.fail("captured", 1, BackendError("cuda: capturing a graph failed (operation not permitted)"))
    with backend(gpu) as engine:
        for _ in range(3):
            assert_same(engine.infer(pictures(1)), expected(pictures(1)))
    assert not gpu.of("launch")
    assert [record.message.count("no CUDA graph") for record in caplog.records].count(1) == 1


def test_an_engine_that_fails_while_it_is_captured_runs_without_a_graph() -> None:
    gpu = Gpu()
    gpu.fail("execute", 2, None)
    with backend(gpu) as engine:
        assert_same(engine.infer(pictures(1)), expected(pictures(1)))
    assert not gpu.of("launch")


def test_an_engine_that_says_it_cannot_be_captured_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers.IExecutionContext, "is_stream_capturable", lambda self, stream: False, raising=False)
    gpu = Gpu()
    with backend(gpu) as engine:
        assert_same(engine.infer(pictures(1)), expected(pictures(1)))
    assert not gpu.of("captured")


def test_on_a_gpu_that_shares_the_cpus_memory_nothing_is_copied() -> None:
    gpu = Gpu(zero_copy=True)
    with backend(gpu, graphs=False) as engine:
        assert_same(engine.infer(pictures(4)), expected(pictures(4)))
    assert not gpu.of("to_device")
    assert not gpu.of("to_host")
    assert "device_buffer" not in gpu.told


@pytest.mark.parametrize("zero_copy", [False, True])
@pytest.mark.parametrize("graphs", [False, True])
def test_an_inference_that_did_not_take_place_never_passes_for_the_one_before(zero_copy: bool, graphs: bool) -> None:
    gpu = Gpu(zero_copy=zero_copy)
    with Inspector(backend(gpu, graphs=graphs), Thresholds(THRESHOLD, THRESHOLD, 0.5)) as inspector:
        assert inspector.inspect(good_picture()).verdict.value == "PASS"
        gpu.idle = True
        with pytest.raises(BackendError, match="not a finite number"):
            inspector.inspect(bad_picture())


@pytest.mark.parametrize("zero_copy", [False, True])
def test_closing_frees_everything_contexts_first_and_memory_last(zero_copy: bool) -> None:
    gpu = Gpu(zero_copy=zero_copy)
    engine = backend(gpu, in_flight=3)
    with engine:
        engine.infer(pictures(3))
        assert not gpu.empty
    assert gpu.empty
    gone = [call for call in gpu.told if call.endswith(("gone", "closed"))]
    assert gone == ["context gone"] * 3 + ["engine gone", "runtime gone", "memory closed"]
    engine.close()
    with engine:
        assert_same(engine.infer(pictures(1)), expected(pictures(1)))
    assert gpu.empty


def test_use_before_open_and_after_close_is_an_error() -> None:
    engine = backend(Gpu())
    with pytest.raises(BackendError, match="tensorrt: not open"):
        engine.infer(pictures(1))
    with engine:
        engine.warm_up()
    with pytest.raises(BackendError, match="not open"):
        engine.warm_up()


# What it refuses


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((1, SIZE_PX, SIZE_PX, 1), np.uint8),
        np.zeros((1, SIZE_PX, SIZE_PX + 1, 3), np.uint8),
        np.zeros((SIZE_PX, SIZE_PX, 3), np.uint8),
        np.zeros((1, SIZE_PX, SIZE_PX, 3), np.float32),
    ],
)
def test_pictures_that_do_not_fit_are_refused_before_they_touch_a_buffer(wrong: NDArray[np.uint8]) -> None:
    gpu = Gpu()
    with backend(gpu) as engine:
        gpu.told.clear()
        with pytest.raises(BackendError, match="expected uint8"):
            engine.infer(wrong)
        assert gpu.told == []


def renamed(old: str, new: str) -> bytes:
    return tiny_onnx().replace(old.encode(), new.encode())


@pytest.mark.parametrize(
    ("model", "spec", "said"),
    [
        (renamed("score", "scote"), SPEC, "no output score"),
        (renamed("image", "imago"), SPEC, "takes imago, not image"),
        (tiny_onnx(), InputSpec(height=SIZE_PX, width=SIZE_PX * 2, channels=3), "the manifest says"),
    ],
)
def test_an_engine_that_is_not_ours_is_refused_and_everything_freed(model: bytes, spec: InputSpec, said: str) -> None:
    gpu = Gpu()
    engine = backend(gpu, model=model, spec=spec)
    with pytest.raises(BackendError, match=said):
        engine.open()
    assert gpu.empty
    with pytest.raises(BackendError, match="not open"):
        engine.infer(pictures(1))


def test_an_engine_with_other_number_types_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(drivers.DTYPES, "tensor(uint8)", drivers.DataType.INT64)
    with pytest.raises(BackendError, match=r"image is DataType\.INT64, not DataType\.UINT8"):
        backend(Gpu()).open()


@pytest.mark.parametrize("option", ["x", "-1", "1.5", "²"])
def test_an_option_that_is_no_number_of_a_gpu_is_wrong_usage(option: str) -> None:
    with pytest.raises(UsageError, match="expected the number of a GPU"):
        backend_on(Gpu())(tiny_onnx(), SPEC, option=option).open()


def test_the_option_wins_over_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[EngineSettings] = []

    def note(self: TensorRTBackend, settings: EngineSettings) -> None:
        asked.append(settings)
        raise ZeroDivisionError

    monkeypatch.setattr(drivers.StandInBackend, "_driver", note)
    for option in ("", "3"):
        with pytest.raises(ZeroDivisionError):
            backend_on(Gpu())(tiny_onnx(), SPEC, option=option, engines=EngineSettings(device=1, in_flight=4)).open()
    assert [(settings.device, settings.in_flight) for settings in asked] == [(1, 4), (3, 4)]


# What goes wrong


def test_an_engine_that_is_refused_is_forgotten_and_built_again_once() -> None:
    room = StandInRoom(spoilt=1)
    with backend(Gpu(), room) as engine:
        assert_same(engine.infer(pictures(1)), expected(pictures(1)))
    assert (room.built, room.forgotten) == (2, 1)


def test_an_engine_that_is_refused_again_is_an_error_with_tensorrts_words() -> None:
    gpu, room = Gpu(), StandInRoom(spoilt=2)
    with pytest.raises(BackendError, match=r"magicTag does not match.*built anew is refused too"):
        backend(gpu, room).open()
    assert (room.built, room.forgotten) == (2, 1)
    assert gpu.empty


@pytest.mark.parametrize("spoilt", [0, 1])
def test_a_lost_device_is_not_taken_for_an_engine_that_is_refused(spoilt: int) -> None:
    gpu, room = Gpu(), StandInRoom(spoilt=spoilt)
    gpu.fail("deserialize", 1 + spoilt, None)
    gpu.fail("stream", 1 + spoilt, LOST)
    with pytest.raises(DeviceLost, match="illegal memory access"):
        backend(gpu, room).open()
    assert (room.built, room.forgotten) == (1 + spoilt, spoilt), "a good engine is thrown away"
    assert gpu.empty


def test_where_it_may_not_build_an_engine_that_is_not_there_is_missing() -> None:
    room = StandInRoom()
    room.empty = True
    engine = backend(Gpu(), room)
    engine.may_build = False
    with pytest.raises(EngineMissing, match="is not built"):
        engine.open()
    assert room.built == 0


def test_where_it_may_not_build_an_engine_that_is_refused_is_forgotten_and_missing() -> None:
    gpu, room = Gpu(), StandInRoom(spoilt=1)
    engine = backend(gpu, room)
    engine.may_build = False
    with pytest.raises(EngineMissing, match="magicTag does not match"):
        engine.open()
    assert (room.built, room.forgotten) == (1, 1)
    assert gpu.empty
    with engine:
        assert_same(engine.infer(pictures(1)), expected(pictures(1)))


def test_a_station_never_builds_in_its_loop(tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = StandInRoom()
    room.empty = True
    monkeypatch.setitem(BACKENDS, "tensorrt", backend_on(Gpu(), room))
    recipe = recipe_from(
        0, RecipeConfig(bundle=str(tiny_bundle)), station_config(backend="tensorrt"), tmp_path / "none"
    )
    with pytest.raises(EngineMissing), opened(recipe):
        pass
    assert room.built == 0


def test_an_engine_for_which_memory_does_not_suffice_is_not_built_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: drivers.Runtime, engine: bytes) -> None:
        self._logger.log(drivers.ILogger.ERROR, "Error Code 2: OutOfMemory (Requested size was 1000 bytes.)")

    monkeypatch.setattr(drivers.Runtime, "deserialize_cuda_engine", full)
    room = StandInRoom()
    with pytest.raises(BackendError, match="memory is full"):
        backend(Gpu(), room).open()
    assert (room.built, room.forgotten) == (1, 0)


def test_no_execution_context_for_want_of_memory_says_how_to_mend_it() -> None:
    gpu = Gpu()
    gpu.fail("create_execution_context", 1, None)
    with pytest.raises(BackendError, match=r"OutOfMemory.*set engines.in_flight to 1"):
        backend(gpu).open()
    assert gpu.empty


@pytest.mark.parametrize("call", range(1, 6))
@pytest.mark.parametrize("verb", ["device_buffer", "host_buffer", "stream"])
def test_whatever_memory_runs_out_at_the_start_is_an_error_and_everything_freed(verb: str, call: int) -> None:
    gpu = Gpu()
    gpu.fail(verb, call, FULL)
    engine = backend(gpu, in_flight=5)
    with pytest.raises(BackendError, match="out of memory"), engine:
        engine.infer(pictures(5))
    assert gpu.empty


def test_an_inference_that_fails_is_an_error_and_the_next_one_is_right() -> None:
    gpu = Gpu()
    with backend(gpu, graphs=False, in_flight=2) as engine:
        engine.infer(pictures(2))
        gpu.fail("execute", 3, None)
        with pytest.raises(BackendError, match=r"tensorrt: inference failed: .*Cask"):
            engine.infer(pictures(5))
        assert not any(gpu.queues.values()), "work is still queued on buffers that the next inference uses"
        assert_same(engine.infer(pictures(5)), expected(pictures(5)))


LAST = {"to_device": 9, "execute": 4, "to_host": 14, "synchronise": 5, "launch": 5}


@pytest.mark.parametrize("verb", LAST)
@pytest.mark.parametrize("late", [False, True])
def test_a_sticky_error_anywhere_is_a_lost_device_now_and_ever_after(verb: str, late: bool) -> None:
    gpu = Gpu()
    engine = backend(gpu, graphs=verb == "launch", in_flight=2)
    with engine:
        engine.infer(pictures(2))
        gpu.fail(verb, LAST[verb] if late else 1, LOST)
        with pytest.raises(DeviceLost, match="illegal memory access"):
            engine.infer(pictures(5))
        with pytest.raises(DeviceLost):
            engine.infer(pictures(1))
    engine.close()


def test_an_error_of_tensorrt_that_is_really_a_lost_device_is_told_as_such() -> None:
    gpu = Gpu()
    with backend(gpu, graphs=False) as engine:
        gpu.fail("execute", 1, None)
        gpu.fail("synchronise", 1, LOST)
        with pytest.raises(DeviceLost):
            engine.infer(pictures(1))


def test_a_lost_device_ends_the_station_with_the_part_invalid_and_in_the_journal(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Gpu()
    monkeypatch.setitem(BACKENDS, "tensorrt", backend_on(gpu))
    camera = ScriptedCamera(endless=False)
    camera.put(good_picture(), bad_picture())
    seen: list[Stand] = []

    def lose_the_device() -> None:
        with station(tmp_path, tiny_bundle, camera, backend="tensorrt") as stand:
            seen.append(stand)
            stand.station.feed.linger_ms = 2000
            stand.decided(2)
            gpu.fail("synchronise", 1, LOST)
            camera.put(good_picture(), good_picture(), EndOfStream())
            stand.ended()
            assert stand.told("device_lost").level == "error"

    with pytest.raises(DeviceLost, match="illegal memory access"):
        lose_the_device()
    (stand,) = seen
    verdicts = ["PASS ok", "FAIL score", "INVALID inference_error"]
    assert stand.verdicts == verdicts
    assert [f"{row[1]} {row[2]}" for row in journal_rows(tmp_path / "state/line1")] == verdicts
    assert stand.station.standing.state is State.ERROR
    assert gpu.empty


# The table


@pytest.fixture
def a_box(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretends which packages and which GPU are there."""

    def box(installed: str, chip: str | None, memories: tuple[str, ...] = ("pycuda",)) -> None:
        found = FoundGpu(f"GPU {chip}", chip, 13000, integrated=False) if chip else NO_GPU
        monkeypatch.setattr(table, "tensorrt_installed", lambda kind: kind in installed.split())
        monkeypatch.setattr(table, "installed_memories", lambda: list(memories))
        monkeypatch.setattr(table, "gpu_found", lambda: found)

    return box


@pytest.mark.parametrize(
    ("installed", "chip", "chosen", "why"),
    [
        ("tensorrt tensorrt_rtx", "8.7", "tensorrt", "tensorrt is installed, for GPU 8.7"),
        ("tensorrt", "9.0", "tensorrt", "tensorrt is installed"),
        ("tensorrt_rtx", "8.9", "tensorrt_rtx", "tensorrt_rtx is installed, for GPU 8.9"),
        ("tensorrt_rtx", "9.0", "openvino", "tensorrt_rtx is not made for GPU 9.0 (9.0); OpenVINO is installed"),
        ("tensorrt tensorrt_rtx", None, "openvino", "there is no NVIDIA GPU here; OpenVINO is installed"),
        ("", "8.9", "openvino", "no TensorRT is installed; OpenVINO is installed"),
    ],
)
def test_auto_takes_the_gpu_where_it_can_and_says_why(
    a_box: Callable[..., None], installed: str, chip: str | None, chosen: str, why: str
) -> None:
    a_box(installed, chip)
    name, said = chosen_backend("auto")
    assert name == chosen
    assert why in said
    assert installed_backends()[0] == chosen
    assert installed_backends()[-2:] == ["openvino", "onnxruntime"]


def test_auto_needs_a_package_for_cuda_memory(a_box: Callable[..., None]) -> None:
    a_box("tensorrt", "8.9", ())
    assert chosen_backend("auto") == (
        "openvino",
        "tensorrt is installed, but neither pycuda nor cuda-bindings; OpenVINO is installed",
    )


def test_auto_never_fails_for_a_driver_that_does_not_answer(
    a_box: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    a_box("tensorrt", "8.9")

    def silent() -> FoundGpu:
        raise BackendError("the CUDA driver does not say what GPU this is")

    monkeypatch.setattr(table, "gpu_found", silent)
    name, why = chosen_backend("auto")
    assert name == "openvino"
    assert "cannot be asked" in why


def test_without_tensorrt_no_gpu_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "tensorrt_installed", lambda kind: False)
    monkeypatch.setattr(table, "gpu_found", lambda: pytest.fail("looked for a GPU"))
    assert gpu_backends() == ([], "no TensorRT is installed")


def test_a_missing_package_names_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sad-inspection\[tensorrt\]'"):
        backend_for("tensorrt", tiny_onnx(), SPEC).open()


def test_the_chips_of_tensorrt_rtx_are_those_of_the_package() -> None:
    names = set(pytest.importorskip("tensorrt_rtx").ComputeCapability.__members__) - {"NONE", "CURRENT"}
    assert names == {f"SM{chip.replace('.', '')}" for chip in CHIPS}
    assert TensorRTRTXBackend.runs_on("8.9")
    assert not TensorRTRTXBackend.runs_on("9.0")


def test_the_stand_in_has_no_name_that_tensorrt_has_not() -> None:
    real = pytest.importorskip("tensorrt_rtx")
    for stand_in in (drivers.Runtime, drivers.ICudaEngine, drivers.IExecutionContext, drivers.ILogger):
        names = {name for name in dir(stand_in) if not name.startswith("_")}
        assert names <= set(dir(getattr(real, stand_in.__name__))), stand_in.__name__
    assert {mode.name for mode in drivers.TensorIOMode} <= set(real.TensorIOMode.__members__)
    assert {kind.name for kind in drivers.DataType} <= set(real.DataType.__members__)
    assert OUTPUTS == ("heatmap", "score", "embedding")
