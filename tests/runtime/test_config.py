"""The station's file: every shipped one loads, every key is shown, every mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sad_runtime.cameras.table import camera_for
from sad_runtime.errors import ConfigError, UsageError
from sad_runtime.feed.address import shifted
from sad_runtime.presets import preset_path, presets
from sad_runtime.schema import Strict, parse, read_yaml
from sad_runtime.station.config import StationConfig, TriggerMode
from sad_runtime.station.selection import wanted_recipe

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("station*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_station_loads_and_its_camera_is_one(path: Path) -> None:
    config = read_yaml(StationConfig, path)
    assert config.camera.uri is not None
    camera_for(config.camera.uri, config.camera.settings)


def test_the_shipped_station_shows_every_key_with_its_default_and_a_comment() -> None:
    text = (CONFIGS / "station.yaml").read_text()
    shown = yaml.safe_load(text)
    assert set(shown) == set(StationConfig.model_fields)
    for name, field in StationConfig.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Strict):
            assert set(shown[name]) == set(field.annotation.model_fields), name
    config = parse(StationConfig, shown, "station.yaml")
    assert config == StationConfig().model_copy(update={"camera": config.camera})
    assert config.camera.uri == "0"
    for line in text.splitlines():
        if ":" in line and not line.strip().startswith("#") and "tcp" not in line:
            assert "#" in line or line.rstrip().endswith(":") or "snapshot" in line, line


def test_the_shipped_station_with_a_plc_shows_every_key_of_every_way() -> None:
    shown = yaml.safe_load((CONFIGS / "station-plc.yaml").read_text())["plc"]
    config = parse(StationConfig, {"plc": shown}, "station-plc.yaml").plc
    assert set(shown) == set(type(config).model_fields)
    for name in ("source", *config.ways):
        assert set(shown[name]) == set(type(getattr(config, name)).model_fields), name


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"triger": {}}, "unknown key 'triger'; did you mean 'trigger'"),
        ({"trigger": {"deadline": 5}}, "did you mean 'deadline_ms'"),
        ({"trigger": {"mode": "sofware"}}, "trigger.mode"),
        ({"trigger": {"deadline_ms": 0}}, "trigger.deadline_ms"),
        ({"trigger": {"mode": "interval"}}, "needs interval_ms"),
        ({"journal": {"sync": "off"}}, "journal.sync"),
        ({"station": "line 1"}, "station"),
        ({"station": "../x"}, "station"),
        ({"active_recipe": 3}, "active_recipe 3 is not among the recipes"),
        ({"recipes": {0: {"bundle": "a.sad"}}}, "PLCs want 1 to 65535"),
        ({"recipes": {1: {"bundel": "a.sad"}}}, "did you mean 'bundle'"),
        ({"pictures": {"keep": ["MAYBE"]}}, "pictures.keep"),
        ({"feed": {"decisions": "tcp://127.0.0.1:5555"}}, "feed.decisions"),
    ],
)
def test_a_mistake_is_named_with_its_place(values: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(StationConfig, values, "station.yaml")


def test_an_empty_file_is_a_station_with_all_defaults(tmp_path: Path) -> None:
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    config = read_yaml(StationConfig, tmp_path / "empty.yaml")
    assert (config.station, config.trigger.mode, config.trigger.deadline_ms) == ("line1", TriggerMode.FREE, 1000)


def test_a_preset_is_found_by_name_and_a_mistyped_one_is_answered() -> None:
    assert preset_path("station-demo") == CONFIGS / "station-demo.yaml"
    with pytest.raises(UsageError, match="did you mean 'station-demo'"):
        preset_path("station-dmo")
    assert "station" in presets(CONFIGS)


def test_a_bundle_named_goes_before_the_recipes(tmp_path: Path) -> None:
    config = parse(StationConfig, {"recipes": {2: {"bundle": "two.sad"}}, "active_recipe": 2}, "test")
    assert wanted_recipe(config, Path("named.sad"), tmp_path) == (
        0,
        wanted_recipe(config, Path("named.sad"), tmp_path)[1],
    )
    assert wanted_recipe(config, None, tmp_path)[0] == 2
    assert wanted_recipe(config, None, tmp_path)[1].bundle == "two.sad"


def test_the_only_recipe_or_the_only_bundle_needs_no_naming(tmp_path: Path) -> None:
    one = parse(StationConfig, {"recipes": {7: {"bundle": "seven.sad"}}}, "test")
    assert wanted_recipe(one, None, tmp_path)[0] == 7
    (tmp_path / "only.sad").touch()
    assert wanted_recipe(StationConfig(), None, tmp_path)[1].bundle == str(tmp_path / "only.sad")


def test_no_bundle_or_too_many_end_with_the_next_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"sad-export runs/NAME --out NAME\.sad"):
        wanted_recipe(StationConfig(), None, tmp_path)
    for name in ("a.sad", "b.sad"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match=r"which of a\.sad, b\.sad\? Add --bundle a\.sad"):
        wanted_recipe(StationConfig(), None, tmp_path)


def test_ports_of_the_next_station_of_a_box_are_shifted() -> None:
    assert shifted("tcp://127.0.0.1:5555", 10) == "tcp://127.0.0.1:5565"
    assert shifted("tcp://127.0.0.1:*", 10) == "tcp://127.0.0.1:*"
    assert shifted("ipc:///run/x", 10) == "ipc:///run/x"
    assert shifted("", 10) == ""
