"""A station whose engine has to be built first: it serves on the CPU meanwhile, says so, and then swaps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from bundles import bad_picture, good_picture
from sad_runtime.backends.base import Outputs
from sad_runtime.backends.onnxruntime import ONNXRuntimeBackend
from sad_runtime.backends.openvino import OpenVINOBackend
from sad_runtime.backends.table import BACKENDS
from sad_runtime.backends.tensorrt import EngineMissing
from sad_runtime.bundle import DIGESTS, MANIFEST, read_bundle, sha256_hex, write_bundle
from sad_runtime.cameras.base import frame_now
from sad_runtime.engines.gpu import NO_GPU, Gpu
from sad_runtime.engines.job import Progress
from sad_runtime.engines.room import EngineRoom
from sad_runtime.engines.settings import EngineKind, EngineSettings
from sad_runtime.errors import BackendError, CameraError, DeviceLost, GateFailed, SadError, UsageError
from sad_runtime.station import engine_build, orders
from sad_runtime.station.config import RecipeConfig
from sad_runtime.station.engine_build import engine_room
from sad_runtime.station.recipes import moved, recipe_from
from sad_runtime.thresholds import LineThresholds, append_history
from sad_runtime.verdict import State
from stations import ScriptedCamera, Stand, station, station_config, without_golden

pytest.importorskip("openvino")


class Workshop:
    """What the fake room does: waits to be let go, then builds or fails."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.failure: SadError | OSError | None = None
        self.built: set[bytes] = set()
        self.given_up = 0
        self.under_way, self.most, self.started = 0, 0, 0
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
        self.workshop.started += 1
        self.workshop.under_way += 1
        self.workshop.most = max(self.workshop.most, self.workshop.under_way)
        try:
            while not self.workshop.let_go.wait(0.02):
                tell(Progress(time.monotonic() - begin_s, 60.0, 0.5, "tuning"))
        except BaseException:
            self.workshop.given_up += 1
            raise
        finally:
            self.workshop.under_way -= 1
        if self.workshop.failure is not None:
            raise self.workshop.failure
        self.workshop.built.add(model)
        return b"engine"


class PlayedTensorRT(ONNXRuntimeBackend):
    """Runs the model by ONNX Runtime, under the name of TensorRT."""

    name = "tensorrt_rtx"
    lies = 0.0
    dies = False
    missing = 0
    """So many times its engine is gone when it is opened."""
    opening: tuple[threading.Event, threading.Event] | None = None
    """Told that it opens, and waited for."""

    def open(self) -> None:
        if self.dies:
            raise DeviceLost("the GPU has fallen off the bus")
        if type(self).missing:
            type(self).missing -= 1
            SlowRoom.workshop.built.clear()
            raise EngineMissing("tensorrt_rtx: the engine of this model was removed")
        if self.opening is not None:
            self.opening[0].set()
            assert self.opening[1].wait(10)
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


@pytest.fixture
def other_bundle(tmp_path: Path, tiny_bundle: Path) -> Path:
    """As the tiny one, but its model file is another."""
    whole = read_bundle(tiny_bundle)
    model = onnx.load_from_string(whole.model("fp32"))
    model.doc_string = "another"
    data = model.SerializeToString()
    entry = whole.precision("fp32").model_copy(update={"sha256": sha256_hex(data)})
    files = {name: content for name, content in whole.files.items() if name not in (MANIFEST, DIGESTS)}
    path = tmp_path / "other.sad"
    write_bundle(path, whole.manifest.model_copy(update={"precisions": {"fp32": entry}}), files | {entry.file: data})
    return path


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
    assert any("recipe 0: tuning, " in event.text for event in stand.events)


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


@pytest.mark.parametrize("built", [False, True])
def test_a_bundle_that_proves_nothing_is_neither_built_for_nor_run_on_an_engine(
    tmp_path: Path, tiny_bundle: Path, workshop: Workshop, built: bool
) -> None:
    unproved = without_golden(tiny_bundle, tmp_path / "unproved.sad")
    if built:
        workshop.built.add(read_bundle(unproved).model("fp32"))
    with (
        pytest.raises(GateFailed, match="no golden pictures for fp32: nothing proves tensorrt_rtx"),
        station(tmp_path, unproved, ScriptedCamera(), backend="tensorrt_rtx") as stand,
    ):
        stand.ended()
    assert workshop.started == 0


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
    tmp_path: Path, tiny_bundle: Path, other_bundle: Path, workshop: Workshop
) -> None:
    recipes: dict[int, Any] = {1: {"bundle": str(tiny_bundle)}, 2: {"bundle": str(other_bundle)}}
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
    assert (workshop.started, workshop.most) == (2, 1), "two builders at once"


def test_a_change_over_to_the_same_model_goes_on_with_its_build(
    tmp_path: Path, tiny_bundle: Path, workshop: Workshop
) -> None:
    recipes: dict[int, Any] = {number: {"bundle": str(tiny_bundle)} for number in (1, 2)}
    with station(tmp_path, None, ScriptedCamera(), backend="tensorrt_rtx", recipes=recipes, active_recipe=1) as stand:
        stand.state("ContinuousExecution")
        assert stand.command("recipe", recipe=2).ok
        assert stand.command("recipe", recipe=1).ok
        assert stand.command("recipe", recipe=2).ok
        workshop.let_go.set()
        assert stand.told("engine_loaded").data == {"recipe": 2}
    assert (workshop.started, workshop.given_up) == (1, 0)


def test_a_change_over_that_was_answered_with_no_does_not_take_place_later(
    tmp_path: Path, tiny_bundle: Path, other_bundle: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "CHANGE_OVER_S", 0.5)
    recipes: dict[int, Any] = {1: {"bundle": str(tiny_bundle)}, 2: {"bundle": str(other_bundle)}}
    with station(tmp_path, None, ScriptedCamera(), backend="tensorrt_rtx", recipes=recipes, active_recipe=1) as stand:
        stand.state("ContinuousExecution")
        monkeypatch.setattr(engine_build, "CPU_BACKENDS", ())
        reply = stand.command("recipe", recipe=2)
        assert (reply.ok, "the order is withdrawn" in str(reply.error)) == (False, True)
        assert stand.state("ContinuousExecution").recipe == 1
        workshop.let_go.set()
        assert stand.told("engine_loaded").data == {"recipe": 1}, "the build of the recipe that stays is lost"
        assert stand.state("ContinuousExecution").recipe == 1
    assert "withdrawn" in stand.told("recipe_refused").text
    assert not any(event.code == "recipe_loaded" for event in stand.events)
    assert (workshop.started, workshop.given_up, workshop.most) == (3, 2, 1)


def test_a_station_that_waits_for_its_engine_takes_another_recipe(
    tmp_path: Path, tiny_bundle: Path, other_bundle: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_build, "CPU_BACKENDS", ())
    workshop.built.add(read_bundle(other_bundle).model("fp32"))
    recipes: dict[int, Any] = {1: {"bundle": str(tiny_bundle)}, 2: {"bundle": str(other_bundle)}}
    camera = ScriptedCamera()
    with station(tmp_path, None, camera, backend="tensorrt_rtx", recipes=recipes, active_recipe=1) as stand:
        stand.told("not_ready")
        stand.until(lambda: workshop.started == 1, "the build")
        assert "no recipe 9" in str(stand.command("recipe", recipe=9).error)
        assert (workshop.started, workshop.given_up) == (1, 0), "a typing error costs the build"
        assert stand.command("recipe", recipe=2).ok
        assert stand.state("ContinuousExecution").recipe == 2
        two_parts(stand, camera)
    assert [decision.recipe for decision in stand.decisions] == [2, 2]
    assert workshop.given_up == 1


@pytest.mark.parametrize("there", [False, True])
def test_an_engine_that_is_gone_when_it_is_opened_is_built_once_more_beside_the_line(
    tmp_path: Path, tiny_bundle: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setattr(PlayedTensorRT, "missing", 1)
    if there:
        workshop.built.add(read_bundle(tiny_bundle).model("fp32"))
    workshop.let_go.set()
    with station(tmp_path, tiny_bundle, ScriptedCamera(), backend="tensorrt_rtx") as stand:
        stand.told("degraded")
        stand.told("engine_loaded")
    assert workshop.started == (1 if there else 2)


def test_an_engine_that_is_always_gone_is_not_built_for_ever(
    tmp_path: Path, tiny_bundle: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PlayedTensorRT, "missing", 99)
    workshop.let_go.set()
    camera = ScriptedCamera()
    with station(tmp_path, tiny_bundle, camera, backend="tensorrt_rtx") as stand:
        stand.told("engine_refused")
        stand.state("ContinuousExecution")
        two_parts(stand, camera)
    assert workshop.started == 2
    assert {decision.backend for decision in stand.decisions} == {"openvino"}


def test_pictures_taken_while_the_engine_is_swapped_in_are_answered_as_not_online(
    tmp_path: Path, tiny_bundle: Path, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, go_on = threading.Event(), threading.Event()
    monkeypatch.setattr(PlayedTensorRT, "opening", (opening, go_on))
    camera = ScriptedCamera()
    with station(tmp_path, tiny_bundle, camera, backend="tensorrt_rtx") as stand:
        stand.state("ContinuousExecution")
        two_parts(stand, camera)
        workshop.let_go.set()
        assert opening.wait(10)
        camera.put(frame_now(bad_picture(), 7, "scripted"), frame_now(good_picture(), 8, "scripted"))
        go_on.set()
        stand.decided(4)
        stand.told("engine_loaded")
        stand.state("ContinuousExecution")
        two_parts(stand, camera)
    assert stand.verdicts == ["PASS ok", "FAIL score", *["INVALID not_online"] * 2, "PASS ok", "FAIL score"]


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


@pytest.mark.parametrize("moment", ["load", "change-over", "swap"])
def test_a_gpu_that_is_lost_whenever_an_engine_is_opened_is_told_and_ends_the_process(
    tmp_path: Path,
    tiny_bundle: Path,
    other_bundle: Path,
    workshop: Workshop,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    monkeypatch.setattr(PlayedTensorRT, "dies", True)
    if moment != "swap":
        workshop.built.add(read_bundle(other_bundle if moment == "change-over" else tiny_bundle).model("fp32"))
    recipes: dict[int, Any] = {1: {"bundle": str(tiny_bundle)}, 2: {"bundle": str(other_bundle)}}
    seen: list[Stand] = []

    def lose_it() -> None:
        camera = ScriptedCamera()
        told: dict[str, Any] = {"backend": "tensorrt_rtx", "recipes": recipes, "active_recipe": 1, "warm_recipes": 0}
        with station(tmp_path, None, camera, **told) as stand:
            seen.append(stand)
            stand.station.feed.linger_ms = 2000
            if moment != "load":
                stand.state("ContinuousExecution")
            if moment == "change-over":
                assert "fallen off the bus" in str(stand.command("recipe", recipe=2).error)
            workshop.let_go.set()
            stand.ended()
            assert stand.told("device_lost").level == "error"

    with pytest.raises(DeviceLost, match="fallen off the bus"):
        lose_it()
    assert seen[0].station.standing.state is State.ERROR


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
