"""Basler cameras, against pylon's own emulator."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sad_runtime.cameras.base import Camera, Frame, Setting
from sad_runtime.cameras.basler import BaslerCamera
from sad_runtime.cameras.table import raw_camera_for
from sad_runtime.errors import CameraError, MissingExtra

SERIAL = "0815-0000"
URI = f"basler://{SERIAL}"
SMALL: dict[str, Setting] = {"Width": 320.0, "Height": 240.0}
ON_SOFTWARE: dict[str, Setting] = {**SMALL, "TriggerMode": True, "TriggerSource": "Software"}


@pytest.fixture
def _emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """pylon reads this each time it looks for cameras."""
    pytest.importorskip("pypylon", reason="no pypylon; run: pip install 'sad-inspection[camera]'")
    monkeypatch.setenv("PYLON_CAMEMU", "2")


def frames(camera: Camera, count: int) -> list[Frame]:
    taken = [camera.grab(10.0) for _ in range(count)]
    assert None not in taken
    return [frame for frame in taken if frame is not None]


def pylon_of(camera: Camera) -> Any:
    assert isinstance(camera, BaslerCamera)
    return camera._camera


@pytest.mark.usefixtures("_emulator")
def test_frames_come_counted_from_0_and_timed() -> None:
    with raw_camera_for(URI, SMALL) as camera:
        taken = frames(camera, 10)
        assert camera.silent_after_s == 3.0
    assert [frame.frame_id for frame in taken] == list(range(10))
    assert all(frame.complete and frame.picture is not None for frame in taken)
    assert time.monotonic_ns() - 2_000_000_000 < taken[0].mono_ns <= taken[-1].mono_ns <= time.monotonic_ns()
    assert taken[0].picture is not None
    assert taken[0].picture.shape == (240, 320)


@pytest.mark.usefixtures("_emulator")
def test_settings_are_read_back_into_facts_with_vendor_model_and_serial() -> None:
    with raw_camera_for(URI, {**SMALL, "ExposureTimeAbs": 2000.0, "PixelFormat": "BayerRG8"}) as camera:
        facts = dict(camera.facts)
        picture = frames(camera, 1)[0].picture
    assert (facts["vendor"], facts["model"], facts["serial"]) == ("Basler", "Emulation", SERIAL)
    assert (facts["ExposureTimeAbs"], facts["PixelFormat"], facts["ExposureAuto"]) == ("2000", "BayerRG8", "Off")
    assert picture is not None
    assert picture.shape == (240, 320, 3)


@pytest.mark.usefixtures("_emulator")
def test_our_own_pictures_come_through_unchanged(tmp_path: Path) -> None:
    for value in (60, 120, 180):
        cv2.imwrite(str(tmp_path / f"{value}.png"), np.full((240, 320), value, np.uint8))
    own: dict[str, Setting] = {"ImageFilename": str(tmp_path), "ImageFileMode": True, "TestImageSelector": False}
    with raw_camera_for(URI, {**SMALL, **own}) as camera:
        means = [float(np.mean(frame.picture)) for frame in frames(camera, 6) if frame.picture is not None]
    assert sorted(set(means)) == [60, 120, 180]


@pytest.mark.usefixtures("_emulator")
def test_buffers_that_failed_are_delivered_as_incomplete_and_the_count_goes_on() -> None:
    with raw_camera_for(URI, SMALL) as camera:
        frames(camera, 2)
        pylon_of(camera).ForceFailedBufferCount.Value = 2
        pylon_of(camera).ForceFailedBuffer.Execute()
        taken = frames(camera, 8)
    broken = [frame for frame in taken if not frame.complete]
    assert len(broken) == 2
    assert all(frame.picture is None and "incompletely grabbed" in frame.source for frame in broken)
    assert [frame.frame_id for frame in taken] == list(range(2, 10))


@pytest.mark.usefixtures("_emulator")
def test_a_software_trigger_gives_one_picture_and_silence_before_and_after() -> None:
    with raw_camera_for(URI, ON_SOFTWARE) as camera:
        assert camera.silent_after_s is None
        assert camera.grab(0.1) is None
        for number in range(3):
            camera.trigger()
            assert frames(camera, 1)[0].frame_id == number
        assert camera.grab(0.1) is None


@pytest.mark.usefixtures("_emulator")
def test_a_camera_that_runs_free_takes_no_software_trigger() -> None:
    with raw_camera_for(URI, SMALL) as camera, pytest.raises(CameraError, match="TriggerMode is Off"):
        camera.trigger()


@pytest.mark.usefixtures("_emulator")
@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ExposureTim", 5000.0, "has no feature ExposureTim; did you mean ExposureTime"),
        ("Width", 1e6, "must be equal or smaller than Max = 4096"),
        ("PixelFormat", "Mono9", "the value is invalid; it takes Mono8"),
        ("TriggerSoftware", True, "holds no value"),
        ("DeviceModelName", "another", "not writable"),
    ],
)
def test_what_the_camera_refuses_is_told_and_the_camera_given_back(name: str, value: Setting, words: str) -> None:
    with pytest.raises(CameraError, match=words):
        raw_camera_for(URI, {name: value}).open()
    with raw_camera_for(URI, SMALL) as camera:
        frames(camera, 1)


@pytest.mark.usefixtures("_emulator")
def test_a_camera_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(CameraError, match=r"no such Basler camera; there is 0815-0000 \(Emulation\), 0815-0001"):
        raw_camera_for("basler://4711").open()


@pytest.mark.usefixtures("_emulator")
def test_it_opens_again_counts_anew_and_closes_twice() -> None:
    camera = raw_camera_for(URI, SMALL)
    for _ in range(2):
        camera.open()
        assert frames(camera, 1)[0].frame_id == 0
        camera.close()
        camera.close()
    with pytest.raises(CameraError, match="not open"):
        camera.grab(0.1)


def test_without_pypylon_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pypylon", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sad-inspection\[camera\]'"):
        raw_camera_for(URI).open()
