"""The part in hand when the station is to stop: it gets its decision, however late its own deadline is."""

from __future__ import annotations

import time
from pathlib import Path

from bundles import good_picture
from stations import ScriptedCamera, station


def test_a_part_without_a_picture_and_with_an_hour_left_is_invalid_when_the_station_stops(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    with station(tmp_path, tiny_bundle, ScriptedCamera(), trigger={"mode": "software", "deadline_ms": 200}) as stand:
        stand.state("Ready")
        assert stand.command("trigger", trigger_id=7, deadline_ms=3_600_000).ok
        stand.state("SingleExecution")
        begin = time.monotonic()
        stand.stop.set()
        stand.ended()
        assert time.monotonic() - begin < 3
    assert [(d.trigger_id, d.verdict.value, d.reason.value) for d in stand.decisions] == [(7, "INVALID", "not_online")]


def test_a_part_whose_picture_comes_in_time_is_finished_though_the_station_is_to_stop(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    camera = ScriptedCamera()
    with station(tmp_path, tiny_bundle, camera, trigger={"mode": "software", "deadline_ms": 5000}) as stand:
        stand.state("Ready")
        assert stand.command("trigger", trigger_id=8).ok
        stand.state("SingleExecution")
        stand.stop.set()
        camera.put(good_picture())
        stand.ended()
    assert stand.verdicts == ["PASS ok"]
