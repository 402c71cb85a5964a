"""GigE Vision cameras that lose packets, die, or belong to somebody else: a fake camera for each."""

from __future__ import annotations

import time

import pytest

from peers.fake_gige import SERIAL, fake_camera, why_no_aravis
from sad_runtime.cameras.base import Camera, Frame, Setting
from sad_runtime.cameras.table import raw_camera_for
from sad_runtime.errors import CameraError

URI = f"gige://{SERIAL}"
ON_SOFTWARE: dict[str, Setting] = {"TriggerSelector": "FrameStart", "TriggerMode": True, "TriggerSource": "Software"}

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _aravis_here() -> None:
    if reason := why_no_aravis():
        pytest.skip(reason)


def frames(camera: Camera, count: int) -> list[Frame]:
    taken = [camera.grab(2.0) for _ in range(count)]
    assert None not in taken
    return [frame for frame in taken if frame is not None]


def test_a_camera_that_another_program_holds_is_not_stolen() -> None:
    # Aravis takes five seconds to let go of a camera that it does not control.
    with fake_camera(), raw_camera_for(URI) as camera:
        with pytest.raises(CameraError, match="another program holds it"):
            raw_camera_for(URI).open()
        frames(camera, 2)


def test_lost_packets_make_incomplete_frames_that_are_all_delivered() -> None:
    with fake_camera("-r", "5"), raw_camera_for(URI) as camera:
        taken = frames(camera, 100)
    broken = [frame for frame in taken if not frame.complete]
    assert 20 < len(broken) < 90
    assert all(frame.picture is None and "missing packets" in frame.source for frame in broken)
    assert [frame.frame_id for frame in taken] == list(range(100))


def test_a_camera_that_dies_is_an_error_within_its_heartbeat() -> None:
    with fake_camera() as process, raw_camera_for(URI, ON_SOFTWARE) as camera:
        process.kill()
        died_s = time.monotonic()
        with pytest.raises(CameraError, match="no longer answers"):
            camera.grab(15.0)
        assert time.monotonic() - died_s < 10
