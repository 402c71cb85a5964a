"""Cameras by URI: what each kind delivers, how it ends, and what is said to whoever mistypes one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bundles import good_picture
from sad_runtime.cameras.base import Camera, EndOfStream, Frame
from sad_runtime.cameras.grabber.grabbed import Grabbed
from sad_runtime.cameras.table import camera_for
from sad_runtime.cameras.v4l2 import V4L2Camera
from sad_runtime.errors import CameraError, ConfigError, DataError, UsageError
from sad_runtime.pictures import encode_png


def frames_of(camera: Camera) -> list[Frame]:
    found = []
    with camera:
        while True:
            try:
                frame = camera.grab(1.0)
            except EndOfStream:
                return found
            assert frame is not None
            found.append(frame)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    for number, name in enumerate(("b/2.png", "a.png", "b/1.png")):
        (tmp_path / name).write_bytes(encode_png(good_picture(number)))
    return tmp_path


def test_a_folder_is_read_in_order_with_everything_below_it(pictures: Path) -> None:
    frames = frames_of(camera_for(f"folder:{pictures}"))
    assert [frame.source for frame in frames] == ["a.png", "b/1.png", "b/2.png"]
    assert [frame.frame_id for frame in frames] == [0, 1, 2]
    assert np.array_equal(frames[0].picture, good_picture(1))


def test_a_picture_that_cannot_be_read_is_an_incomplete_frame_in_its_place(pictures: Path) -> None:
    (pictures / "b/1.png").write_bytes((pictures / "b/1.png").read_bytes()[:500])
    frames = frames_of(camera_for(f"folder:{pictures}"))
    assert [frame.complete for frame in frames] == [True, False, True]
    assert frames[1].picture is None
    assert frames[1].source.startswith("b/1.png: truncated")


def test_a_looping_folder_begins_again_and_counts_on(pictures: Path) -> None:
    with camera_for(f"folder:{pictures}?loop=1") as camera:
        frames = [camera.grab(1.0) for _ in range(7)]
    assert [frame.frame_id for frame in frames if frame] == list(range(7))
    assert frames[0]
    assert frames[3]
    assert frames[0].source == frames[3].source
    assert camera.endless


def test_a_folder_keeps_to_its_pictures_per_second_and_never_drops(pictures: Path) -> None:
    with camera_for(f"folder:{pictures}?fps=20") as camera:
        first = camera.grab(1.0)
        assert camera.grab(0.005) is None
        time.sleep(0.15)
        late = [camera.grab(1.0), camera.grab(1.0)]
    assert [frame.frame_id for frame in (first, *late) if frame] == [0, 1, 2]
    assert late[1].mono_ns - late[0].mono_ns > 30_000_000  # type: ignore[union-attr]


def test_a_dropping_folder_imitates_a_camera(pictures: Path) -> None:
    with camera_for(f"folder:{pictures}?fps=50&drop=1") as camera:
        assert camera.live
        time.sleep(1.0)
        newest = camera.grab(1.0)
        assert newest is not None
        assert newest.frame_id == 2
        with pytest.raises(EndOfStream):
            camera.grab(1.0)


def test_a_folder_that_is_not_there_or_has_no_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        camera_for(f"folder:{tmp_path}/nowhere").open()
    with pytest.raises(DataError, match=r"no pictures in .*\.png"):
        camera_for(f"folder:{tmp_path}").open()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "line.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 64))
    for number in range(5):
        writer.write(np.full((64, 64, 3), 40 * number, np.uint8))
    writer.release()
    return path


def test_a_video_is_read_frame_by_frame_to_its_end(video: Path) -> None:
    frames = frames_of(camera_for(str(video)))
    assert [frame.source for frame in frames] == [f"line.avi#{number}" for number in range(5)]
    brightness = [int(frame.picture.mean()) for frame in frames if frame.picture is not None]
    assert np.allclose(brightness, [0, 40, 80, 120, 160], atol=3)


def test_a_video_may_loop_and_a_foreign_file_is_refused(video: Path, tmp_path: Path) -> None:
    with camera_for(f"video:{video}?loop=1") as camera:
        assert [frame.frame_id for frame in (camera.grab(1.0) for _ in range(12)) if frame] == list(range(12))
    (tmp_path / "not.mp4").write_bytes(b"nothing of a film")
    with pytest.raises(DataError, match="cannot read this video"):
        camera_for(f"{tmp_path}/not.mp4").open()


def test_rendered_parts_carry_their_truth_and_come_again_the_same() -> None:
    uri = "demo:washer?defects=0.5&seed=7&fps=0&n=8&size=64"
    frames, again = frames_of(camera_for(uri)), frames_of(camera_for(uri))
    assert [frame.source for frame in frames] == [frame.source for frame in again]
    assert all(np.array_equal(one.picture, two.picture) for one, two in zip(frames, again, strict=True))
    truths = [frame.source.split()[1] for frame in frames]
    assert "good" in truths
    assert any(truth != "good" for truth in truths)
    assert frames[0].source.startswith("demo:washer#0 ")


def test_the_share_of_defective_rendered_parts_is_the_one_asked_for() -> None:
    from sad_runtime.cameras.rendered import DemoOptions, RenderedCamera

    camera = RenderedCamera("demo:washer", "washer", DemoOptions(defects=0.1, seed=3))
    bad = sum(camera.truth(number) != "good" for number in range(2000))
    assert 160 < bad < 240


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("folder:x?fsp=5", "did you mean 'fps'"),
        ("folder:x?fps=fast", "fps"),
        ("folder:x?fps=-1", "fps"),
        ("demo:wascher", "did you mean 'washer'"),
        ("demo:washer?defect=0.1", "did you mean 'defects'"),
        ("fodler:x", "did you mean 'folder'"),
        ("folder:", "nothing after 'folder:'"),
        ("camera", "write one of 0, /dev/v4l/by-id/NAME"),
        ("-1", "not the name of a camera"),
    ],
)
def test_a_mistyped_uri_is_answered_with_the_nearest_right_one(uri: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        camera_for(uri)


def test_a_bare_folder_is_answered_with_how_to_write_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"did you mean folder:{tmp_path}"):
        camera_for(str(tmp_path))


def test_settings_are_for_real_cameras_and_their_names_are_checked() -> None:
    with pytest.raises(UsageError, match="takes no settings"):
        camera_for("demo:washer", {"gain": 1})
    with pytest.raises(UsageError, match="no setting gian"):
        camera_for("0", {"gian": 1})
    assert isinstance(camera_for("0", {"gain": 1}), Grabbed)
    with pytest.raises(ConfigError):
        camera_for("folder:x?speed=1")


def test_an_absent_camera_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="is the camera plugged in"):
        V4L2Camera("7", 7, {}, devices=tmp_path).open()
    (tmp_path / "video2").touch()
    with pytest.raises(CameraError, match=r"There are: .*video2"):
        V4L2Camera("7", 7, {}, devices=tmp_path).open()


class FakeCapture:
    """What cv2.VideoCapture does, with what goes wrong in the field."""

    def __init__(self, *, opens: bool = True, stuck: dict[int, float] | None = None, frames: int = 3) -> None:
        self._opens, self._stuck, self._left = opens, stuck or {}, frames
        self.values: dict[int, float] = {}
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802  OpenCV's name
        return self._opens

    def set(self, key: int, value: float) -> bool:
        self.values[key] = self._stuck.get(key, value)
        return True

    def get(self, key: int) -> float:
        if key == cv2.CAP_PROP_POS_MSEC:
            return (time.monotonic_ns() - 40_000_000) / 1e6
        return self.values.get(key, 0.0)

    def read(self) -> tuple[bool, Any]:
        self._left -= 1
        return (True, good_picture()) if self._left >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


def v4l2(tmp_path: Path, capture: FakeCapture, settings: dict[str, float] | None = None) -> V4L2Camera:
    (tmp_path / "video0").touch()
    return V4L2Camera("0", 0, settings or {}, capture=lambda *_: capture, devices=tmp_path)


def test_the_drivers_own_time_of_a_picture_is_used(tmp_path: Path) -> None:
    with v4l2(tmp_path, FakeCapture()) as camera:
        frame = camera.grab(1.0)
    assert frame is not None
    assert 35 < (time.monotonic_ns() - frame.mono_ns) / 1e6 < 1000


def test_a_camera_that_refuses_a_setting_is_not_used(tmp_path: Path) -> None:
    capture = FakeCapture(stuck={cv2.CAP_PROP_EXPOSURE: 156.0})
    with pytest.raises(CameraError, match=r"refuses exposure = 200 \(it says 156\)"):
        v4l2(tmp_path, capture, {"gain": 4, "exposure": 200}).open()
    assert capture.released
    assert capture.values[cv2.CAP_PROP_EXPOSURE] == 156.0


def test_a_camera_that_is_taken_or_pulled_out_is_lost(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match="does not open"):
        v4l2(tmp_path, FakeCapture(opens=False)).open()
    with v4l2(tmp_path, FakeCapture(frames=0)) as camera, pytest.raises(CameraError, match="unplugged"):
        camera.grab(1.0)
