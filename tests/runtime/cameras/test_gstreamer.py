"""GStreamer pipelines as cameras, through the real library."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from peers.system_gi import why_no_gstreamer
from sad_runtime.cameras.base import Frame
from sad_runtime.cameras.gstreamer import GStreamerCamera
from sad_runtime.cameras.opencv_sink import OpenCvSink, opencv_has_gstreamer
from sad_runtime.cameras.table import raw_camera_for
from sad_runtime.errors import CameraError, UsageError

BLUE, GREEN, RED = 40, 120, 220
COLOUR = f"videotestsrc pattern=solid-color foreground-color=0xff{RED:02x}{GREEN:02x}{BLUE:02x}"

pytestmark = pytest.mark.filterwarnings("ignore:DynamicImporter:ImportWarning")  # gi's importer is of an old kind


@pytest.fixture(autouse=True)
def _gstreamer_here() -> None:
    if reason := why_no_gstreamer():
        pytest.skip(reason)


def first(pipeline: str, settings: dict[str, float] | None = None) -> Frame:
    with raw_camera_for(f"gst:{pipeline}", settings or {}) as camera:
        frame = camera.grab(5.0)
    assert frame is not None
    assert frame.picture is not None
    return frame


def recording(path: Path, values: list[int], *, width: int = 8, height: int = 4, dtype: str = "u1") -> str:
    """A pipeline of pictures of one value each, out of a file at `path`. Rows are padded to four bytes, with ones."""
    pictures = np.full((len(values), height, width + -width % 4), np.iinfo(dtype).max, dtype)
    pictures[:, :, :width] = np.reshape(values, (-1, 1, 1))
    pictures.tofile(path)
    name = {"u1": "gray8", "<u2": "gray16-le"}[dtype]
    return f"filesrc location={path} ! rawvideoparse format={name} width={width} height={height} framerate=100/1"


@pytest.mark.parametrize("name", ["BGR", "RGB", "BGRx", "BGRA", "RGBx", "RGBA"])
def test_every_colour_format_comes_out_as_bgr_whatever_the_padding_of_its_rows(name: str) -> None:
    frame = first(f"{COLOUR} ! video/x-raw,format={name},width=31,height=21")
    assert frame.picture is not None
    assert frame.picture.shape == (21, 31, 3)
    assert (frame.picture == (BLUE, GREEN, RED)).all()


@pytest.mark.parametrize("name", ["rggb", "gbrg", "grbg", "bggr"])
def test_every_bayer_format_is_demosaiced(name: str) -> None:
    frame = first(f"{COLOUR} ! video/x-bayer,format={name},width=30,height=22")
    assert frame.picture is not None
    assert frame.picture.shape == (22, 30, 3)
    assert (frame.picture == (BLUE, GREEN, RED)).all()


def test_grey_pictures_stay_grey(tmp_path: Path) -> None:
    frame = first(recording(tmp_path / "raw", [77], width=7))
    assert frame.picture is not None
    assert frame.picture.shape == (4, 7)
    assert (frame.picture == 77).all()


@pytest.mark.parametrize(("settings", "value"), [({}, 0x0A), ({"bits": 12}, 0xAB), ({"bits": 16}, 0x0A)])
def test_sixteen_bit_pictures_keep_the_high_bits_that_count(
    tmp_path: Path, settings: dict[str, float], value: int
) -> None:
    frame = first(recording(tmp_path / "raw", [0x0ABC], dtype="<u2"), settings)
    assert frame.picture is not None
    assert (frame.picture == value).all()


def test_first_in_first_out_gives_every_picture_once_and_then_the_end(tmp_path: Path) -> None:
    pipeline = recording(tmp_path / "raw", list(range(10, 60)))
    with GStreamerCamera("gst:raw", pipeline, {}, keep=3) as camera:
        time.sleep(0.2)
        frames = [camera.grab(1.0) for _ in range(50)]
        with pytest.raises(CameraError, match="come to its end"):
            camera.grab(1.0)
    assert [frame.frame_id for frame in frames if frame] == list(range(50))
    assert [int(frame.picture[0, 0]) for frame in frames if frame and frame.picture is not None] == list(range(10, 60))


def test_without_keeping_only_the_newest_picture_waits(tmp_path: Path) -> None:
    with GStreamerCamera("gst:raw", recording(tmp_path / "raw", list(range(10, 60))), {}) as camera:
        time.sleep(0.3)
        frame = camera.grab(1.0)
        with pytest.raises(CameraError, match="come to its end"):
            camera.grab(1.0)
    assert frame is not None
    assert frame.picture is not None
    assert int(frame.picture[0, 0]) == 59


def test_a_live_picture_is_stamped_with_its_capture_not_its_arrival() -> None:
    slow = "videotestsrc is-live=true ! video/x-raw,framerate=10/1 ! identity sleep-time=80000"
    with raw_camera_for(f"gst:{slow} ! video/x-raw,format=BGR") as camera:
        for _ in range(3):
            frame = camera.grab(2.0)
        arrived_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        assert camera.facts["live"] == "true"
    assert frame is not None
    assert 80e6 <= arrived_ns - frame.mono_ns < 1e9
    assert abs((wall_ns - frame.captured_ns) - (arrived_ns - frame.mono_ns)) < 20e6


def test_a_recorded_picture_is_stamped_with_its_arrival(tmp_path: Path) -> None:
    with raw_camera_for(f"gst:{recording(tmp_path / 'raw', [1, 2, 3])}") as camera:
        time.sleep(0.2)
        before_ns = time.monotonic_ns()
        frame = camera.grab(1.0)
        assert camera.facts["live"] == "false"
    assert frame is not None
    assert before_ns <= frame.mono_ns <= time.monotonic_ns()


def test_a_camera_that_is_slow_gives_nothing_in_time_and_then_a_picture() -> None:
    with raw_camera_for("gst:videotestsrc is-live=true ! video/x-raw,format=BGR,framerate=2/1") as camera:
        assert camera.grab(3.0) is not None
        since = time.monotonic()
        assert camera.grab(0.15) is None
        assert 0.15 <= time.monotonic() - since < 0.4
        assert camera.grab(3.0) is not None


def test_an_error_inside_the_pipeline_is_told_in_gstreamer_s_words() -> None:
    broken = "videotestsrc is-live=true ! identity name=cable error-after=3 ! video/x-raw,format=BGR"
    said, until_s = "", time.monotonic() + 10
    with raw_camera_for(f"gst:{broken}") as camera:
        while time.monotonic() < until_s:
            try:
                camera.grab(1.0)
            except CameraError as error:
                said = str(error)
                break
    assert "cable: Failed after iterations as requested" in said


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        ("v4l2src device=/dev/video99 ! video/x-raw,format=BGR", "v4l2src0.*Cannot identify device '/dev/video99'"),
        ("filesrc location=/nowhere/line.avi ! decodebin", "Resource not found.*/nowhere/line.avi"),
    ],
)
def test_a_device_that_is_not_there_is_told_when_it_opens(pipeline: str, said: str) -> None:
    with pytest.raises(CameraError, match=said.replace("src0", "src[0-9]+")):
        raw_camera_for(f"gst:{pipeline}").open()


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        ("videotestsrc ! nosuchthing", 'no element "nosuchthing"'),
        ("videotestsrc colour=red", 'no property "colour" in element "videotestsrc"'),
        ("videotestsrc ! ! videoconvert", "syntax error"),
        ("videotestsrc ! video/x-raw,format=BGR,width=wide", "can't handle caps"),
        ('"', "syntax error"),
    ],
)
def test_a_pipeline_that_cannot_be_built_is_refused_with_the_parser_s_words(pipeline: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        raw_camera_for(f"gst:{pipeline}").open()


@pytest.mark.parametrize(
    ("pipeline", "said"),
    [
        ("videotestsrc ! jpegenc", "delivers image/jpeg; this reads GRAY8.*! videoconvert ! video/x-raw,format=BGR"),
        ("videotestsrc ! video/x-raw,format=I420", "delivers video/x-raw I420"),
        ("videotestsrc ! video/x-raw,format=GRAY16_BE", "delivers video/x-raw GRAY16_BE"),
        ("audiotestsrc", "delivers audio/x-raw"),
        ("fakesrc", "bytes that it says nothing of"),
    ],
)
def test_a_format_that_cannot_be_read_is_named(pipeline: str, said: str) -> None:
    with raw_camera_for(f"gst:{pipeline}") as camera, pytest.raises(CameraError, match=said):
        camera.grab(3.0)


@pytest.mark.parametrize(
    ("pipeline", "settings", "said"),
    [
        ("videotestsrc ! appsink name=mine", {}, "leave out the appsink"),
        ("  ! ", {}, "an empty pipeline"),
        ("videotestsrc", {"bits": 9}, "bits takes one of 10, 12, 14, 16"),
        ("videotestsrc", {"gain": 1}, "no setting gain; there are width_px, height_px, bits"),
        ("videotestsrc", {"width_px": -4}, "width_px takes a whole number"),
    ],
)
def test_what_is_wrong_with_the_text_is_said_before_anything_opens(
    pipeline: str, settings: dict[str, float], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        GStreamerCamera("gst:x", pipeline, settings)


def test_another_size_than_expected_is_refused() -> None:
    pipeline = "videotestsrc ! video/x-raw,format=BGR,width=64,height=48"
    assert first(pipeline, {"width_px": 64, "height_px": 48}).picture is not None
    with raw_camera_for(f"gst:{pipeline}", {"height_px": 60}) as camera, pytest.raises(CameraError, match="anyx60"):
        camera.grab(3.0)


def test_a_password_in_a_pipeline_is_shown_nowhere() -> None:
    camera = raw_camera_for("gst:rtspsrc location=rtsp://me:geheim@127.0.0.1:1/x user-pw=geheim ! decodebin")
    assert "geheim" not in camera.uri
    with pytest.raises(CameraError, match="Could not open resource") as said, camera:
        camera.grab(3.0)
    assert "geheim" not in str(said.value) + str(camera.facts)


def test_a_camera_opens_again_after_it_was_closed_or_lost(tmp_path: Path) -> None:
    camera = raw_camera_for(f"gst:{recording(tmp_path / 'raw', [5])}")
    for _ in range(2):
        with camera:
            frame = camera.grab(1.0)
            assert frame is not None
            assert frame.frame_id == 0
            with pytest.raises(CameraError, match="end"):
                camera.grab(1.0)
    camera.close()
    with pytest.raises(CameraError, match="not open"):
        camera.grab(0.1)


def test_without_pygobject_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    if opencv_has_gstreamer():
        assert first("videotestsrc ! video/x-raw,format=GRAY8").picture is not None
        return
    with pytest.raises(
        UsageError, match=r"apt-get install python3-gi gir1\.2.*ln -s /usr/lib/python3/dist-packages/gi"
    ):
        raw_camera_for("gst:videotestsrc").open()


def test_opencv_s_own_sink_says_why_a_pipeline_cannot_be() -> None:
    sink = OpenCvSink("gst:x", "nosuchthing user-pw=geheim", None, "On a Jetson only.")
    with pytest.raises(CameraError, match=r"no element \"nosuchthing\"\. On a Jetson only\."):
        sink.start()
    sink.stop()


def test_opencv_s_own_sink_says_that_it_does_not_open() -> None:
    sink = OpenCvSink("gst:x", "filesrc location=/nowhere ! decodebin", None)
    with pytest.raises(CameraError, match="does not open this pipeline, and does not say why"):
        sink.start()
    sink.stop()
