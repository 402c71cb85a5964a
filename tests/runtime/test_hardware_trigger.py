"""`trigger: hardware`: every picture is a part, in order; announced or not; out of step never ends in a PASS."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bundles import good_picture
from sad_runtime.cameras.base import Frame, frame_now
from sad_runtime.errors import CameraError, ConfigError
from stations import ScriptedCamera, Stand, station, station_config

HARDWARE = {"mode": "hardware", "deadline_ms": 400}
ANNOUNCED = HARDWARE | {"announced": True, "announce_within_ms": 150, "picture_within_ms": 300}


def frame(number: int) -> Frame:
    return frame_now(good_picture(number), number, f"#{number}")


def camera() -> ScriptedCamera:
    return ScriptedCamera(live=True)


def announce(stand: Stand, scripted: ScriptedCamera, part: int, number: int | None = None) -> None:
    """As a line does it: the PLC tells of the part, and the light barrier fires the camera."""
    assert stand.command("trigger", part_id=part, trigger_id=part).ok
    if number is not None:
        scripted.put(frame(number))


def test_every_picture_is_a_part_and_none_is_passed_over(tmp_path: Path, tiny_bundle: Path) -> None:
    scripted = camera()
    with station(tmp_path, tiny_bundle, scripted, trigger=HARDWARE) as stand:
        stand.state("ContinuousExecution")
        scripted.put(*(frame(number) for number in range(6)))
        found = stand.decided(6)
    assert [one.frame_id for one in found] == list(range(6))
    assert set(stand.verdicts) == {"PASS ok"}


def test_a_hole_in_the_numbers_is_a_part_that_nobody_saw(tmp_path: Path, tiny_bundle: Path) -> None:
    scripted = camera()
    with station(tmp_path, tiny_bundle, scripted, trigger=HARDWARE) as stand:
        stand.state("ContinuousExecution")
        scripted.put(frame(10), frame(13), frame(14))
        stand.decided(5)
    assert stand.verdicts == ["PASS ok", "INVALID no_image", "INVALID no_image", "PASS ok", "PASS ok"]


def test_announced_parts_get_their_own_pictures(tmp_path: Path, tiny_bundle: Path) -> None:
    scripted = camera()
    with station(tmp_path, tiny_bundle, scripted, trigger=ANNOUNCED) as stand:
        stand.state("ContinuousExecution")
        for number in range(4):
            announce(stand, scripted, 700 + number, number)
        found = stand.decided(4)
    assert [(one.part_id, one.frame_id) for one in found] == [(700, 0), (701, 1), (702, 2), (703, 3)]
    assert set(stand.verdicts) == {"PASS ok"}


def test_a_picture_may_come_a_little_before_its_announcement(tmp_path: Path, tiny_bundle: Path) -> None:
    scripted = camera()
    with station(tmp_path, tiny_bundle, scripted, trigger=ANNOUNCED) as stand:
        stand.state("ContinuousExecution")
        scripted.put(frame(0))
        time.sleep(0.02)
        announce(stand, scripted, 1)
        assert stand.decided(1)[0].part_id == 1
    assert stand.verdicts == ["PASS ok"]


def test_a_lost_pulse_is_invalid_and_nothing_is_judged_until_resync(tmp_path: Path, tiny_bundle: Path) -> None:
    scripted = camera()
    with station(tmp_path, tiny_bundle, scripted, trigger=ANNOUNCED) as stand:
        stand.state("ContinuousExecution")
        announce(stand, scripted, 1, 0)
        stand.decided(1)
        announce(stand, scripted, 2)  # the barrier did not fire
        stand.decided(2)
        assert "part 2 got no picture" in stand.told("out_of_step").text
        assert not stand.state("Error").online
        reply = stand.command("trigger", part_id=3)
        assert (reply.ok, reply.error) == (False, "mismatch")
        scripted.put(frame(1))
        stand.decided(4)
        assert stand.verdicts == ["PASS ok", "INVALID mismatch", "INVALID mismatch", "INVALID mismatch"]
        assert stand.command("resync").ok
        stand.state("ContinuousExecution")
        announce(stand, scripted, 4, 2)
        assert stand.decided(5)[4].part_id == 4
    assert stand.verdicts[4] == "PASS ok"


def test_a_picture_that_nobody_announced_is_invalid_and_out_of_step(tmp_path: Path, tiny_bundle: Path) -> None:
    scripted = camera()
    with station(tmp_path, tiny_bundle, scripted, trigger=ANNOUNCED) as stand:
        stand.state("ContinuousExecution")
        scripted.put(frame(0))
        stand.decided(1)
        assert "no part was announced for it" in stand.told("out_of_step").text
    assert stand.verdicts == ["INVALID mismatch"]


def test_a_lost_picture_is_out_of_step(tmp_path: Path, tiny_bundle: Path) -> None:
    scripted = camera()
    with station(tmp_path, tiny_bundle, scripted, trigger=ANNOUNCED) as stand:
        stand.state("ContinuousExecution")
        announce(stand, scripted, 1, 0)
        stand.decided(1)
        announce(stand, scripted, 2)  # its picture was lost on the way
        announce(stand, scripted, 3, 2)
        stand.decided(3)
        stand.told("out_of_step")
    assert stand.verdicts[0] == "PASS ok"
    assert all(one.startswith("INVALID") for one in stand.verdicts[1:])


def test_a_camera_that_is_lost_between_parts_begins_anew(tmp_path: Path, tiny_bundle: Path) -> None:
    scripted = camera()
    with station(tmp_path, tiny_bundle, scripted, trigger=ANNOUNCED) as stand:
        stand.state("ContinuousExecution")
        announce(stand, scripted, 1, 90)
        stand.decided(1)
        scripted.put(CameraError("unplugged"))
        stand.told("camera_back")
        stand.state("ContinuousExecution")
        announce(stand, scripted, 2, 0)
        stand.decided(2)
    assert stand.verdicts == ["PASS ok", "PASS ok"]


def test_without_announcements_a_trigger_command_is_refused(tmp_path: Path, tiny_bundle: Path) -> None:
    with station(tmp_path, tiny_bundle, camera(), trigger=HARDWARE) as stand:
        reply = stand.command("trigger", part_id=1)
    assert not reply.ok
    assert "this station's trigger is 'hardware'" in (reply.error or "")


def test_announcements_go_with_the_hardware_trigger_only() -> None:
    with pytest.raises(ConfigError, match="announced goes with mode hardware"):
        station_config(trigger={"mode": "free", "announced": True})


def test_one_lost_pulse_on_a_fast_line_never_gives_a_part_the_picture_of_the_next(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    """The deadline is longer than the time between two parts, so no deadline tells of it."""
    scripted = camera()
    trigger = ANNOUNCED | {"deadline_ms": 5000, "announce_within_ms": 50, "picture_within_ms": 100}
    with station(tmp_path, tiny_bundle, scripted, trigger=trigger) as stand:
        stand.state("ContinuousExecution")
        announce(stand, scripted, 1, 0)
        stand.decided(1)
        announce(stand, scripted, 2)  # the barrier did not fire
        time.sleep(0.25)
        announced = [stand.command("trigger", part_id=3)]
        scripted.put(frame(1))
        stand.decided(4)
    assert not announced[0].ok
    assert stand.verdicts[0] == "PASS ok"
    assert all(verdict == "INVALID mismatch" for verdict in stand.verdicts[1:])


def test_a_picture_that_falls_into_a_change_over_is_a_part_all_the_same(tmp_path: Path, tiny_bundle: Path) -> None:
    scripted = camera()
    recipes = {1: {"bundle": str(tiny_bundle)}}
    changes = {"trigger": HARDWARE, "recipes": recipes, "active_recipe": 1}
    with station(tmp_path, None, scripted, **changes) as stand:
        stand.state("ContinuousExecution")
        scripted.put(frame(0))
        stand.decided(1)
        first = frame(1)  # taken before the change-over, read after it
        assert stand.command("recipe", recipe=1).ok
        stand.state("ContinuousExecution")
        scripted.put(first, frame(2))
        stand.decided(3)
    assert stand.verdicts == ["PASS ok", "INVALID not_online", "PASS ok"]
