"""Network cameras against a real RTSP server in a process of its own: started, killed and hung."""

from __future__ import annotations

import http.server
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from hanging import hang
from peers.system_gi import why_no_rtsp_server
from sad_runtime.cameras import rtsp, rtsp_answer
from sad_runtime.cameras.rtsp import RtspCamera
from sad_runtime.cameras.rtsp_answer import why_not
from sad_runtime.cameras.table import raw_camera_for
from sad_runtime.errors import CameraError, UsageError

SERVER = Path(__file__).parents[2] / "peers" / "rtsp_server.py"
SECRET = "geheim"

Start = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture(scope="module")
def _has_server() -> None:
    reason = why_no_rtsp_server()
    if reason:
        pytest.skip(f"no RTSP server on this machine: {reason}")


@pytest.fixture
def start(_has_server: None) -> Iterator[Start]:
    """Starts a server; gives its process and its address, `127.0.0.1:PORT`."""
    running: list[subprocess.Popen[str]] = []

    def one(*arguments: str) -> tuple[subprocess.Popen[str], str]:
        server = subprocess.Popen(
            ["/usr/bin/python3", str(SERVER), *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        running.append(server)
        assert server.stdout is not None
        return server, f"127.0.0.1:{server.stdout.readline().split()[1]}"

    yield one
    for server in running:
        server.kill()
        server.communicate()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short patience, so that tests of silence need not last."""
    monkeypatch.setattr(rtsp, "OPEN_MS", 600)
    monkeypatch.setattr(rtsp, "READ_MS", 400)
    monkeypatch.setattr(rtsp_answer, "ANSWER_S", 0.4)


def until_lost(camera: RtspCamera) -> tuple[str, float]:
    """What it says in the end, and after how many seconds."""
    since = time.monotonic()
    while time.monotonic() - since < 20:
        try:
            camera.grab(1.0)
        except CameraError as error:
            return str(error), time.monotonic() - since
    pytest.fail("the camera never said that it was lost")


def test_the_pictures_of_a_network_camera_arrive_whole_and_in_order(start: Start) -> None:
    _, address = start()
    with raw_camera_for(f"rtsp://{address}/cam") as camera:
        frames = [camera.grab(1.0) for _ in range(5)]
        now_ns = time.monotonic_ns()
        facts = dict(camera.facts)
    assert [frame.frame_id for frame in frames if frame] == [0, 1, 2, 3, 4]
    last = frames[-1]
    assert last is not None
    assert last.picture is not None
    assert last.picture.shape == (240, 320, 3)
    assert np.abs(last.picture[:, 8:150].astype(int) - 60).max() <= 4
    assert np.abs(last.picture[:, 170:312].astype(int) - 180).max() <= 4
    assert 0 <= now_ns - last.mono_ns < 1e9
    assert abs(last.captured_ns - time.time_ns()) < 5e9
    assert facts == {"width_px": "320", "height_px": "240", "codec": "h264"}


def test_a_killed_camera_is_noticed_at_once_and_a_new_one_opens(start: Start) -> None:
    server, address = start()
    camera = RtspCamera(f"rtsp://{address}/cam", {})
    camera.open()
    try:
        assert camera.grab(1.0) is not None
        server.kill()
        said, after_s = until_lost(camera)
    finally:
        camera.close()
    assert "no longer delivers pictures" in said
    assert f"Try: ffplay -rtsp_transport tcp 'rtsp://{address}/cam'" in said
    assert after_s < 2
    with pytest.raises(CameraError, match=r"port [0-9]+ is closed"):
        camera.open()
    with RtspCamera(f"rtsp://{start()[1]}/cam", {}) as again:
        assert again.grab(1.0) is not None


def test_a_hung_camera_is_given_up_and_opens_again_once_it_answers(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, address = start()
    monkeypatch.setattr(rtsp, "READ_MS", 500)
    camera = RtspCamera(f"rtsp://{address}/cam", {})
    camera.open()
    try:
        assert camera.grab(1.0) is not None
        hang(server.pid)
        said, after_s = until_lost(camera)
        assert "no longer delivers pictures (silent for 0." in said
        assert 0.5 < after_s < 2
        server.send_signal(signal.SIGCONT)
        camera.open()
        assert camera.grab(1.0) is not None
    finally:
        camera.close()


def test_no_picture_is_held_back_and_comes_late_once_the_camera_hangs(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, address = start()
    monkeypatch.setattr(rtsp, "READ_MS", 500)
    with RtspCamera(f"rtsp://{address}/cam", {}) as camera:
        assert all(camera.grab(1.0) for _ in range(5))
        hang(server.pid)
        waited_s = []
        for _ in range(20):
            since = time.monotonic()
            try:
                camera.grab(1.0)
            except CameraError:
                break
            waited_s.append(time.monotonic() - since)
    assert max(waited_s, default=0.0) < 0.4


def test_passwords_open_the_camera_and_appear_nowhere(start: Start, capfd: pytest.CaptureFixture[str]) -> None:
    _, address = start("--user", f"me:{SECRET}")
    camera = RtspCamera(f"rtsp://me:{SECRET}@{address}/cam", {})
    with camera:
        assert camera.grab(1.0) is not None
        assert SECRET not in str(camera.facts)
    assert camera.uri == f"rtsp://me:***@{address}/cam"
    with pytest.raises(CameraError, match=r"refuses this user and password \(401") as wrong:
        RtspCamera(f"rtsp://me:{SECRET}er@{address}/cam", {}).open()
    with pytest.raises(CameraError, match="asks for a user and a password"):
        RtspCamera(f"rtsp://{address}/cam", {}).open()
    assert SECRET not in str(wrong.value)
    assert SECRET not in "".join(capfd.readouterr())


def test_a_wrong_path_is_told_from_a_wrong_port(start: Start) -> None:
    _, address = start()
    with pytest.raises(CameraError, match=r"no stream at '/nope&password=\*\*\*' \(404\)") as said:
        RtspCamera(f"rtsp://{address}/nope&password={SECRET}?channel=1", {}).open()
    assert SECRET not in str(said.value)


def test_another_size_than_expected_is_refused_when_it_opens(start: Start) -> None:
    _, address = start("--size", "640x480")
    with pytest.raises(CameraError, match=r"its pictures are 640x480, expected 320xany\. Is it the right camera"):
        RtspCamera(f"rtsp://{address}/cam", {"width_px": 320}).open()
    with RtspCamera(f"rtsp://{address}/cam", {"width_px": 640, "height_px": 480.0}) as camera:
        assert camera.grab(1.0) is not None


@pytest.mark.usefixtures("hasty")
def test_a_mute_camera_is_not_waited_for_longer_than_agreed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        since = time.monotonic()
        with pytest.raises(CameraError, match="does not answer within"):
            RtspCamera(f"rtsp://127.0.0.1:{mute.getsockname()[1]}/cam", {}).open()
        assert time.monotonic() - since < 3


def test_a_web_server_is_not_taken_for_a_camera() -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as web:
        thread = threading.Thread(target=web.handle_request)
        thread.start()
        said = why_not(f"rtsp://127.0.0.1:{web.server_address[1]}/cam")
        thread.join(5)
    assert "not as RTSP does" in said


def test_a_line_that_closes_without_a_word_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            server.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        said = why_not(f"rtsp://127.0.0.1:{server.getsockname()[1]}/cam")
        thread.join(5)
    assert "hangs up" in said or "not as RTSP does ('nothing')" in said


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("rtsp:///cam", "names no host"),
        ("rtsp://127.0.0.1:99999/cam", "the address cannot be read"),
        ("rtsp://me:ge/heim@127.0.0.1/cam", "with / and @ of a password as %2F and %40"),
        ("rtsp://[::1/cam", "the address cannot be read"),
        ("rtsp://127.0.0.1:1/cam", "port 1 is closed"),
        ("rtsp://camera.invalid/cam", "name camera.invalid is not known"),
        (f"rtsp://{'x' * 70}.invalid/cam", "cannot be reached"),
    ],
)
def test_what_is_wrong_with_an_address_is_said(address: str, said: str) -> None:
    answer = why_not(address)
    assert said in answer
    assert "heim" not in answer


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"exposure": 5}, "no setting exposure; there are width_px, height_px"),
        ({"width_px": "640"}, "width_px takes a whole number above 0, got '640'"),
        ({"width_px": 0}, "width_px takes a whole number"),
        ({"height_px": 1.5}, "height_px takes a whole number"),
        ({"height_px": True}, "height_px takes a whole number"),
        ({"height_px": float("nan")}, "height_px takes a whole number"),
        ({"height_px": float("inf")}, "height_px takes a whole number"),
    ],
)
def test_a_setting_that_a_network_camera_cannot_have_is_refused(settings: dict[str, float | str], said: str) -> None:
    with pytest.raises(UsageError, match=said) as refused:
        RtspCamera(f"rtsp://me:{SECRET}@127.0.0.1/cam", settings)
    assert SECRET not in str(refused.value)


def test_a_camera_that_was_never_open_can_be_closed_but_not_read() -> None:
    camera = RtspCamera("rtsp://127.0.0.1:1/cam", {})
    camera.close()
    camera.close()
    with pytest.raises(CameraError, match="not open"):
        camera.grab(0.1)
