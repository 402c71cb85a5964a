"""The grabber process: newest or in order, not copied, watched from outside, and gone when its station is gone."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from bundles import good_picture
from sad_runtime.cameras.base import Camera, EndOfStream, Frame
from sad_runtime.cameras.grabber.grabbed import MOST_LENT, Grabbed
from sad_runtime.cameras.grabber.link import Ended, Free, Link, Taken
from sad_runtime.cameras.table import camera_for, raw_camera_for
from sad_runtime.errors import CameraError, DataError
from sad_runtime.faults.schedule import Schedule
from sad_runtime.pictures import encode_png

FAST = "demo:washer?fps=100&drop=1&size=64&defects=0"


@contextmanager
def grabbed(uri: str = FAST, *, waiting: int = 1, inject: str = "") -> Iterator[Grabbed]:
    camera = camera_for(uri, waiting=waiting, faults=Schedule(inject, time.monotonic_ns()))
    assert isinstance(camera, Grabbed)
    with camera:
        yield camera


def next_frame(camera: Camera, timeout_s: float = 5.0) -> Frame:
    frame = camera.grab(timeout_s)
    assert frame is not None
    return frame


def all_of(camera: Camera) -> None:
    """Until it is lost."""
    while True:
        camera.grab(1.0)


def test_pictures_cross_as_they_are_with_their_numbers_and_times(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encode_png(good_picture(number)))
    with grabbed(f"folder:{tmp_path}?drop=1&fps=20", waiting=8) as camera:
        frames = [next_frame(camera) for _ in range(3)]
        with pytest.raises(EndOfStream):
            camera.grab(5.0)
    for number, frame in enumerate(frames):
        assert frame.frame_id == number
        assert frame.source == f"{number}.png"
        assert 0 < time.monotonic_ns() - frame.mono_ns < 10_000_000_000
        np.testing.assert_array_equal(frame.picture, good_picture(number))


def test_the_newest_picture_wins_and_the_hole_shows_in_the_numbers() -> None:
    with grabbed() as camera:
        first = next_frame(camera)
        time.sleep(0.5)
        late = next_frame(camera)
        assert (time.monotonic_ns() - late.mono_ns) / 1e6 < 300
    assert late.frame_id - first.frame_id > 2


def test_in_order_nothing_is_passed_over_while_there_is_room() -> None:
    with grabbed("demo:washer?fps=50&drop=1&size=64", waiting=16) as camera:
        first = next_frame(camera)
        time.sleep(0.2)
        numbers = [next_frame(camera).frame_id for _ in range(8)]
    assert numbers == list(range(first.frame_id + 1, first.frame_id + 9))


def test_in_order_what_finds_no_room_is_a_hole_never_a_picture_that_is_too_old() -> None:
    with grabbed("demo:washer?fps=100&drop=1&size=64", waiting=4) as camera:
        first = next_frame(camera)
        time.sleep(1.5)
        numbers = [next_frame(camera).frame_id for _ in range(24)]
    steps = np.diff([first.frame_id, *numbers])
    assert (steps >= 1).all()
    assert steps.max() > 3


def test_a_few_pictures_are_lent_and_more_are_copied_so_that_the_camera_never_runs_dry() -> None:
    with grabbed() as camera:
        held = [next_frame(camera) for _ in range(3 * MOST_LENT)]
        kept = [np.array(frame.picture) for frame in held]
        for _ in range(20):
            next_frame(camera)
        for frame, copy in zip(held, kept, strict=True):
            np.testing.assert_array_equal(frame.picture, copy)


def test_a_part_of_a_picture_keeps_it_from_being_written_over() -> None:
    with grabbed() as camera:
        corner = next_frame(camera).picture[10:20, 10:20]  # type: ignore[index]
        before = corner.copy()
        gc.collect()
        for _ in range(20):
            next_frame(camera)
        np.testing.assert_array_equal(corner, before)
    np.testing.assert_array_equal(corner, before)


def test_pictures_cannot_be_written_to() -> None:
    with grabbed() as camera:
        picture = next_frame(camera).picture
        assert picture is not None
        with pytest.raises(ValueError, match="read-only"):
            picture[0, 0] = 1


def test_a_picture_larger_than_those_before_comes_through(tmp_path: Path) -> None:
    for number, side in enumerate((32, 200, 64)):
        (tmp_path / f"{number}.png").write_bytes(encode_png(np.full((side, side), side, np.uint8)))
    with grabbed(f"folder:{tmp_path}?drop=1&fps=20", waiting=8) as camera:
        frames = [next_frame(camera) for _ in range(3)]
        sides = [(frame.picture.shape[0], int(frame.picture.max())) for frame in frames if frame.picture is not None]
    assert sides == [(32, 32), (200, 200), (64, 64)]


def test_a_hanging_driver_holds_nobody_up_and_its_process_is_ended() -> None:
    with grabbed(inject="hang@3s") as camera:
        process = psutil.Process(camera.process_id)
        end_s = time.monotonic() + 10
        while camera.grab(0.5) is not None:
            assert time.monotonic() < end_s
        began_s = time.monotonic()
        assert camera.grab(0.1) is None
        assert time.monotonic() - began_s < 0.5
        began_s = time.monotonic()
    assert time.monotonic() - began_s < 4
    assert not process.is_running()


def test_a_driver_that_crashes_is_a_lost_camera_and_opens_again() -> None:
    with grabbed() as camera:
        next_frame(camera)
        assert camera.process_id
        os.kill(camera.process_id, signal.SIGKILL)
        with pytest.raises(CameraError, match="its process ended"):
            all_of(camera)
        camera.open()
        next_frame(camera)


def test_what_opening_says_reaches_the_caller(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder"):
        camera_for(f"folder:{tmp_path}/nowhere?drop=1").open()
    with pytest.raises(CameraError, match="there is no /dev/video63"):
        camera_for("63").open()


def test_an_unplugged_camera_is_told_and_comes_back() -> None:
    camera = camera_for(FAST, faults=Schedule("unplug@3s+1.5s", time.monotonic_ns()))
    with camera:
        with pytest.raises(CameraError, match="unplugged"):
            all_of(camera)
        with pytest.raises(CameraError, match="unplugged"):
            camera.open()
        time.sleep(1.8)
        camera.open()
        next_frame(camera)


def test_closed_means_no_process_no_thread_no_descriptor() -> None:
    with grabbed() as camera:
        next_frame(camera)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        with grabbed() as camera:
            next_frame(camera)
            process = camera.process_id
        assert process
        assert not psutil.pid_exists(process)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


STATION = """
import sys, time
from sad_runtime.cameras.table import camera_for
from sad_runtime.faults.schedule import Schedule
camera = camera_for(sys.argv[1], faults=Schedule(sys.argv[2], time.monotonic_ns()))
camera.open()
camera.grab(5.0)
time.sleep(1.5)
print(camera.process_id, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("inject", ["", "hang@1s"])
def test_a_killed_station_leaves_no_grabber_behind(inject: str) -> None:
    with subprocess.Popen([sys.executable, "-c", STATION, FAST, inject], stdout=subprocess.PIPE) as station:
        assert station.stdout
        grabber = int(station.stdout.readline())
        station.kill()
    end_s = time.monotonic() + 5
    while psutil.pid_exists(grabber) and psutil.Process(grabber).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end_s, "the grabber lives on"
        time.sleep(0.05)


def test_a_camera_that_is_not_live_is_read_where_it_is_asked(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(good_picture()))
    assert not isinstance(camera_for(f"folder:{tmp_path}"), Grabbed)
    assert raw_camera_for(f"folder:{tmp_path}?drop=1").live


def test_a_driver_that_hangs_is_told_though_the_camera_may_keep_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A triggered camera has no time after which it counts as silent."""
    monkeypatch.setattr("sad_runtime.cameras.grabber.grabbed.HANGS_S", 1.0)
    with grabbed(inject="hang@2s") as camera, pytest.raises(CameraError, match="its driver hangs"):
        all_of(camera)


def test_the_last_words_are_heard_though_ours_were_not_read() -> None:
    """Linux says ECONNRESET before it gives out what still lies in the queue."""
    ours, theirs = (Link(end) for end in Link.pair())
    assert ours.say(Free(1, 0))
    for number in range(3):
        theirs.say(Taken(number, 0, 0, True, "x", 0.0))
    theirs.say(Ended("EndOfStream", "over"))
    theirs.close()
    heard = []
    while (message := ours.hear()) is not None:
        heard.append(type(message[0]).__name__)
    ours.close()
    assert heard == ["Taken", "Taken", "Taken", "Ended"]


def test_pictures_that_nobody_takes_do_not_pile_up(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing of a picture")
    with grabbed(f"folder:{tmp_path}?drop=1&loop=1&fps=500", waiting=4) as camera:
        time.sleep(1.0)
        numbers = []
        while len(numbers) < 5:
            numbers.append(next_frame(camera).frame_id)
    assert numbers[3] > 20, "the oldest gave way"
