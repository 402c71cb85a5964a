"""Whoever orders a change-over gets an answer: also when the station stops, and when an engine breaks unheard-of."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bundles import good_picture, write_tiny_bundle
from sad_runtime.backends.table import BACKENDS
from sad_runtime.bundle import read_bundle
from sad_runtime.cameras.base import Frame, Setting, frame_now
from sad_runtime.cameras.table import KINDS, Kind
from sad_runtime.errors import CameraError, DataError, UsageError
from sad_runtime.manifest import DecisionPolicy
from sad_runtime.messages import Command
from sad_runtime.station.change_over import ChangeOver
from sad_runtime.station.orders import Orders
from sad_runtime.station.selection import selected
from sad_runtime.thresholds import LineThresholds, append_history
from stations import Misbehaving, ScriptedCamera, station, station_config


@pytest.fixture
def changes(tmp_path: Path, tiny_bundle: Path) -> ChangeOver:
    config = station_config(state=str(tmp_path), recipes={1: {"bundle": str(tiny_bundle)}})
    return ChangeOver(selected(config).recipe, config, tmp_path / "thresholds.json")


def test_orders_given_while_the_station_closes_are_all_refused(changes: ChangeOver) -> None:
    outcomes = []
    ordering = threading.Thread(target=lambda: outcomes.extend(changes.order(1) for _ in range(2000)), daemon=True)
    ordering.start()
    for _ in range(200):
        changes.close()
    ordering.join(5)
    assert not ordering.is_alive(), "an order waits for ever"
    changes.close()
    for outcome in outcomes:
        with pytest.raises(UsageError, match="the station stops"):
            outcome.result(0)


def test_an_order_that_was_withdrawn_is_not_carried_out_and_can_still_be_refused(changes: ChangeOver) -> None:
    events: list[str] = []
    outcome = changes.order(1)
    assert outcome.cancel()
    changes.carry_out(lambda code, *_, **__: events.append(code))
    assert events == ["recipe_refused"]
    assert not hasattr(changes, "inspector")
    assert changes.order(1).cancel()
    changes.close()


def test_an_order_withdrawn_while_its_engine_opens_leaves_the_old_one_in_force(
    changes: ChangeOver, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes: list[Any] = []

    class Slow(BACKENDS["onnxruntime"]):  # type: ignore[misc]
        def open(self) -> None:
            super().open()
            if outcomes:
                assert outcomes[-1].cancel()

    monkeypatch.setitem(BACKENDS, "onnxruntime", Slow)
    assert changes.load(lambda *_, **__: None)
    old = changes.inspector
    outcomes.append(changes.order(1))
    changes.carry_out(lambda *_, **__: None)
    assert changes.inspector is old
    assert old.inspect(good_picture()).verdict.value == "PASS"
    changes.close()


def test_an_order_that_is_carried_out_cannot_be_withdrawn_any_more(changes: ChangeOver) -> None:
    outcome = changes.order(1)
    changes.carry_out(lambda *_, **__: None)
    assert not outcome.cancel()
    assert outcome.result(0) is None
    changes.close()


def test_an_engine_that_breaks_unheard_of_is_told_to_who_ordered_it(
    changes: ChangeOver, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(Misbehaving):
        def open(self) -> None:
            raise MemoryError("no more")

    monkeypatch.setitem(BACKENDS, "onnxruntime", Broken)
    outcome = changes.order(1)
    with pytest.raises(MemoryError):
        changes.carry_out(lambda *_, **__: None)
    with pytest.raises(MemoryError):
        outcome.result(0)


def test_an_order_does_not_hold_up_a_station_that_stops(changes: ChangeOver) -> None:
    """Its loop hangs: nobody carries the order out."""
    stop = threading.Event()
    standing = SimpleNamespace(stop=stop)
    orders = Orders(SimpleNamespace(changes=changes, standing=standing))  # type: ignore[arg-type]
    timer = threading.Timer(0.1, stop.set)
    timer.start()
    begin = time.monotonic()
    reply = orders(Command(id=1, op="recipe", recipe=1))
    timer.join()
    assert (reply.ok, reply.error) == (False, "the station stops")
    assert time.monotonic() - begin < 2


def test_a_paused_station_stays_halted_through_a_change_over(tmp_path: Path, tiny_bundle: Path) -> None:
    recipes: dict[int, Any] = {number: {"bundle": str(tiny_bundle)} for number in (1, 2)}
    camera = ScriptedCamera()
    with station(tmp_path, None, camera, recipes=recipes, active_recipe=1) as stand:
        assert stand.command("pause").ok
        stand.state("Halted")
        assert stand.command("recipe", recipe=2).ok
        beat = stand.state("Halted")
        assert (beat.recipe, beat.online) == (2, False)
        assert stand.command("resume").ok
        stand.state("ContinuousExecution")
        camera.put(good_picture())
        stand.decided(1)
    assert stand.verdicts == ["PASS ok"]


def test_a_resync_refuses_the_triggers_that_wait(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = ScriptedCamera()
    with station(tmp_path, tiny_bundle, camera, trigger={"mode": "software", "deadline_ms": 2000}) as stand:
        stand.state("Ready")
        stand.command("trigger", trigger_id=1)
        stand.state("SingleExecution")
        for number in (2, 3):
            stand.command("trigger", trigger_id=number)
        assert stand.command("resync").ok
        stand.decided(2)  # the first waits for its picture, the others waited in the queue
        camera.put(good_picture())
        stand.decided(3)
    assert [(d.trigger_id, d.verdict.value, d.reason.value) for d in stand.decisions] == [
        (2, "INVALID", "not_online"),
        (3, "INVALID", "not_online"),
        (1, "PASS", "ok"),
    ]


class Feeder(threading.Thread):
    """A camera's pictures at a rate, with their own stamps and counts, until it is closed."""

    def __init__(self, camera: ScriptedCamera, per_s: float) -> None:
        super().__init__(name="feeder")
        self.count = 0
        self._camera, self._pause_s, self._stop_it = camera, 1 / per_s, threading.Event()

    def run(self) -> None:
        while not self._stop_it.wait(self._pause_s):
            self._camera.put(frame_now(good_picture(self.count % 9), self.count, "fed"))
            self.count += 1

    def __enter__(self) -> Feeder:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_it.set()
        self.join()


def test_a_new_version_is_swapped_in_under_load_with_no_part_lost_and_none_judged_by_a_mix(tmp_path: Path) -> None:
    path = write_tiny_bundle(tmp_path / "part.sad")
    newer = write_tiny_bundle(tmp_path / "newer.sad", gain=20.0)
    old, new = (read_bundle(one).manifest.precisions["fp32"].sha256 for one in (path, newer))
    append_history(tmp_path / "state" / "line1" / "thresholds.json", line_thresholds(new, score_threshold=7.5))
    camera = ScriptedCamera()
    settings: dict[str, Any] = {"recipes": {1: {"bundle": str(path)}}, "trigger": {"deadline_ms": 10_000}}
    with station(tmp_path, None, camera, **settings) as stand:
        stand.state("ContinuousExecution")
        with Feeder(camera, 100) as feeder:
            stand.decided(20)
            newer.replace(path)
            reply = stand.command("recipe", recipe=1, model_digest=new)
            assert (reply.ok, reply.recipe, reply.model_digest) == (True, 1, new)
            stand.decided(len(stand.decisions) + 60)
        stand.decided(feeder.count)
    assert [d.frame_id for d in stand.decisions] == list(range(feeder.count)), "each picture has its decision"
    judged = [d for d in stand.decisions if d.verdict.value != "INVALID"]
    assert {(d.model_digest, d.threshold, d.threshold_rev) for d in judged} == {(old, 4.0, 0), (new, 7.5, 1)}
    digests = [d.model_digest for d in judged]
    assert digests == sorted(digests, key=(old, new).index), "once swapped, it stays"
    for decision in judged:
        gain = 10.0 if decision.model_digest == old else 20.0
        assert decision.score == pytest.approx(gain * deviation(decision.frame_id or 0), abs=1e-4)
    assert {d.reason.value for d in stand.decisions if d not in judged} <= {"not_online"}


def deviation(number: int) -> float:
    """What the tiny model sees in the picture of this number, before its gain."""
    return float(np.abs(good_picture(number % 9).astype(np.float32).mean(axis=2) / 255 - 0.5).max())


def line_thresholds(digest: str, score_threshold: float) -> LineThresholds:
    return LineThresholds(
        revision=1,
        set_at="2026-01-01T00:00:00+00:00",
        model_digest=digest,
        precision="fp32",
        backend="onnxruntime",
        score_threshold=score_threshold,
        pixel_threshold=score_threshold,
        heatmap_low=0.5,
        decision=DecisionPolicy(target_false_reject=None, guaranteed_false_reject=0.1, method="", n=9),
    )


class Rig(ScriptedCamera):
    """Takes settings; refuses an exposure of 13, and dies of one of 666. Gives a picture whenever it is asked."""

    made: list[Rig]
    dead = False

    def __init__(self, settings: Mapping[str, Setting]) -> None:
        super().__init__(live=False)
        self.settings = dict(settings)
        self.is_open = False
        self.made.append(self)

    def open(self) -> None:
        exposure = self.settings.get("exposure")
        if exposure == 666:
            Rig.dead = True
        if exposure == 13 or Rig.dead:
            raise CameraError(f"rig: refuses exposure = {exposure}")
        assert not any(other.is_open for other in self.made), "two of them hold the device"
        self.is_open = True
        self.opened += 1
        self.facts = {"serial": "7", "width_px": "64", "height_px": "64"} | {
            name: str(value) for name, value in self.settings.items()
        }

    def grab(self, timeout_s: float) -> Frame | None:
        if not self.is_open:
            raise CameraError("rig: not open")
        return super().grab(min(timeout_s, 0.01))

    def close(self) -> None:
        self.is_open = False

    @classmethod
    def now(cls) -> Rig:
        return next(one for one in cls.made if one.is_open)


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> type[Rig]:
    monkeypatch.setattr(Rig, "made", [], raising=False)
    monkeypatch.setattr(Rig, "dead", False)
    monkeypatch.setitem(KINDS, "rig", Kind(lambda asked: Rig(asked.settings), "rig:1"))
    return Rig


def preset_recipes(bundle: Path, **exposures: int) -> dict[str, Any]:
    recipes = {
        int(name[1:]): {"bundle": str(bundle), "camera": {"settings": {"exposure": exposure}}}
        for name, exposure in exposures.items()
    }
    camera = {"uri": "rig:1", "settings": {"exposure": 100, "gain": 2}}
    return {"camera": camera, "recipes": {1: {"bundle": str(bundle)}} | recipes, "active_recipe": 1}


def test_a_recipe_brings_its_camera_settings_and_the_one_before_gets_its_own_back(
    tmp_path: Path, tiny_bundle: Path, rig: type[Rig]
) -> None:
    with station(tmp_path, None, **preset_recipes(tiny_bundle, r2=200, r3=200)) as stand:
        stand.state("ContinuousExecution")
        digests, told = [], []
        for number in (1, 2, 3, 1):
            if number != 1 or digests:
                assert stand.command("recipe", recipe=number).ok
            rig.now().put(good_picture())
            digests.append(stand.decided(len(digests) + 1)[-1].camera)
            told.append(rig.now().settings)
            opened = len([event for event in stand.events if event.code == "camera_open"])
        assert opened == 3, "the same settings need no opening"
    assert told == [{"exposure": exposure, "gain": 2} for exposure in (100, 200, 200, 100)]
    assert digests[0] == digests[3] != digests[1] == digests[2]
    assert stand.verdicts == ["PASS ok"] * 4


def test_a_station_starts_with_the_settings_of_its_recipe(tmp_path: Path, tiny_bundle: Path, rig: type[Rig]) -> None:
    with station(tmp_path, None, **(preset_recipes(tiny_bundle, r2=200) | {"active_recipe": 2})) as stand:
        stand.state("ContinuousExecution")
        assert rig.now().settings == {"exposure": 200, "gain": 2}


def test_a_camera_that_refuses_leaves_the_old_recipe_and_its_settings(
    tmp_path: Path, tiny_bundle: Path, rig: type[Rig]
) -> None:
    with station(tmp_path, None, **preset_recipes(tiny_bundle, r2=13)) as stand:
        stand.state("ContinuousExecution")
        refused = stand.command("recipe", recipe=2)
        assert (refused.ok, refused.recipe) == (False, 1)
        assert "refuses exposure = 13" in (refused.error or "")
        assert rig.now().settings == {"exposure": 100, "gain": 2}
        rig.now().put(good_picture())
        assert stand.decided(1)[0].recipe == 1
    assert stand.verdicts == ["PASS ok"]


def test_a_camera_that_opens_with_neither_settings_is_lost_and_comes_back_with_the_old(
    tmp_path: Path, tiny_bundle: Path, rig: type[Rig]
) -> None:
    with station(tmp_path, None, **preset_recipes(tiny_bundle, r2=666)) as stand:
        stand.state("ContinuousExecution")
        refused = stand.command("recipe", recipe=2)
        assert "With its earlier settings it does not open either" in (refused.error or "")
        stand.told("camera_lost")
        rig.made[0].put(good_picture())
        rig.dead = False
        stand.told("camera_back")
        rig.now().put(good_picture())
        decision = stand.decided(1)[0]
        assert (decision.recipe, rig.now().settings["exposure"]) == (1, 100)


def test_settings_that_the_kind_of_camera_does_not_take_are_found_before_it_is_opened(tmp_path: Path) -> None:
    recipes = {3: {"bundle": "a.sad", "camera": {"settings": {"exposure": 5}}}}
    with pytest.raises(UsageError, match=r"recipes\.3\.camera\.settings: camera folder:not-used: takes no settings"):
        selected(station_config(state=str(tmp_path), recipes=recipes))


def test_a_region_that_leaves_the_picture_is_refused_where_its_size_is_known(
    tmp_path: Path, tiny_bundle: Path, rig: type[Rig]
) -> None:
    settings = preset_recipes(tiny_bundle, r2=200)
    settings["recipes"][2]["roi"] = {"x": 40, "y": 0, "width": 32, "height": 32}
    with station(tmp_path, None, **settings) as stand:
        stand.state("ContinuousExecution")
        refused = stand.command("recipe", recipe=2)
        assert "the ROI 32x32+40+0 leaves the picture, which is 64x64" in (refused.error or "")
        assert rig.now().settings["exposure"] == 100
        rig.now().put(good_picture())
        assert stand.decided(1)[0].recipe == 1
    with (
        pytest.raises(DataError, match="leaves the picture"),
        station(tmp_path, None, **settings | {"active_recipe": 2}),
    ):
        pass


def test_a_region_is_held_against_the_pictures_of_a_live_camera(tmp_path: Path, tiny_bundle: Path) -> None:
    roi = {"x": 0, "y": 60, "width": 10, "height": 10}
    recipes: dict[int, Any] = {1: {"bundle": str(tiny_bundle)}, 2: {"bundle": str(tiny_bundle), "roi": roi}}
    camera = ScriptedCamera(live=True)
    with station(tmp_path, None, camera, recipes=recipes, active_recipe=1) as stand:
        stand.state("ContinuousExecution")
        camera.put(good_picture())
        stand.decided(1)
        assert "leaves the picture, which is 64x64" in (stand.command("recipe", recipe=2).error or "")
