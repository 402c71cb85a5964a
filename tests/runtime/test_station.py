"""The station as a whole: one decision a part, in time, and a PASS only from a fresh, whole inspection."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundles import SPEC, bad_picture, good_picture, tiny_onnx, write_tiny_bundle
from sad_runtime.backends.onnxruntime import ONNXRuntimeBackend
from sad_runtime.backends.table import BACKENDS
from sad_runtime.bundle import read_bundle, write_bundle
from sad_runtime.cameras.base import EndOfStream, frame_now
from sad_runtime.decide import Thresholds
from sad_runtime.errors import AlreadyRunning, CameraError, GateFailed
from sad_runtime.inspector import Inspector
from sad_runtime.pictures import encode_png
from sad_runtime.verdict import State, Verdict
from stations import Misbehaving, ScriptedCamera, cue, good_frames, journal_rows, station, without_golden

PASS, FAIL = "PASS ok", "FAIL score"
SIMPLE: dict[str, Any] = {"backend": "misbehaving"}


@pytest.fixture(autouse=True)
def _misbehaving_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--backend misbehaving`."""
    monkeypatch.setitem(BACKENDS, "misbehaving", Misbehaving)


@pytest.fixture
def unproved(tmp_path: Path, tiny_bundle: Path) -> Path:
    return without_golden(tiny_bundle, tmp_path / "unproved.sad")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(20):
        picture = bad_picture(number) if number % 5 == 2 else good_picture(number)
        (folder / f"{number:03}.png").write_bytes(encode_png(picture))
    return folder


def test_a_folder_is_inspected_part_after_part_and_the_station_ends(
    tmp_path: Path, pictures: Path, tiny_bundle: Path
) -> None:
    with station(tmp_path, tiny_bundle, camera={"uri": f"folder:{pictures}"}) as stand:
        stand.ended()
    assert [decision.seq for decision in stand.decisions] == list(range(1, 21))
    assert stand.verdicts == [FAIL if number % 5 == 2 else PASS for number in range(20)]
    assert [row[:2] for row in journal_rows(tmp_path / "state/line1")] == [
        (decision.seq, decision.verdict.value) for decision in stand.decisions
    ]
    assert [event.code for event in stand.events] == ["ready", "stopping"]


def test_verdicts_and_scores_are_the_inspectors_own(tmp_path: Path, pictures: Path, tiny_bundle: Path) -> None:
    with station(tmp_path, tiny_bundle, camera={"uri": f"folder:{pictures}"}) as stand:
        stand.ended()
    with Inspector(ONNXRuntimeBackend(tiny_onnx(), SPEC, threads=1), Thresholds(4.0, 4.0, 0.5)) as inspector:
        for number, decision in enumerate(stand.decisions):
            found = inspector.inspect(bad_picture(number) if number % 5 == 2 else good_picture(number))
            assert (decision.verdict, decision.score) == (found.verdict, found.score)
            assert decision.regions == [(r.x, r.y, r.width, r.height, round(r.score, 4)) for r in found.regions]


def test_a_decision_says_all_there_is_to_say(tmp_path: Path, pictures: Path, tiny_bundle: Path) -> None:
    with station(tmp_path, tiny_bundle, camera={"uri": f"folder:{pictures}"}, trigger={"deadline_ms": 700}) as stand:
        stand.ended()
    decision = stand.decisions[2]
    entry = read_bundle(tiny_bundle).manifest.precisions["fp32"]
    assert (decision.model_digest, decision.backend, decision.precision) == (entry.sha256, "onnxruntime", "fp32")
    assert (decision.threshold, decision.threshold_rev, decision.deadline_ms, decision.recipe) == (4.0, 0, 700, 0)
    assert (decision.frame_id, decision.flags) == (2, [])
    assert set(decision.latency_ms) == {"wait", "grab", "pre", "infer", "post", "publish"}
    assert 0 < decision.age_ms < 700
    assert sum(decision.latency_ms.values()) == pytest.approx(decision.age_ms + decision.latency_ms["grab"], abs=5)
    assert decision.captured_ns is not None
    assert abs(decision.captured_ns - time.time_ns()) < 60e9


def test_an_unreadable_picture_is_an_invalid_part_in_its_place(
    tmp_path: Path, pictures: Path, tiny_bundle: Path
) -> None:
    (pictures / "001.png").write_bytes(b"")
    with station(tmp_path, tiny_bundle, camera={"uri": f"folder:{pictures}"}, limit=4) as stand:
        stand.ended()
    assert stand.verdicts == [PASS, "INVALID incomplete", FAIL, PASS]
    assert "empty" in stand.told("incomplete").text
    assert journal_rows(tmp_path / "state/line1")[1][3].startswith("001.png")


def test_a_frame_of_another_size_or_outside_the_roi_is_invalid(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = ScriptedCamera(live=True, endless=False)
    camera.put(good_picture(0), np.zeros((32, 64, 3), np.uint8), good_picture(1), EndOfStream())
    with station(tmp_path, tiny_bundle, camera) as stand:
        stand.ended()
    assert stand.verdicts == [PASS, "INVALID incomplete", PASS]
    roi = {"recipes": {1: {"bundle": str(tiny_bundle), "roi": {"x": 40, "y": 0, "width": 64, "height": 64}}}}
    camera = ScriptedCamera(endless=False)
    camera.put(good_picture(), np.tile(good_picture(1), (1, 2, 1)), EndOfStream())
    with station(tmp_path, None, camera, active_recipe=1, **roi) as stand:
        stand.ended()
    assert stand.verdicts == ["INVALID incomplete", PASS]


def test_whatever_the_engine_does_wrong_is_invalid_and_never_a_pass(tmp_path: Path, unproved: Path) -> None:
    camera = ScriptedCamera(endless=False)
    camera.put(good_picture(), cue(251), cue(252), cue(253), good_picture(), EndOfStream())
    with station(tmp_path, unproved, camera, **SIMPLE) as stand:
        stand.ended()
    assert stand.verdicts == [PASS, *["INVALID inference_error"] * 3, PASS]
    assert "as told" in stand.told("inference_error").text
    assert [event.code for event in stand.events].count("inference_error") == 1


def test_a_hanging_inference_is_answered_late_at_its_deadline_and_its_result_discarded(
    tmp_path: Path, unproved: Path
) -> None:
    camera = ScriptedCamera()
    camera.put(good_picture())
    with station(tmp_path, unproved, camera, trigger={"deadline_ms": 150}, **SIMPLE) as stand:
        stand.decided(1)
        begin = time.monotonic()
        camera.put(cue(250))
        late = stand.decided(2)[1]
        assert time.monotonic() - begin < 0.3
        camera.put(good_picture())
        stand.decided(3)
        time.sleep(0.1)
        stand.read()
    assert stand.verdicts == [PASS, "INVALID late", PASS]
    assert [decision.seq for decision in stand.decisions] == [1, 2, 3]
    assert late.age_ms < 150
    assert [row[1] for row in journal_rows(tmp_path / "state/line1")] == ["PASS", "INVALID", "PASS"]


def test_a_hung_loop_stops_the_heartbeat(tmp_path: Path, unproved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Misbehaving, "hang_s", 1.2)
    camera = ScriptedCamera()
    with station(tmp_path, unproved, camera, trigger={"deadline_ms": 100}, **SIMPLE) as stand:
        stand.state("ContinuousExecution")
        camera.put(cue(250))
        stand.decided(1)
        time.sleep(0.5)
        stand.read()
        stand.heartbeats.clear()
        time.sleep(0.4)
        stand.read()
        assert stand.heartbeats == []


def test_the_heartbeat_runs_before_the_model_is_loaded(
    tmp_path: Path, unproved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Misbehaving, "opening_s", 0.6)
    with station(tmp_path, unproved, ScriptedCamera(), **SIMPLE) as stand:
        beat = stand.state("Preoperational")
        assert not beat.online
        assert stand.state("ContinuousExecution").online
        early = [beat for beat in stand.heartbeats if beat.state is State.PREOPERATIONAL]
        assert all(not beat.online for beat in early)


def test_a_bundle_that_does_not_score_as_at_export_does_not_start(tmp_path: Path) -> None:
    bundle = read_bundle(write_tiny_bundle(tmp_path / "tiny.sad"))
    golden = bundle.manifest.golden[0].model_copy(update={"score": {"fp32": 3.0}})
    other = bundle.manifest.model_copy(update={"golden": [golden]})
    files = {name: data for name, data in bundle.files.items() if name not in ("manifest.json", "digests.txt")}
    write_bundle(tmp_path / "other.sad", other, files)
    with (
        pytest.raises(GateFailed, match=r"golden/good\.png came out PASS"),
        station(tmp_path, tmp_path / "other.sad", ScriptedCamera()) as stand,
    ):
        stand.ended()
    assert stand.decisions == []


def test_decisions_of_the_stand_in_are_flagged(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = ScriptedCamera(endless=False)
    camera.put(good_picture(), EndOfStream())
    with station(tmp_path, tiny_bundle, camera, backend="constant:9") as stand:
        stand.ended()
    assert stand.decisions[0].flags == ["simulated"]
    assert stand.verdicts == [FAIL]


def test_a_camera_that_goes_away_is_an_error_until_it_is_back(tmp_path: Path, unproved: Path) -> None:
    camera = ScriptedCamera()
    camera.put(good_picture())
    with station(tmp_path, unproved, camera, **SIMPLE) as stand:
        stand.decided(1)
        camera.refuses_to_open = True
        camera.put(CameraError("scripted: unplugged"))
        assert "unplugged" in stand.told("camera_lost").text
        assert not stand.state("Error").online
        camera.refuses_to_open = False
        camera.put(good_picture())  # proves that it delivers again, and is no part
        stand.told("camera_back")
        assert stand.state("ContinuousExecution").online
        camera.put(good_picture())
        stand.decided(2)
    assert camera.opened == 2
    assert stand.verdicts == [PASS, PASS]


def test_a_silent_camera_makes_no_parts_in_free_run_but_an_error(tmp_path: Path, unproved: Path) -> None:
    camera = ScriptedCamera(live=True, silent_after_s=0.2)
    with station(tmp_path, unproved, camera, **SIMPLE) as stand:
        assert "no picture for" in stand.told("camera_lost").text
        assert not stand.state("Error").online
    assert stand.decisions == []


def test_pause_halts_free_run_and_resume_goes_on_with_fresh_pictures(tmp_path: Path, unproved: Path) -> None:
    camera = ScriptedCamera()
    camera.put(good_picture())
    with station(tmp_path, unproved, camera, **SIMPLE) as stand:
        stand.decided(1)
        assert stand.command("pause").ok
        assert not stand.state("Halted").online
        camera.put(frame_now(good_picture(), 77, "stale"))
        time.sleep(0.15)
        assert stand.command("resume").ok
        stand.state("ContinuousExecution")
        camera.put(frame_now(good_picture(), 78, "fresh"))
        stand.decided(2)
    assert stand.decisions[-1].frame_id == 78


def test_a_part_that_was_captured_too_long_ago_is_late(tmp_path: Path, unproved: Path) -> None:
    camera = ScriptedCamera()
    with station(tmp_path, unproved, camera, trigger={"deadline_ms": 50}, **SIMPLE) as stand:
        stand.state("ContinuousExecution")
        stale = frame_now(good_picture(), 1, "stale")
        time.sleep(0.06)
        camera.put(stale)
        stand.decided(1)
    assert stand.verdicts == ["INVALID late"]


def test_a_stop_ends_the_run_and_is_told(tmp_path: Path, unproved: Path) -> None:
    with station(tmp_path, unproved, ScriptedCamera(), **SIMPLE) as stand:
        stand.told("ready")
        stand.stop.set()
        stand.ended()
        assert "asked to" in stand.told("stopping").text


def test_a_second_station_of_the_name_is_refused_and_leaves_the_first_alone(tmp_path: Path, unproved: Path) -> None:
    camera = ScriptedCamera()
    with station(tmp_path, unproved, camera, **SIMPLE) as stand:
        with (
            pytest.raises(AlreadyRunning, match=r"line1 is already running \(process \d+\)"),
            station(tmp_path, unproved, ScriptedCamera()),
        ):
            pass
        camera.put(good_picture())
        stand.decided(1)


def test_recipes_change_over_and_a_broken_one_leaves_the_old(tmp_path: Path, tiny_bundle: Path) -> None:
    (tmp_path / "broken.sad").write_bytes(b"no bundle")
    recipes = {
        1: {"bundle": str(tiny_bundle)},
        2: {"bundle": str(tiny_bundle), "threshold": 0.1, "deadline_ms": 400},
        3: {"bundle": str(tmp_path / "broken.sad")},
    }
    camera = ScriptedCamera()
    with station(tmp_path, None, camera, recipes=recipes, active_recipe=1) as stand:
        camera.put(good_picture())
        stand.decided(1)
        assert stand.command("recipe", recipe=2).ok
        camera.put(good_picture())
        stand.decided(2)
        refused = stand.command("recipe", recipe=3)
        assert not refused.ok
        assert "broken.sad" in (refused.error or "")
        assert "no recipe 9" in (stand.command("recipe", recipe=9).error or "")
        camera.put(good_picture())
        stand.decided(3)
        assert stand.state("ContinuousExecution").recipe == 2
    assert stand.verdicts == [PASS, FAIL, FAIL]
    assert [(d.recipe, d.threshold, d.deadline_ms) for d in stand.decisions] == [
        (1, 4.0, 1000),
        (2, 0.1, 400),
        (2, 0.1, 400),
    ]
    assert [event.code for event in stand.events if event.code.startswith("recipe")] == [
        "recipe_not_warm",
        "recipe_loaded",
        "recipe_refused",
        "recipe_refused",
    ]


def test_acknowledged_decisions_are_marked_in_the_journal(tmp_path: Path, unproved: Path) -> None:
    import sqlite3

    camera = ScriptedCamera()
    camera.put(good_picture(), good_picture())
    with station(tmp_path, unproved, camera, **SIMPLE) as stand:
        stand.decided(2)
        assert stand.command("ack", seq=2).ok
        assert stand.command("resync").ok
    connection = sqlite3.connect(tmp_path / "state/line1/journal.sqlite")
    marks = connection.execute("SELECT acknowledged_ns IS NOT NULL FROM decisions ORDER BY seq").fetchall()
    connection.close()
    assert marks == [(0,), (1,)]


@pytest.mark.parametrize(("required", "verdict"), [(False, PASS), (True, "INVALID not_online")])
def test_without_a_journal_verdicts_are_flagged_or_invalid_as_asked(
    tmp_path: Path, unproved: Path, required: bool, verdict: str
) -> None:
    (tmp_path / "state/line1/journal.sqlite").mkdir(parents=True)
    camera = ScriptedCamera(endless=False)
    camera.put(good_picture(), EndOfStream())
    with station(tmp_path, unproved, camera, journal={"require_records": required}, **SIMPLE) as stand:
        stand.ended()
    assert stand.verdicts == [verdict]
    assert stand.decisions[0].flags == ["unrecorded"]


def test_pictures_of_what_was_not_pass_are_kept(tmp_path: Path, tiny_bundle: Path) -> None:
    from sad_runtime.pictures import read_picture

    camera = ScriptedCamera(endless=False)
    camera.put(*good_frames(2), bad_picture(5), EndOfStream())
    leftover = tmp_path / "state/line1/pictures/2026-01-01/.half.png.tmp"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    with station(tmp_path, tiny_bundle, camera) as stand:
        stand.ended()
        run = stand.station.equipment.run
    kept = sorted(path for path in (tmp_path / "state/line1/pictures").rglob("*") if path.is_file())
    assert [path.suffix for path in kept] == [".jpg", ".png"]
    assert f"{run[:8]}-00000003-FAIL-score" in kept[0].name
    assert np.array_equal(read_picture(kept[1]), bad_picture(5))


def test_a_pass_needs_the_deadline_to_be_kept_to_the_end(tmp_path: Path, unproved: Path) -> None:
    """Nothing in this file may have let a late or unproved part pass: the gate's own words."""
    camera = ScriptedCamera(endless=False)
    camera.put(*(cue(value) for value in (250, 251, 252, 253)), EndOfStream())
    with station(tmp_path, unproved, camera, trigger={"deadline_ms": 100}, **SIMPLE) as stand:
        stand.ended()
    assert {decision.verdict for decision in stand.decisions} == {Verdict.INVALID}
    assert len(stand.decisions) == 4
