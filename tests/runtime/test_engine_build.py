"""A station whose engine has to be built first: it serves on the CPU meanwhile, says so, and then swaps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bundles import bad_picture, good_picture
from sad_runtime.backends.base import Outputs
from sad_runtime.backends.onnxruntime import ONNXRuntimeBackend
from sad_runtime.backends.openvino import OpenVINOBackend
from sad_runtime.backends.table import BACKENDS
from sad_runtime.engines.gpu import NO_GPU, Gpu
from sad_runtime.engines.job import Progress
from sad_runtime.engines.room import EngineRoom
from sad_runtime.engines.settings import EngineKind, EngineSettings
from sad_runtime.errors import BackendError, CameraError, DeviceLost, SadError, UsageError
from sad_runtime.station import engine_build
from sad_runtime.station.config import RecipeConfig
from sad_runtime.station.engine_build import engine_room
from sad_runtime.station.recipes import moved, recipe_from
from sad_runtime.thresholds import LineThresholds, append_history
from stations import ScriptedCamera, station, station_config, without_golden

pytest.importorskip("openvino")


class Workshop:
    """What the fake room does: waits to be let go, then builds or fails."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.failure: SadError | OSError | None = None
        self.built: set[bytes] = set()
        self.given_up = 0
        self.gpu = Gpu("Orin", "8.7", 12060, integrated=True)
        self.settings: EngineSettings | None = None


class SlowRoom:
    """In the place of EngineRoom: building takes as long as the test wants."""

    workshop: Workshop

    def __init__(self, kind: EngineKind, folder: Path, settings: EngineSettings) -> None:
        self.gpu = self.workshop.gpu
        self.workshop.settings = settings

    def cached(self, model: bytes) -> bytes | None:
        return b"engine" if model in self.workshop.built else None

    def engine(self, model: bytes, tell: Callable[[Progress], None]) -> bytes:
        begin_s = time.monotonic()
        try:
            while not self.workshop.let_go.wait(0.02):
                tell(Progress(time.monotonic() - begin_s, 60.0, 0.5, "tuning"))
        except BaseException:
            self.workshop.given_up += 1
            raise
        if self.workshop.failure is not None:
            raise self.workshop.failure
        self.workshop.built.add(model)
        return b"engine"


class PlayedTensorRT(ONNXRuntimeBackend):
    """Runs the model by ONNX Runtime, under the name of TensorRT."""

    name = "tensorrt_rtx"
    lies = 0.0
    dies = False

    def open(self) -> None:
        if self.dies:
            raise DeviceLost("the GPU has fallen off the bus")
        super().open()

    def infer(self, pictures: NDArray[np.uint8]) -> Outputs:
        found = super().infer(pictures)
        return found._replace(score=found.score + np.float32(self.lies))


@pytest.fixture(autouse=True)
def workshop(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    made = Workshop()
    monkeypatch.setattr(SlowRoom, "workshop", made, raising=False)
    monkeypatch.setattr(engine_build, "EngineRoom", SlowRoom)
    monkeypatch.setattr(engine_build, "TELL_EVERY_S", 0.05)
    monkeypatch.setitem(BACKENDS, "tensorrt_rtx", PlayedTensorRT)
    yield made
    made.let_go.set()


def two_parts(stand: Any, camera: ScriptedCamera) -> None:
    count = len(stand.decisions)
    camera.put(good_picture(), bad_picture())
    stand.decided(count + 2)


def test_the_cpu_serves_degraded_until_the_engine_is_built_and_swapped_in(
    tmp_path: Path, tiny_bundle: Path, workshop: Workshop
) -> None:
    camera = ScriptedCamera()
    with station(tmp_path, tiny_bundle, camera, backend="tensorrt_rtx") as stand:
        stand.state("ContinuousExecution")
        two_parts(stand, camera)
        stand.until(lambda: sum(event.code == "building" for event in stand.events) >= 3, "progress")
        workshop.let_go.set()
        stand.told("engine_loaded")
        stand.state("ContinuousExecution")
        two_parts(stand, camera)
    assert stand.verdicts == ["PASS ok", "FAIL score"] * 2
    assert [decision.backend for decision in stand.decisions] == ["openvino"] * 2 + ["tensorrt_rtx"] * 2
    assert [decision.flags for decision in stand.decisions] == [["degraded"]] * 2 + [[]] * 2
    codes = [event.code for event in stand.events if event.code != "building"]
    assert codes == ["degraded", "ready", "built", "engine_loaded"]
    told = [event.data for event in stand.events if event.code == "building"]
    assert told[0] == {"elapsed_s": 0.0, "estimate_s": None, "share": None}
    assert (told[-1]["estimate_s"], told[-1]["share"]) == (60.0, 0.5)


def test_an_engine_that_is_there_is_used_at_once(tmp_path: Path, tiny_bundle: Path, workshop: Workshop) -> None:
    workshop.let_go.set()
    camera = ScriptedCamera()
    for _ in range(2):
        with station(tmp_path, tiny_bundle, camera, backend="tensorrt_rtx") as stand:
            stand.until(lambda: stand.station.changes.recipe.backend == "tensorrt_rtx", "the engine")
            stand.state("ContinuousExecution")
            two_parts(stand, camera)
    assert [event.code for event in stand.events] == ["ready"]
    assert [decision.flags for decision in stand.decisions] == [[], []]


def test_a_build_that_fails_is_told_once_and_the_line_stays_on_the_cpu_undisturbed(
    tmp_path: Path, tiny_bundle: Path, workshop: Workshop
) -> None:
    workshop.failure = BackendError("tensorrt: layer 'head' (op Det) is not taken")
    camera = ScriptedCamera()
    with station(tmp_path, tiny_bundle, camera, backend="tensorrt_rtx") as stand:
        stand.state("ContinuousExecution")
        two_parts(stand, camera)
        workshop.let_go.set()
        failed = stand.told("build_failed")
        stand.heartbeats.clear()
        two_parts(stand, camera)
        stand.until(lambda: len(stand.heartbeats) >= 3, "heartbeats")
    assert (failed.level, "layer 'head' (op Det)" in failed.text) == ("error", True)
    assert [event.code for event in stand.events].count("build_failed") == 1
    assert {beat.state.value for beat in stand.heartbeats[:-1]} == {"ContinuousExecution"}
    assert [decision.flags for decision in stand.decisions] == [["degraded"]] * 4


def test_a_full_disk_is_a_build_that_failed(tmp_path: Path, tiny_bundle: Path, workshop: Workshop) -> None:
    workshop.failure = OSError(28, "No space left on device")
    workshop.let_go.set()
    with station(tmp_path, tiny_bundle, ScriptedCamera(), backend="tensorrt_rtx") as stand:
        assert "No space left on device. Make room" in stand.told("build_failed").text


def test_an_engine_that_does_not_prove_itself_is_not_used(
    tmp_path: Path, tiny_bundle: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PlayedTensorRT, "lies", 1.0)
    camera = ScriptedCamera()
    with station(tmp_path, tiny_bundle, camera, backend="tensorrt_rtx") as stand:
        stand.state("ContinuousExecution")
        workshop.let_go.set()
        refused = stand.told("engine_refused")
        stand.state("ContinuousExecution")
        two_parts(stand, camera)
    assert refused.level == "error"
    assert "recipe 0 stays on openvino" in refused.text
    assert stand.verdicts == ["PASS ok", "FAIL score"]
    assert [decision.flags for decision in stand.decisions] == [["degraded"]] * 2


def test_without_a_cpu_backend_that_is_fast_enough_the_station_waits_for_its_engine(
    tmp_path: Path, tiny_bundle: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_build, "DEADLINE_SHARE", 0.0)
    camera = ScriptedCamera()
    with station(tmp_path, tiny_bundle, camera, backend="tensorrt_rtx") as stand:
        text = stand.told("not_ready").text
        assert not stand.state("Preoperational").online
        workshop.let_go.set()
        stand.state("ContinuousExecution")
        two_parts(stand, camera)
    assert "onnxruntime is too slow for a deadline of 1000 ms" in text
    assert [decision.flags for decision in stand.decisions] == [[], []]


def test_the_next_cpu_backend_stands_in_when_the_first_cannot(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(OpenVINOBackend):
        def open(self) -> None:
            raise BackendError("openvino: not this one")

    monkeypatch.setitem(BACKENDS, "openvino", Refusing)
    with station(tmp_path, tiny_bundle, ScriptedCamera(), backend="tensorrt_rtx") as stand:
        assert stand.told("degraded").data["backend"] == "onnxruntime"


def test_a_bundle_that_proves_nothing_is_not_stood_in_for(
    tmp_path: Path, tiny_bundle: Path, workshop: Workshop
) -> None:
    unproved = without_golden(tiny_bundle, tmp_path / "unproved.sad")
    with station(tmp_path, unproved, ScriptedCamera(), backend="tensorrt_rtx") as stand:
        stand.told("not_ready")
        workshop.let_go.set()
        stand.state("ContinuousExecution")


def test_without_a_stand_in_a_build_that_fails_ends_the_station(
    tmp_path: Path, tiny_bundle: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_build, "CPU_BACKENDS", ())
    workshop.failure = BackendError("tensorrt: no")
    workshop.let_go.set()
    with (  # noqa: PT012
        pytest.raises(BackendError, match="tensorrt: no"),
        station(tmp_path, tiny_bundle, ScriptedCamera(), backend="tensorrt_rtx") as stand,
    ):
        assert "no CPU backend is installed" in stand.told("not_ready").text
        stand.ended()


def test_a_station_that_waits_for_its_engine_can_be_stopped(
    tmp_path: Path, tiny_bundle: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_build, "CPU_BACKENDS", ())
    with station(tmp_path, tiny_bundle, ScriptedCamera(), backend="tensorrt_rtx") as stand:
        stand.told("not_ready")
        stand.stop.set()
        stand.ended()
    assert workshop.given_up == 1
    assert stand.station.tally.parts == 0


def test_a_station_that_stops_gives_the_build_up(tmp_path: Path, tiny_bundle: Path, workshop: Workshop) -> None:
    with station(tmp_path, tiny_bundle, ScriptedCamera(), backend="tensorrt_rtx") as stand:
        stand.state("ContinuousExecution")
    assert workshop.given_up == 1
    assert not any(thread.name == "engine build" for thread in threading.enumerate())


def test_a_change_over_takes_the_build_of_the_new_recipe_and_gives_the_old_one_up(
    tmp_path: Path, tiny_bundle: Path, workshop: Workshop
) -> None:
    recipes: dict[int, Any] = {number: {"bundle": str(tiny_bundle)} for number in (1, 2)}
    camera = ScriptedCamera()
    with station(tmp_path, None, camera, backend="tensorrt_rtx", recipes=recipes, active_recipe=1) as stand:
        stand.state("ContinuousExecution")
        assert stand.command("recipe", recipe=2).ok
        assert stand.state("ContinuousExecution").recipe == 2
        assert workshop.given_up == 1
        workshop.let_go.set()
        assert stand.told("engine_loaded").data == {"recipe": 2}
        stand.state("ContinuousExecution")
        two_parts(stand, camera)
    assert {(decision.recipe, *decision.flags) for decision in stand.decisions} == {(2,)}


def test_a_change_over_that_fails_leaves_the_build_of_the_old_recipe(
    tmp_path: Path, tiny_bundle: Path, workshop: Workshop
) -> None:
    recipes: dict[int, Any] = {1: {"bundle": str(tiny_bundle)}, 2: {"bundle": str(tmp_path / "none.sad")}}
    with station(tmp_path, None, ScriptedCamera(), backend="tensorrt_rtx", recipes=recipes, active_recipe=1) as stand:
        stand.state("ContinuousExecution")
        assert not stand.command("recipe", recipe=2).ok
        assert workshop.given_up == 0
        workshop.let_go.set()
        stand.told("engine_loaded")


def test_a_lost_camera_does_not_cost_the_engine(tmp_path: Path, tiny_bundle: Path, workshop: Workshop) -> None:
    camera = ScriptedCamera(live=True)
    with station(tmp_path, tiny_bundle, camera, backend="tensorrt_rtx") as stand:
        stand.state("ContinuousExecution")
        camera.refuses_to_open = True
        camera.put(CameraError("unplugged"))
        stand.state("Error")
        workshop.let_go.set()
        stand.told("built")
        camera.refuses_to_open = False
        camera.put(*[good_picture()] * 3)
        stand.told("engine_loaded")


def test_a_gpu_that_is_lost_at_the_swap_ends_the_process(
    tmp_path: Path, tiny_bundle: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PlayedTensorRT, "dies", True)
    with (  # noqa: PT012
        pytest.raises(DeviceLost),
        station(tmp_path, tiny_bundle, ScriptedCamera(), backend="tensorrt_rtx") as stand,
    ):
        stand.state("ContinuousExecution")
        workshop.let_go.set()
        stand.ended()


def test_a_box_without_a_gpu_builds_nothing_and_hears_it_from_the_backend(
    tmp_path: Path, tiny_bundle: Path, workshop: Workshop
) -> None:
    workshop.gpu = NO_GPU
    with station(tmp_path, tiny_bundle, ScriptedCamera(), backend="tensorrt_rtx") as stand:
        stand.state("ContinuousExecution")
    assert [event.code for event in stand.events if event.code == "building"] == []


def test_engines_lie_in_the_state_folder_and_are_built_for_the_gpu_asked_for(
    tmp_path: Path, tiny_bundle: Path, workshop: Workshop
) -> None:
    with station(tmp_path, tiny_bundle, ScriptedCamera(), backend="tensorrt_rtx", engines={"max_mb": 7}) as stand:
        stand.state("ContinuousExecution")
    assert workshop.settings == EngineSettings(folder=str(tmp_path / "state" / "engines"), max_mb=7)
    assert engine_room("tensorrt:1", EngineSettings()) is not None
    assert workshop.settings.device == 1
    assert engine_room("openvino", EngineSettings()) is None


def test_a_stand_in_judges_by_the_thresholds_of_its_own_backend(tmp_path: Path, tiny_bundle: Path) -> None:
    config = station_config(backend="tensorrt_rtx")
    history = tmp_path / "thresholds.json"
    recipe = recipe_from(3, RecipeConfig(bundle=str(tiny_bundle)), config, history)
    append_history(
        history,
        LineThresholds(
            revision=1,
            set_at="2026-01-01T00:00:00+00:00",
            model_digest=recipe.digest,
            precision="fp32",
            backend="openvino",
            score_threshold=2.5,
            pixel_threshold=3.5,
            heatmap_low=0.5,
            decision=recipe.bundle.manifest.decision,
        ),
    )
    stand_in = moved(recipe, "openvino", history)
    assert (recipe.thresholds.score, recipe.degraded) == (4.0, False)
    assert (stand_in.thresholds.score, stand_in.thresholds.revision, stand_in.degraded) == (2.5, 1, True)
    tried = recipe_from(3, RecipeConfig(bundle=str(tiny_bundle), threshold=9.0), config, history)
    assert moved(tried, "openvino", history).thresholds.score == 9.0


def test_a_cache_that_cannot_be_written_stops_the_start(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_build, "EngineRoom", EngineRoom)
    (tmp_path / "file").write_bytes(b"")
    engines = {"folder": str(tmp_path / "file")}
    with (
        pytest.raises(UsageError, match="file: cannot be written"),
        station(tmp_path, tiny_bundle, ScriptedCamera(), backend="tensorrt_rtx", engines=engines) as stand,
    ):
        stand.ended()
