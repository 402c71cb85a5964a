"""GigE Vision through Aravis, against its own fake camera on a real socket."""

from __future__ import annotations

import builtins
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from peers.fake_gige import SERIAL, fake_camera, why_no_aravis
from sad_runtime.cameras.base import Camera, Frame, Setting
from sad_runtime.cameras.table import raw_camera_for
from sad_runtime.errors import CameraError, UsageError

URI = f"gige://{SERIAL}"
ON_SOFTWARE: dict[str, Setting] = {"TriggerSelector": "FrameStart", "TriggerMode": True, "TriggerSource": "Software"}


@pytest.fixture(scope="module")
def fake() -> Iterator[subprocess.Popen[bytes]]:
    if reason := why_no_aravis():
        pytest.skip(reason)
    with fake_camera() as process:
        yield process


def frames(camera: Camera, count: int) -> list[Frame]:
    taken = [camera.grab(2.0) for _ in range(count)]
    assert None not in taken
    return [frame for frame in taken if frame is not None]


def settings(**values: Setting) -> dict[str, Setting]:
    """The fake camera keeps what the test before set; every test begins from here."""
    start: dict[str, Setting] = {"TriggerMode": "Off", "PixelFormat": "Mono8", "Width": 512.0, "OffsetX": 0.0}
    return {**start, **values}


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("name", [SERIAL, "127.0.0.1", f"Aravis-Fake-{SERIAL}"])
def test_a_camera_is_found_by_serial_number_address_and_device_id(name: str) -> None:
    with raw_camera_for(f"gige://{name}", settings()) as camera:
        assert camera.facts["serial"] == SERIAL
        assert (camera.facts["vendor"], camera.facts["model"]) == ("Aravis", "Fake")
        assert frames(camera, 1)[0].complete


@pytest.mark.usefixtures("fake")
def test_frames_come_counted_from_0_and_timed_within_their_way() -> None:
    with raw_camera_for(URI, settings()) as camera:
        taken = frames(camera, 10)
        now_ns = time.monotonic_ns()
    assert [frame.frame_id for frame in taken] == list(range(10))
    assert all(frame.complete and frame.picture is not None for frame in taken)
    times_ns = [frame.mono_ns for frame in taken]
    assert now_ns - 2_000_000_000 < min(times_ns) < max(times_ns) <= now_ns
    apart_ms = np.diff(times_ns[3:]) / 1e6
    assert 30 < float(np.median(apart_ms)) < 50  # 25 pictures a second


@pytest.mark.usefixtures("fake")
def test_settings_are_read_back_into_facts_and_shape_the_picture() -> None:
    asked = settings(Width=320.0, OffsetX=64.0, PixelFormat="RGB8", ExposureTimeAbs=5000.0)
    with raw_camera_for(URI, asked) as camera:
        assert {name: camera.facts[name] for name in asked} == {
            "TriggerMode": "Off",
            "PixelFormat": "RGB8",
            "Width": "320",
            "OffsetX": "64",
            "ExposureTimeAbs": "5000",
        }
        picture = frames(camera, 1)[0].picture
    assert picture is not None
    assert picture.shape == (512, 320, 3)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ExposureTime", 5000.0, "has no feature ExposureTime; did you mean ExposureTimeAbs"),
        ("Width", 1e6, "greater than allowed maximum"),
        ("PixelFormat", "Mono9", "it takes BayerBG8,.* Mono8"),
        ("TriggerSoftware", True, "holds no value"),
        ("DeviceID", "another", "read only"),
    ],
)
def test_what_the_camera_refuses_is_told(name: str, value: Setting, words: str) -> None:
    with pytest.raises(CameraError, match=words):
        raw_camera_for(URI, settings(**{name: value})).open()


@pytest.mark.usefixtures("fake")
def test_a_camera_that_refused_a_setting_was_given_back() -> None:
    camera = raw_camera_for(URI, settings(Width=1e6))
    with pytest.raises(CameraError):
        camera.open()
    with raw_camera_for(URI, settings()) as second:
        frames(second, 1)


@pytest.mark.usefixtures("fake")
def test_a_software_trigger_gives_one_picture_and_silence_before_and_after() -> None:
    with raw_camera_for(URI, settings(**ON_SOFTWARE)) as camera:
        assert camera.silent_after_s is None
        assert camera.grab(0.2) is None
        for number in range(3):
            camera.trigger()
            assert frames(camera, 1)[0].frame_id == number
        assert camera.grab(0.2) is None


@pytest.mark.usefixtures("fake")
def test_a_camera_that_runs_free_takes_no_software_trigger() -> None:
    with raw_camera_for(URI, settings()) as camera:
        assert camera.silent_after_s == 3.0
        with pytest.raises(CameraError, match="TriggerMode is Off"):
            camera.trigger()


@pytest.mark.usefixtures("fake")
def test_a_camera_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(CameraError, match=rf"no such GigEVision camera; there is {SERIAL} \(Aravis Fake\)"):
        raw_camera_for("gige://4711").open()
    with pytest.raises(CameraError, match=r"no such USB3Vision camera; there is none.*udev"):
        raw_camera_for(f"usb3://{SERIAL}").open()


@pytest.mark.usefixtures("fake")
def test_it_opens_again_counts_anew_and_closes_twice() -> None:
    camera = raw_camera_for(URI, settings())
    for _ in range(2):
        camera.open()
        assert frames(camera, 1)[0].frame_id == 0
        camera.close()
        camera.close()
    with pytest.raises(CameraError, match="not open"):
        camera.grab(0.1)


def test_without_pygobject_the_packages_and_the_venv_s_way_to_them_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[..., Any] = builtins.__import__

    def without_gi(name: str, *rest: Any) -> Any:
        if name == "gi":
            raise ModuleNotFoundError("No module named 'gi'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_gi)
    with pytest.raises(
        UsageError, match=r"apt-get install gir1.2-aravis-0.8 python3-gi.*ln -s /usr/lib/python3"
    ) as told:
        raw_camera_for("gige://1").open()
    assert str(told.value).endswith("site-packages/gi")


def test_the_module_loads_without_pygobject() -> None:
    code = "import sys; import sad_runtime.cameras.aravis; sys.exit('gi' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
