"""The station's eye: the right camera, also after a plug was pulled; good pictures before it counts as back."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from bundles import good_picture
from sad_runtime.cameras.base import Setting, frame_now
from sad_runtime.errors import CameraError
from sad_runtime.station.sight import GOOD_FRAMES, Sight
from stations import ScriptedCamera, station


class Named(ScriptedCamera):
    def __init__(self, serial: str = "7", silent_after_s: float | None = 0.2) -> None:
        super().__init__(live=True, silent_after_s=silent_after_s)
        self.facts = {"vendor": "acme", "model": "eye", "serial": serial, "ExposureTime": "200"}


def tries(sight: Sight, most: int) -> tuple[bool, list[str]]:
    told: list[str] = []
    left = iter(range(most))
    back = sight.reopen(lambda _: next(left, None) is not None, lambda: None, told.append)
    return back, told


def test_another_camera_than_expected_is_refused_at_the_start() -> None:
    with pytest.raises(CameraError, match="serial is 7, this station expects 8"):
        Sight(Named(), expect={"serial": "8"}).open()
    with pytest.raises(CameraError, match="firmware is not told"):
        Sight(Named(), expect={"firmware": "1.2"}).open()
    Sight(Named(), expect={"serial": "7", "model": "eye"}).open()


def test_another_camera_after_a_plug_was_pulled_is_refused_until_the_first_is_back() -> None:
    camera = Named()
    sight = Sight(camera)
    sight.open()
    camera.facts = camera.facts | {"serial": "9"}
    back, told = tries(sight, 3)
    assert not back
    assert len(told) == 1, "the same reason is told once"
    assert "serial is 9, this station expects 7" in told[0]
    camera.facts = camera.facts | {"serial": "7"}
    camera.put(*(good_picture(number) for number in range(GOOD_FRAMES)))
    assert tries(sight, 1) == (True, [])


def test_a_camera_counts_as_back_after_good_pictures_of_its_own_size_only() -> None:
    camera = Named()
    sight = Sight(camera)
    sight.open()
    assert sight.fits(frame_now(good_picture(), 0, "first"))
    camera.put(good_picture(), np.zeros((8, 8, 3), np.uint8), good_picture())
    assert not tries(sight, 1)[0]
    camera.script.queue.clear()
    camera.put(*(good_picture(number) for number in range(GOOD_FRAMES)))
    assert tries(sight, 1)[0]


def test_a_camera_that_may_keep_silent_is_back_once_it_is_open() -> None:
    sight = Sight(Named(silent_after_s=None))
    sight.open()
    assert tries(sight, 1)[0]


def test_the_digest_changes_with_any_setting() -> None:
    camera = Named()
    before = Sight(camera).digest
    camera.facts = camera.facts | {"ExposureTime": "201"}
    assert len(before) == 16
    assert Sight(camera).digest != before
    camera.facts = {}
    assert Sight(camera).digest == ""


def test_decisions_carry_the_digest_and_an_event_tells_what_is_behind_it(tmp_path: Path, tiny_bundle: Path) -> None:
    camera = Named(silent_after_s=None)
    with station(tmp_path, tiny_bundle, camera) as stand:
        stand.state("ContinuousExecution")
        camera.put(good_picture())
        decision = stand.decided(1)[0]
        assert stand.told("camera_open").data["serial"] == "7"
    assert decision.camera == Sight(camera).digest


def test_a_camera_that_takes_software_triggers_is_fired_for_each_part(tmp_path: Path, tiny_bundle: Path) -> None:
    numbers = itertools.count()

    class Fired(Named):
        def trigger(self) -> None:
            self.put(good_picture(next(numbers)))

    camera = Fired(silent_after_s=None)
    camera.facts = camera.facts | {"TriggerMode": "On", "TriggerSource": "Software"}
    with station(tmp_path, tiny_bundle, camera, trigger={"mode": "software"}) as stand:
        stand.state("Ready")
        for number in range(3):
            assert stand.command("trigger", part_id=number).ok
        stand.decided(3)
    assert stand.verdicts == ["PASS ok"] * 3


def test_a_recipe_that_does_not_fit_gives_the_camera_back_with_the_old_settings_or_not_at_all() -> None:
    """Else the old recipe would judge pictures of the new one's exposure."""
    opened: list[float] = []
    refused: list[float] = []

    class Locked(Named):
        def __init__(self, exposure: float) -> None:
            super().__init__(silent_after_s=None)
            self.exposure = exposure

        def open(self) -> None:
            if self.exposure in refused:
                raise CameraError("busy")
            opened.append(self.exposure)

    def camera_with(settings: Mapping[str, Setting]) -> Locked:
        return Locked(float(settings["exposure"]))

    sight = Sight(Locked(1000), settings={"exposure": 1000}, camera_with=camera_with)
    sight.open()
    assert sight.lock_to({"exposure": 9000})
    refused.append(1000)
    sight.go_back({"exposure": 1000})
    assert opened == [1000, 9000], "not opened with the other recipe's settings"
    assert sight.settings == {"exposure": 1000}
    refused.clear()
    assert tries(sight, 1)[0]
    assert opened[-1] == 1000
