"""What systemd would hear, read from a real datagram socket; and the watchdog, which only the loop can feed."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sad_runtime.messages import Event
from sad_runtime.ops.sd_listen import Listening
from sad_runtime.ops.sd_notify import SdNotify
from sad_runtime.station.happenings import Level


class Manager:
    """A stand-in for systemd at `address`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    path = str(tmp_path / "notify")
    made = Manager(path if request.param == "path" else f"@sad-test-{os.getpid()}-{secrets.token_hex(4)}")
    yield made
    made.close()


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def event(code: str, level: Level = "info", text: str = "as told") -> Event:
    return Event(run="r", station="line1", code=code, level=level, text=text)


def test_a_start_a_trouble_and_a_stop_are_told(manager: Manager) -> None:
    with SdNotify(manager.address) as notify:
        notify.told(event("building"))
        notify.told(event("ready", text="Ready: station line1"))
        notify.told(event("building"))
        notify.told(event("camera_lost", "error", "camera 0: gone"))
        notify.told(event("camera_back"))
        notify.told(event("stopping"))
    assert manager.heard() == [
        "EXTEND_TIMEOUT_USEC=120000000",
        "READY=1\nSTATUS=Ready: station line1",
        "STATUS=camera 0: gone",
        "STOPPING=1",
    ]


def test_a_text_cannot_say_what_it_is_not_meant_to(manager: Manager) -> None:
    with SdNotify(manager.address) as notify:
        notify.status("lost\nREADY=1\r\nMAINPID=1")
    assert manager.heard() == ["STATUS=lost READY=1 MAINPID=1"]


def test_however_often_the_loop_turns_three_beats_go_out_in_the_watchdogs_time(manager: Manager) -> None:
    clock = Clock()
    with SdNotify(manager.address, 2_000_000, clock) as notify:
        for _ in range(2000):
            notify.beat()
            clock.now_s += 0.001
    assert manager.heard() == ["WATCHDOG=1"] * 3


def test_a_loop_that_stands_still_feeds_nothing(manager: Manager) -> None:
    clock = Clock()
    with SdNotify(manager.address, 2_000_000, clock) as notify:
        notify.beat()
        manager.heard()
        clock.now_s += 10
        assert manager.heard() == []
        notify.beat()
    assert manager.heard() == ["WATCHDOG=1"]


def test_a_part_that_may_take_five_seconds_makes_the_watchdog_wait_for_it(manager: Manager) -> None:
    with SdNotify(manager.address, 2_000_000) as notify:
        notify.entered("Ready", 1000)
        notify.entered("Ready", 5000)
        notify.entered("Ready", 500)
    assert manager.heard() == [
        "STATUS=Ready",
        "STATUS=Ready",
        "WATCHDOG_USEC=6000000\nWATCHDOG=1",
        "STATUS=Ready",
        "WATCHDOG_USEC=2000000\nWATCHDOG=1",
    ]


def test_without_a_watchdog_nothing_beats(manager: Manager) -> None:
    with SdNotify(manager.address) as notify:
        notify.beat()
        notify.entered("Ready", 60_000)
    assert manager.heard() == ["STATUS=Ready"]


def test_without_systemd_nothing_is_sent_and_nothing_fails() -> None:
    with SdNotify(None, 2_000_000) as notify:
        notify.ready("Ready")
        notify.beat()
        notify.stopping()


def test_a_manager_that_is_gone_or_does_not_read_never_holds_up_the_loop(tmp_path: Path) -> None:
    with SdNotify(str(tmp_path / "nobody")) as notify:
        notify.ready("Ready")
    deaf = Manager(str(tmp_path / "deaf"))
    with SdNotify(deaf.address) as notify:
        for _ in range(5000):
            notify.status("x" * 1000)
    assert deaf.heard()
    deaf.close()


def test_a_supervisor_hears_ready_and_notices_a_loop_that_stands_still() -> None:
    clock = Clock()
    with (
        closing(Listening(2.0, clock)) as listening,
        SdNotify(listening.address, int(listening.environment["WATCHDOG_USEC"]), clock) as notify,
    ):
        assert listening.environment["NOTIFY_SOCKET"] == listening.address
        clock.now_s += 60
        assert not listening.hangs, "loading may take its time"
        notify.told(event("ready"))
        assert not listening.hangs
        assert listening.ready
        clock.now_s += 1.9
        assert not listening.hangs
        notify.beat()
        assert not listening.hangs
        clock.now_s += 1.9
        assert not listening.hangs
        clock.now_s += 0.2
        assert listening.hangs
        notify.entered("Ready", 5000)
        assert not listening.hangs
        clock.now_s += 5.9
        assert not listening.hangs


def test_a_supervisor_takes_rubbish_for_nothing() -> None:
    rubbish = (b"", b"\xff\xfe", b"READY", b"WATCHDOG_USEC=-5", b"=READY=1", b"WATCHDOG_USEC=1e9", b"x" * 9000)
    with closing(Listening(2.0)) as listening, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
        for said in rubbish:
            peer.sendto(said, "\0" + listening.address[1:])
        assert not listening.ready
        assert not listening.hangs
