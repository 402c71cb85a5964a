"""GenTL producers through harvesters, against the simulator that the genicam wheel carries."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from sad_runtime.cameras.base import Camera, Frame, Setting
from sad_runtime.cameras.genicam import GenicamCamera
from sad_runtime.cameras.table import raw_camera_for
from sad_runtime.errors import CameraError, ConfigError, MissingExtra, UsageError


@pytest.fixture(scope="module")
def producer() -> Path:
    spec = find_spec("genicam")
    if spec is None or spec.origin is None or find_spec("harvesters") is None:
        pytest.skip("no harvesters; run: pip install 'sad-inspection[camera]'")
    return Path(spec.origin).parent / "viky.cti"


def frames(camera: Camera, count: int) -> list[Frame]:
    taken = [camera.grab(2.0) for _ in range(count)]
    assert None not in taken
    return [frame for frame in taken if frame is not None]


@pytest.mark.parametrize("name", ["1", "VikyTL_DEV_green"])
def test_a_camera_is_found_by_serial_number_and_id_and_delivers(producer: Path, name: str) -> None:
    with raw_camera_for(f"genicam://{name}?cti={producer}") as camera:
        assert (camera.facts["model"], camera.facts["serial"]) == ("Viky", "1")
        assert camera.silent_after_s == 3.0
        taken = frames(camera, 5)
    assert [frame.frame_id for frame in taken] == list(range(5))
    assert all(frame.complete for frame in taken)
    assert taken[0].picture is not None
    assert taken[0].picture.shape == (400, 400, 3)


def test_settings_are_read_back_and_shape_the_picture(producer: Path) -> None:
    with raw_camera_for(f"genicam://1?cti={producer}", {"Width": 200.0, "PixelFormat": "Mono8"}) as camera:
        assert (camera.facts["Width"], camera.facts["PixelFormat"]) == ("200", "Mono8")
        picture = frames(camera, 1)[0].picture
    assert picture is not None
    assert picture.shape == (400, 200)


def test_a_timeout_is_kept_and_gives_nothing(producer: Path) -> None:
    with raw_camera_for(f"genicam://1?cti={producer}") as camera:
        frames(camera, 1)
        assert camera.grab(0.0) is None


def test_a_buffer_that_was_not_filled_is_delivered_as_incomplete(producer: Path) -> None:
    """The simulator loses nothing: what harvesters calls on a loss is called here."""
    with raw_camera_for(f"genicam://1?cti={producer}") as camera:
        assert isinstance(camera, GenicamCamera)
        frames(camera, 1)
        callbacks = camera._acquirer
        callbacks._emit_callbacks(callbacks.Events.INCOMPLETE_BUFFER)
        taken = [camera.grab(0.0), *frames(camera, 1)]
    assert [frame.complete for frame in taken if frame is not None] == [False, True]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("Widht", 200.0, "has no feature Widht; did you mean Width"),
        ("Width", 1e6, "equal or smaller than Max = 800. Mend"),
        ("PixelFormat", "Mono9", "the value is invalid; it takes RGBa8, Mono8"),
        ("AcquisitionStart", True, "holds no value"),
        ("PayloadSize", 5.0, "not writable"),
    ],
)
def test_what_the_camera_refuses_is_told_and_the_camera_given_back(
    producer: Path, name: str, value: Setting, words: str
) -> None:
    with pytest.raises(CameraError, match=words):
        raw_camera_for(f"genicam://1?cti={producer}", {name: value}).open()
    with raw_camera_for(f"genicam://1?cti={producer}") as camera:
        frames(camera, 1)


def test_a_camera_without_trigger_features_takes_no_software_trigger(producer: Path) -> None:
    with (
        raw_camera_for(f"genicam://1?cti={producer}") as camera,
        pytest.raises(CameraError, match="has no TriggerMode"),
    ):
        camera.trigger()


def test_a_camera_that_is_not_there_is_told_with_those_that_are(producer: Path) -> None:
    with pytest.raises(CameraError, match=r"no such camera at viky.cti; there is 0 \(.*1 \(.*2 \("):
        raw_camera_for(f"genicam://77?cti={producer}").open()


def test_it_opens_again_counts_anew_and_closes_twice(producer: Path) -> None:
    camera = raw_camera_for(f"genicam://1?cti={producer}")
    for _ in range(2):
        camera.open()
        assert frames(camera, 1)[0].frame_id == 0
        camera.close()
        camera.close()
    with pytest.raises(CameraError, match="not open"):
        camera.grab(0.1)


def test_a_producer_has_to_be_named_and_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'cti' is missing"):
        raw_camera_for("genicam://1")
    with pytest.raises(UsageError, match=r"no file .*none\.cti.*--list-cameras"):
        raw_camera_for(f"genicam://1?cti={tmp_path}/none.cti")


@pytest.mark.usefixtures("producer")
def test_a_file_that_is_no_producer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.cti").write_text("not a library", encoding="utf-8")
    with pytest.raises(CameraError, match=r"text\.cti"):
        raw_camera_for(f"genicam://1?cti={tmp_path}/text.cti").open()


def test_without_harvesters_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "any.cti").touch()
    monkeypatch.setitem(sys.modules, "genicam", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sad-inspection\[camera\]'"):
        raw_camera_for(f"genicam://1?cti={tmp_path}/any.cti").open()
