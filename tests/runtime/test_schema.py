"""Strict configuration: wrong keys are named, with the nearest right one, however deep they stand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from sad_runtime.errors import ConfigError
from sad_runtime.schema import Strict, parse, read_yaml


class Lamp(Strict):
    brightness: float = 1.0
    file: str = ""


class Camera(Strict):
    uri: str = "demo:cap"
    exposure_us: int = Field(default=100, ge=1)
    lamps: list[Lamp] = []
    spare: Lamp | None = None
    by_name: dict[str, Lamp] = {}
    by_number: Annotated[dict[int, list[Lamp]], Field(max_length=9)] = {}
    pair: tuple[Lamp, ...] = ()


class Line(Strict):
    schema_version: int = Field(default=1, alias="schema")
    camera: Camera = Camera()
    speed: float | None = None


def said(data: object) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(Line, data, "line.yaml")
    assert str(caught.value).startswith("line.yaml: ")
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "key", "near"),
    [
        ({"camra": {}}, "camra", "camera"),
        ({"shema": 1}, "shema", "schema"),
        ({"camera": {"exposure_ms": 5}}, "camera.exposure_ms", "exposure_us"),
        ({"camera": {"lamps": [{}, {"brigthness": 1}]}}, "camera.lamps.1.brigthness", "brightness"),
        ({"camera": {"spare": {"brightnes": 1}}}, "camera.spare.brightnes", "brightness"),
        ({"camera": {"by_name": {"top": {"brightnes": 1}}}}, "camera.by_name.top.brightnes", "brightness"),
        ({"camera": {"by_name": {"file": {"brightnes": 1}}}}, "camera.by_name.file.brightnes", "brightness"),
        ({"camera": {"by_name": {"by_name": {"brightnes": 1}}}}, "camera.by_name.by_name.brightnes", "brightness"),
        ({"camera": {"by_number": {"3": [{"brightnes": 1}]}}}, "camera.by_number.3.0.brightnes", "brightness"),
        ({"camera": {"pair": [{"brightnes": 1}]}}, "camera.pair.0.brightnes", "brightness"),
    ],
)
def test_the_nearest_key_is_offered_at_any_depth(data: object, key: str, near: str) -> None:
    assert f"unknown key '{key}'; did you mean '{near}'?" in said(data)


def test_with_nothing_near_the_known_keys_are_listed() -> None:
    assert "unknown key 'zzz'; known keys: camera, schema, speed" in said({"zzz": 1})
    assert "unknown key 'camera.spare.zzz'; known keys: brightness, file" in said({"camera": {"spare": {"zzz": 1}}})


def test_every_wrong_key_is_named_at_once() -> None:
    text = said({"camra": 1, "camera": {"exposure_us": 0}, "speed": "fast"})
    assert "camra" in text
    assert "'camera.exposure_us'" in text
    assert "(got 0)" in text
    assert "(got 'fast')" in text


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_is_infinite(value: float) -> None:
    assert "finite" in said({"speed": value})
    assert "finite" in said({"camera": {"by_name": {"top": {"brightness": value}}}})


@pytest.mark.parametrize("data", [None, [], "text", 3, [("camera", {})]])
def test_what_is_no_mapping_is_refused(data: object) -> None:
    assert "expected keys and values" in said(data)


def test_a_missing_key_is_named() -> None:
    class Part(Strict):
        name: str

    with pytest.raises(ConfigError, match="'name' is missing"):
        parse(Part, {}, "x")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    )
)
def test_any_data_is_a_record_or_a_config_error(data: object) -> None:
    for candidate in (data, {"camera": data}, {"camera": {"lamps": data, "by_name": data}}):
        try:
            assert isinstance(parse(Line, candidate, "x"), Line)
        except ConfigError:
            continue


def yaml_said(tmp_path: Path, text: str | bytes) -> str:
    path = tmp_path / "line.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        read_yaml(Line, path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_yaml_file_fills_the_record(tmp_path: Path) -> None:
    path = tmp_path / "line.yaml"
    path.write_text("camera:\n  uri: 'demo:cap'\n  lamps: [{brightness: 2}]\n")
    assert read_yaml(Line, path).camera.lamps == [Lamp(brightness=2)]
    path.write_text("# nothing but a comment\n")
    assert read_yaml(Line, path) == Line()


def test_merge_keys_still_work(tmp_path: Path) -> None:
    path = tmp_path / "line.yaml"
    path.write_text("camera:\n  spare: &lamp {brightness: 2, file: a}\n  lamps: [{<<: *lamp, file: b}]\n")
    assert read_yaml(Line, path).camera.lamps == [Lamp(brightness=2, file="b")]


@pytest.mark.parametrize("text", ["speed: 1\nspeed: 2\n", "camera:\n  uri: a\n  uri: b\n", "{speed: 1, speed: 1}"])
def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    assert "twice" in yaml_said(tmp_path, text)
    assert "line " in yaml_said(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "camera: [",
        "a: b: c",
        "\tcamera: 1",
        b"\xff\xfe\x00",
        "speed: 2026-13-45",
        "speed: !!python/object/apply:os.system ['true']",
        "[" * 5000,
        "{[1]: 2}",
        "*nowhere",
    ],
)
def test_what_is_no_yaml_is_refused(tmp_path: Path, text: str | bytes) -> None:
    yaml_said(tmp_path, text)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_yaml(Line, tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_yaml(Line, tmp_path)
