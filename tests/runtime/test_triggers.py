"""Triggers: each gets exactly one decision before its deadline, whatever the camera, the queue or the operator do."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bundles import bad_picture, good_picture
from sad_runtime.backends.table import BACKENDS
from sad_runtime.cameras.base import EndOfStream, frame_now
from sad_runtime.errors import CameraError
from sad_runtime.station.part import Part, Stage, overdue
from sad_runtime.station.triggers import Clock, TriggerQueue
from sad_runtime.station.watchdog import Watchdog
from sad_runtime.verdict import Reason
from stations import Misbehaving, ScriptedCamera, cue, station, without_golden

SOFTWARE: dict[str, Any] = {"trigger": {"mode": "software", "deadline_ms": 300}}


@pytest.fixture
def unproved(tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle for `--backend misbehaving`."""
    monkeypatch.setitem(BACKENDS, "misbehaving", Misbehaving)
    return without_golden(tiny_bundle, tmp_path / "unproved.sad")


def a_part(deadline_ms: int = 1000) -> Part:
    return Part(time.monotonic_ns(), deadline_ms)


def test_the_queue_is_first_in_first_out_and_bounded() -> None:
    waiting = TriggerQueue(2)
    first, second, third = a_part(), a_part(), a_part()
    assert waiting.put(first)
    assert waiting.put(second)
    assert not waiting.put(third)
    assert waiting.take(0.0) is first
    assert waiting.put(third)
    assert [waiting.take(0.0), waiting.take(0.0), waiting.take(0.01)] == [second, third, None]


def test_parts_that_were_answered_while_waiting_are_skipped_and_make_room() -> None:
    waiting = TriggerQueue(1)
    old, new = a_part(), a_part()
    waiting.put(old)
    old.answered = True
    assert waiting.put(new)
    assert waiting.take(0.0) is new


def test_a_waiting_loop_is_woken_by_a_trigger() -> None:
    waiting, part = TriggerQueue(1), a_part()
    timer = threading.Timer(0.05, waiting.put, [part])
    timer.start()
    begin = time.monotonic()
    assert waiting.take(2.0) is part
    assert time.monotonic() - begin < 1.0
    timer.join()


def test_the_clock_ticks_evenly_even_when_a_tick_takes_long() -> None:
    ticks: list[float] = []

    def slow_tick() -> None:
        ticks.append(time.monotonic())
        time.sleep(0.015)

    begin = time.monotonic()
    with Clock(20, slow_tick):
        time.sleep(0.41)
    assert 17 <= len(ticks) <= (time.monotonic() - begin) / 0.02  # a busy machine sleeps longer
    assert (ticks[-1] - ticks[0]) / (len(ticks) - 1) == pytest.approx(0.02, abs=0.004)


def test_the_watchdog_answers_parts_in_the_order_of_their_deadlines_and_no_answered_one() -> None:
    answered: list[tuple[int | None, float]] = []
    watchdog = Watchdog(lambda part: answered.append((part.part_id, part.age_ms())))
    watchdog.start()
    slow, quick, done = (Part(time.monotonic_ns(), ms, part_id=ms) for ms in (200, 50, 100))
    for part in (slow, quick, done):
        watchdog.watch(part)
    done.answered = True
    time.sleep(0.3)
    watchdog.stop()
    assert [part_id for part_id, _ in answered] == [50, 200]
    assert answered[0][1] < 50
    assert answered[1][1] < 200


def test_what_is_said_at_the_deadline_depends_on_how_far_the_part_came() -> None:
    part = a_part()
    assert overdue(part).reason is Reason.LATE
    part.stage = Stage.GRABBING
    assert overdue(part).reason is Reason.NO_IMAGE
    part.stage = Stage.INSPECTING
    assert overdue(part).reason is Reason.LATE


def test_a_trigger_gets_one_decision_that_carries_its_numbers(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = ScriptedCamera()
    with station(tmp_path, tiny_bundle, camera, **SOFTWARE) as stand:
        stand.state("Ready")
        for number in range(1, 4):
            camera.put(bad_picture() if number == 2 else good_picture())
            assert stand.command("trigger", trigger_id=number, part_id=100 + number, encoder=-number).ok
            stand.decided(number)
    said = [(d.trigger_id, d.part_id, d.encoder, d.verdict.value, d.deadline_ms) for d in stand.decisions]
    assert said == [(1, 101, -1, "PASS", 300), (2, 102, -2, "FAIL", 300), (3, 103, -3, "PASS", 300)]


def test_the_picture_of_a_part_is_taken_after_its_trigger(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = ScriptedCamera(live=False)
    with station(tmp_path, tiny_bundle, camera, **SOFTWARE) as stand:
        stand.state("Ready")
        camera.put(frame_now(bad_picture(), 1, "before"))
        stand.command("trigger", trigger_id=1)
        time.sleep(0.05)
        camera.put(frame_now(good_picture(), 2, "after"))
        stand.decided(1)
    assert (stand.decisions[0].frame_id, stand.verdicts) == (2, ["PASS ok"])


def test_a_picture_taken_when_the_part_has_moved_on_is_not_judged(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = ScriptedCamera(live=False)
    trigger = SOFTWARE["trigger"] | {"deadline_ms": 2000, "picture_within_ms": 100}
    with station(tmp_path, tiny_bundle, camera, trigger=trigger) as stand:
        stand.state("Ready")
        stand.command("trigger", trigger_id=1)
        time.sleep(0.2)
        camera.put(frame_now(good_picture(), 1, "late"))
        stand.decided(1)
        stand.command("trigger", trigger_id=2)
        camera.put(frame_now(good_picture(), 2, "in time"))
        stand.decided(2)
    assert stand.verdicts == ["INVALID late", "PASS ok"]


def test_a_trigger_without_a_picture_is_no_image_before_its_deadline(tmp_path: Path, tiny_bundle: Path) -> None:
    with station(tmp_path, tiny_bundle, ScriptedCamera(), **SOFTWARE) as stand:
        stand.state("Ready")
        stand.command("trigger", part_id=7, deadline_ms=120)
        stand.decided(1)
        assert stand.state("Ready").online
    assert stand.verdicts == ["INVALID no_image"]
    assert (stand.decisions[0].part_id, stand.decisions[0].deadline_ms) == (7, 120)
    assert stand.decisions[0].age_ms < 120


def test_triggers_beyond_the_queue_are_invalid_at_once_and_every_one_is_answered(
    tmp_path: Path, unproved: Path
) -> None:
    camera = ScriptedCamera()
    with station(tmp_path, unproved, camera, backend="misbehaving", **SOFTWARE) as stand:
        stand.state("Ready")
        camera.put(cue(250))
        stand.command("trigger", trigger_id=0)
        stand.until(lambda: stand.station.standing.state.value == "SingleExecution", "the hang")
        time.sleep(0.05)
        replies = [stand.command("trigger", trigger_id=number).ok for number in range(1, 11)]
        assert replies == [True] * 8 + [False] * 2
        stand.decided(11)
        time.sleep(0.4)
        stand.read()
    said = {decision.trigger_id: decision.reason for decision in stand.decisions}
    assert len(stand.decisions) == 11
    assert said == dict.fromkeys(range(9), Reason.LATE) | {9: Reason.QUEUE_FULL, 10: Reason.QUEUE_FULL}
    assert [decision.seq for decision in stand.decisions] == list(range(1, 12))
    assert all(decision.age_ms < 300 for decision in stand.decisions)


def test_triggers_while_paused_are_answered_as_not_online(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = ScriptedCamera()
    with station(tmp_path, tiny_bundle, camera, **SOFTWARE) as stand:
        stand.state("Ready")
        assert stand.command("pause").ok
        reply = stand.command("trigger", trigger_id=5)
        assert (reply.ok, reply.error) == (False, "not_online")
        assert stand.decided(1)[0].trigger_id == 5
        stand.state("Halted")
        assert stand.command("resume").ok
        stand.state("Ready")
        camera.put(good_picture())
        assert stand.command("trigger", trigger_id=6).ok
        stand.decided(2)
    assert stand.verdicts == ["INVALID not_online", "PASS ok"]


def test_a_lost_camera_answers_waiting_and_new_triggers_at_once(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = ScriptedCamera()
    recipes = {1: {"bundle": str(tiny_bundle)}}
    trigger = {"mode": "software", "deadline_ms": 5000}
    with station(tmp_path, tiny_bundle, camera, recipes=recipes, trigger=trigger) as stand:
        stand.state("Ready")
        camera.refuses_to_open = True
        stand.command("trigger", trigger_id=1)
        stand.command("trigger", trigger_id=2)
        camera.put(CameraError("pulled out"))
        stand.decided(2)
        assert not stand.state("Error").online
        assert stand.command("trigger", trigger_id=3).error == "no_image"
        stand.decided(3)
        assert "camera is lost" in (stand.command("recipe", recipe=1).error or "")
    assert stand.verdicts == ["INVALID no_image"] * 3
    assert all(decision.age_ms < 2000 for decision in stand.decisions)


def test_an_idle_station_notices_that_its_live_camera_is_gone(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = ScriptedCamera(live=True)
    with station(tmp_path, tiny_bundle, camera, **SOFTWARE) as stand:
        stand.state("Ready")
        camera.put(CameraError("pulled out"))
        assert not stand.state("Error").online
    assert stand.decisions == []


def test_the_end_of_the_pictures_answers_the_part_that_waits(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = ScriptedCamera(endless=False)
    with station(tmp_path, tiny_bundle, camera, **SOFTWARE) as stand:
        stand.told("ready")
        stand.command("trigger", trigger_id=1)
        camera.put(EndOfStream())
        stand.ended()
    assert stand.verdicts == ["INVALID no_image"]


def test_triggers_are_refused_with_the_reason_where_the_line_runs_free(tmp_path: Path, tiny_bundle: Path) -> None:
    with station(tmp_path, tiny_bundle, ScriptedCamera()) as stand:
        reply = stand.command("trigger", trigger_id=1)
        assert not reply.ok
        assert "--trigger software" in (reply.error or "")
    assert stand.decisions == []


def test_triggers_sent_during_a_change_over_are_not_judged_by_a_later_picture(
    tmp_path: Path, unproved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zmq

    from sad_runtime.messages import Command, encode

    recipes = {1: {"bundle": str(unproved)}}
    camera = ScriptedCamera()
    with station(
        tmp_path, unproved, camera, backend="misbehaving", recipes=recipes, warm_recipes=0, **SOFTWARE
    ) as stand:
        stand.state("Ready")
        monkeypatch.setattr(Misbehaving, "opening_s", 0.4)
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        dealer.connect(stand.station.feed.addresses["commands"])
        dealer.send(encode(Command(id=1, op="recipe", recipe=1)))
        time.sleep(0.1)
        dealer.send(encode(Command(id=2, op="trigger", trigger_id=1)))
        assert not stand.state("Preoperational").online
        camera.put(good_picture())
        stand.decided(1)
        dealer.close(linger=0)
        context.term()
    assert stand.verdicts == ["INVALID not_online"]


def test_the_interval_clock_makes_parts(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = ScriptedCamera()
    camera.put(*(good_picture() for _ in range(3)))
    with station(
        tmp_path, tiny_bundle, camera, limit=5, trigger={"mode": "interval", "interval_ms": 60, "deadline_ms": 100}
    ) as stand:
        stand.ended()
    assert stand.verdicts[:5] == ["PASS ok"] * 3 + ["INVALID no_image"] * 2
    assert [decision.trigger_id for decision in stand.decisions[:5]] == [1, 2, 3, 4, 5]
