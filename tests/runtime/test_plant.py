"""Several stations from one file: what is shared, what is moved, and what two of them must not share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sad_runtime.cameras.uri import device_of
from sad_runtime.errors import ConfigError, UsageError
from sad_runtime.schema import yaml_values
from sad_runtime.station.config import StationConfig, TriggerMode
from sad_runtime.station.plant import is_plant, plant_from, station_of

ROOT = Path(__file__).parents[2]


def plant(stations: Any, **shared: Any) -> dict[str, StationConfig]:
    return plant_from({"stations": stations, **shared}, "plant.yaml")


def test_a_station_has_what_is_shared_and_its_own_wins_key_by_key() -> None:
    found = plant(
        {"a": None, "b": {"trigger": {"mode": "software"}, "recipes": {2: {"bundle": "two.sad"}}}},
        trigger={"deadline_ms": 200, "queue": 4},
        recipes={1: {"bundle": "one.sad"}},
    )
    assert list(found) == ["a", "b"]
    assert (found["a"].station, found["b"].station) == ("a", "b")
    assert (found["a"].trigger.mode, found["b"].trigger.mode) == (TriggerMode.FREE, TriggerMode.SOFTWARE)
    assert {config.trigger.deadline_ms for config in found.values()} == {200}
    assert list(found["a"].recipes) == [1]
    assert list(found["b"].recipes) == [1, 2]


def test_each_station_has_the_ports_of_the_one_before_plus_ten() -> None:
    found = plant({"a": None, "b": None, "c": None}, metrics={"address": "127.0.0.1:9105"})
    assert [config.feed.decisions for config in found.values()] == [
        [f"tcp://127.0.0.1:{port}"] for port in (5555, 5565, 5575)
    ]
    assert found["c"].feed.heatmaps == ["tcp://127.0.0.1:5576"]
    assert found["c"].feed.snapshot == ["tcp://127.0.0.1:5577"]
    assert found["c"].feed.commands == []
    assert [config.metrics.address for config in found.values()] == [f"127.0.0.1:{port}" for port in (9105, 9115, 9125)]


def test_an_address_that_a_station_names_itself_is_not_moved() -> None:
    own = {"decisions": ["tcp://127.0.0.1:6000"], "heatmaps": "ipc:///run/b.ipc"}
    found = plant({"a": None, "b": {"feed": own, "metrics": {"address": "127.0.0.1:9200"}}})["b"]
    assert found.feed.decisions == ["tcp://127.0.0.1:6000"]
    assert found.feed.heatmaps == ["ipc:///run/b.ipc"]
    assert found.feed.snapshot == ["tcp://127.0.0.1:5567"]
    assert found.metrics.address == "127.0.0.1:9200"


CLASHES: list[tuple[Any, dict[str, Any], str]] = [
    (
        {"a": {"camera": {"uri": "0"}}, "b": {"camera": {"uri": "/dev/video0"}}},
        {},
        "a: camera 0 and b: camera /dev/video0",
    ),
    ({"a": None, "b": None}, {"camera": {"uri": "rtsp://10.0.0.7/s1"}}, "a: camera rtsp.* and b: camera"),
    (
        {"a": None, "b": None},
        {"camera": {"uri": "rtsp://me:S3cret@10.0.0.7/s1"}},
        r"a: camera rtsp://(?!.*S3cret).* and b: camera",
    ),
    ({"a": {"camera": {"uri": "gige://77"}}, "b": {"camera": {"uri": "genicam://77?cti=x"}}}, {}, "gige://77"),
    (
        {"a": None, "b": {"feed": {"snapshot": "tcp://127.0.0.1:5555"}}},
        {},
        "a: feed.decisions.0.*and b: feed.snapshot.0",
    ),
    ({"a": {"feed": {"heatmaps": "tcp://127.0.0.1:5555"}}}, {}, "a: feed.decisions.0.*and a: feed.heatmaps.0"),
    ({"a": None, "b": None}, {"feed": {"commands": "ipc:///run/c.ipc"}}, "ipc:///run/c.ipc"),
    ({"a": None, "b": {"metrics": {"address": "0.0.0.0:5556"}}}, {}, "feed.heatmaps.0.*metrics.address"),
    ({"a": {"state": "/x"}, "b": {"state": "/x/a/pictures"}}, {}, "station b.*lies in that of a"),
]


@pytest.mark.parametrize(("stations", "shared", "said"), CLASHES)
def test_what_two_stations_would_both_take_is_refused_with_both_named(
    stations: Any, shared: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        plant(stations, **shared)


def test_rendered_parts_and_folders_may_be_shown_to_several() -> None:
    assert len(plant({"a": None, "b": None}, camera={"uri": "demo:washer"})) == 2
    assert device_of("folder:parts?fps=5") is device_of("line.MP4") is device_of("video:x") is None


def test_a_name_by_id_is_the_device_that_it_leads_to(tmp_path: Path) -> None:
    assert device_of("/dev/../dev/null") == device_of("/dev/null")
    assert device_of("007") == device_of("/dev/video7")
    assert device_of("rtsp://a/1") != device_of("rtsp://a/2")


WRONG: list[tuple[Any, str]] = [
    ({"stations": []}, "expected names"),
    ({"stations": {}}, "expected names"),
    ({"stations": None}, "expected names"),
    ({"stations": {"a": 5}}, r"stations\.a: expected keys and values"),
    ({"stations": {"a": {"station": "b"}}}, "leave 'station' out"),
    ({"stations": {"a": None}, "station": "a"}, "the names are the keys"),
    ({"stations": {"a b": None}}, "station"),
    ({"stations": {"a": {"trigger": {"deadlin_ms": 5}}}}, r"stations\.a: .*did you mean 'deadline_ms'"),
    ({"stations": {"a": None}, "tigger": {}}, "did you mean 'trigger'"),
    ({"stations": {"a": {"feed": 5}}}, "feed"),
    ({"stations": {"a": {"feed": {"decisions": ["tcp://127.0.0.1:99999"]}}}}, "65535"),
    ({"stations": {"a": {"metrics": {"address": "9105"}}}}, "not an address"),
    ({"stations": {"a": None, "b": None}, "feed": {"decisions": ["tcp://127.0.0.1:65530"]}}, "65535"),
]


@pytest.mark.parametrize(("values", "said"), WRONG)
def test_what_is_no_plant_is_refused_with_the_place_named(values: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        plant_from(values, "plant.yaml")
    assert "plant.yaml" in str(refused.value)


def test_a_station_that_is_not_there_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'line1'"):
        station_of(plant({"line1": None, "line2": None}), "lin1")


def test_the_file_of_one_station_is_no_plant() -> None:
    assert not is_plant(yaml_values(ROOT / "configs/station.yaml"))
    assert not is_plant([])
    shipped = plant_from(yaml_values(ROOT / "configs/plant.yaml"), "plant.yaml")
    assert list(shipped) == ["line1", "line2"]
