"""Staged faults of a camera look as the real ones do."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from bundles import good_picture
from sad_runtime.cameras.base import Camera, Frame, frame_now
from sad_runtime.errors import CameraError
from sad_runtime.faults.camera import FaultyCamera
from sad_runtime.faults.schedule import Schedule
from sad_runtime.preprocess import Picture


class Numbered(Camera):
    """A new picture each time."""

    facts = {"serial": "7"}

    def __init__(self) -> None:
        super().__init__("numbered")
        self._numbers = itertools.count()

    def open(self) -> None:
        """At once."""

    def grab(self, timeout_s: float) -> Frame | None:
        number = next(self._numbers)
        return frame_now(good_picture(number), number, "numbered")

    def close(self) -> None:
        """Nothing to give back."""


def staged(faults: str) -> FaultyCamera:
    return FaultyCamera(Numbered(), Schedule(faults, time.monotonic_ns()))


def pictures(camera: Camera, count: int = 1) -> list[Picture]:
    frames = [camera.grab(1.0) for _ in range(count)]
    return [frame.picture for frame in frames if frame is not None and frame.picture is not None]


def test_without_a_fault_nothing_is_touched() -> None:
    np.testing.assert_array_equal(pictures(staged("dark@60s"))[0], good_picture(0))


def test_a_frozen_camera_counts_on_over_the_same_picture() -> None:
    camera = staged("freeze@0.1s")
    pictures(camera)
    time.sleep(0.12)
    first, second = camera.grab(1.0), camera.grab(1.0)
    assert first is not None
    assert second is not None
    assert second.frame_id == first.frame_id + 1
    np.testing.assert_array_equal(first.picture, second.picture)


@pytest.mark.parametrize(("kind", "low", "high"), [("dark", 0, 6), ("bright", 200, 256)])
def test_light_goes_off_or_too_strong(kind: str, low: float, high: float) -> None:
    assert low <= pictures(staged(f"{kind}@0s"))[0].mean() < high


def test_a_blurred_picture_loses_its_edges() -> None:
    sharp, blurred = good_picture(0).astype(float), pictures(staged("blur@0s"))[0].astype(float)
    assert np.abs(np.diff(blurred, axis=1)).mean() < 0.7 * np.abs(np.diff(sharp, axis=1)).mean()


def test_a_broken_transfer_is_known_and_a_torn_one_is_not() -> None:
    for kind, complete in (("partial", False), ("torn", True)):
        frame = staged(f"{kind}@0s").grab(1.0)
        assert frame is not None
        assert frame.picture is not None
        assert frame.complete is complete
        assert not frame.picture[frame.picture.shape[0] // 2 :].any()


def test_an_unplugged_camera_neither_opens_nor_delivers() -> None:
    camera = staged("unplug@0s")
    for verb in (camera.open, lambda: camera.grab(1.0)):
        with pytest.raises(CameraError, match="unplugged"):
            verb()


def test_another_camera_has_another_serial_number() -> None:
    camera = staged("swap@0s")
    camera.open()
    assert camera.facts["serial"] != "7"


def test_lost_pictures_are_holes_in_the_numbers() -> None:
    camera = staged("drop@0s")
    found = [camera.grab(1.0) for _ in range(9)]
    assert [frame.frame_id for frame in found if frame] == [1, 2, 4, 5, 7, 8]
