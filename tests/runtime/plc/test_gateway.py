"""`sad-plc` as a process: what it opens, what it refuses, how it ends, and what it does without."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from feeds import MemoryJournal, a_decision, open_feed, publish, wait_until
from hanging import hang
from modbus import Wire
from ports import free_port
from sad_runtime.feed.publisher import Feed
from sad_runtime.ops.sd_notify import SdNotify
from sad_runtime.plc.gateway import Gateway
from sad_runtime.plc.lane import Counts
from sad_runtime.plc.register_map import status_values
from sad_runtime.plc.status import Bit
from sad_runtime.verdict import State

PATIENCE_S = 20.0
CONFIGS = Path(__file__).parents[3] / "configs"


def ran(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sad_runtime.cli.plc", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)


@contextmanager
def gateway(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "sad_runtime.cli.plc", "--state", str(folder), *words]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE_S)


def values_at(port: int, unit: int = 1) -> dict[str, float]:
    with Wire(f"127.0.0.1:{port}") as wire:
        answer = wire.ask(bytes([3, 0, 0, 0, 64]), unit)
    words = [int.from_bytes(answer[at : at + 2], "big") for at in range(2, 2 + 128, 2)]
    return status_values([*words, *[0] * 64])


def bits_at(port: int, unit: int = 1) -> Bit:
    try:
        return Bit(int(values_at(port, unit)["STATUS"]))
    except OSError:
        return Bit(0)


@contextmanager
def station(folder: Path, name: str) -> Iterator[tuple[Feed, MemoryJournal]]:
    journal = MemoryJournal()
    with open_feed(folder, journal, decisions=f"ipc://{folder}/{name}") as feed:
        feed.status(state=State.READY, online=True, recipe=1, model_digest="ab" * 32, deadline_ms=60_000)
        yield feed, journal


def test_it_serves_a_station_and_ends_well_when_asked(tmp_path: Path) -> None:
    port = free_port()
    with (
        station(tmp_path, "decisions") as (feed, journal),
        gateway(tmp_path, "--feed", f"ipc://{tmp_path}/decisions", "--modbus", f"127.0.0.1:{port}") as process,
    ):
        wait_until(lambda: bool(bits_at(port) & Bit.ONLINE), "the station is online at the PLC")
        publish(feed, journal, a_decision(1, deadline_ms=60_000))
        wait_until(lambda: bool(bits_at(port) & Bit.PASS), "the PLC reads PASS")
        assert values_at(port)["PART_ID"] == 1001
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    logged = ran("log", "--state", str(tmp_path), "--json")
    assert logged.returncode == 0, logged.stderr
    assert '"part_id": 1001' in logged.stdout


def test_without_a_station_it_starts_and_says_that_nothing_is_valid(tmp_path: Path) -> None:
    port = free_port()
    with gateway(tmp_path, "--feed", f"ipc://{tmp_path}/nobody", "--modbus", f"127.0.0.1:{port}") as process:
        wait_until(lambda: bits_at(port) != 0, "the gateway answers")
        assert bits_at(port) == Bit.FEED_STALE | Bit.INVALID | Bit.FAULT
        assert process.poll() is None


def test_a_second_gateway_of_a_station_is_refused(tmp_path: Path) -> None:
    port = free_port()
    with gateway(tmp_path, "--modbus", f"127.0.0.1:{port}"):
        wait_until(lambda: bits_at(port) != 0, "the gateway answers")
        second = ran("--state", str(tmp_path), "--modbus", f"127.0.0.1:{free_port()}")
        assert second.returncode == 3
        assert "line1's gateway is already running" in second.stderr
        elsewhere = ran("--state", str(tmp_path / "other"), "--modbus", f"127.0.0.1:{port}")
        assert elsewhere.returncode == 1
        assert f"127.0.0.1:{port}" in elsewhere.stderr


def test_the_stations_of_a_plant_are_units_of_one_server(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "plant.yaml"
    config.write_text(
        f"state: {tmp_path}\nplc: {{modbus: {{address: 127.0.0.1:{port}}}}}\nstations:\n"
        f"  line1: {{feed: {{decisions: ['ipc://{tmp_path}/one']}}}}\n"
        f"  line2: {{feed: {{decisions: ['ipc://{tmp_path}/two']}}}}\n"
    )
    with station(tmp_path, "one"), gateway(tmp_path, "--config", str(config)):
        wait_until(lambda: bool(bits_at(port, 1) & Bit.ONLINE), "the first station is online")
        assert bits_at(port, 2) == Bit.FEED_STALE | Bit.INVALID | Bit.FAULT


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config", "nowhere.yaml"], "no such file"),
        (["--feed", "localhost:5555"], "not an address of the feed"),
        (["--modbus", "5020"], "127.0.0.1"),
        (["--modbus", "0.0.0.0:5020"], "Modbus knows no passwords"),
        (["--opcua", "opc.tcp://0.0.0.0:4840"], "0.0.0.0:4840"),
        (["--opcua", "opc.tcp://here"], "not an address"),
        (["--server-key", "a.key"], "--key"),
        (["--config", str(CONFIGS / "plant.yaml"), "--feed", "tcp://127.0.0.1:5555"], "--station NAME"),
        (["--config", str(CONFIGS / "plant.yaml"), "--station", "line3"], "did you mean"),
        (["--config", str(CONFIGS / "station.yaml"), "--station", "line3"], "is of station line1"),
    ],
)
def test_bad_input_is_named_before_anything_is_opened(words: list[str], said: str, tmp_path: Path) -> None:
    result = ran("--state", str(tmp_path / "state"), *words)
    assert result.returncode == 2, result.stderr
    assert said in result.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("name", ["station", "station-plc", "plant"])
def test_the_shipped_files_can_be_checked(name: str, tmp_path: Path) -> None:
    result = ran("--check", "--config", str(CONFIGS / f"{name}.yaml"), "--state", str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert "modbus 127.0.0.1:5020" in result.stdout
    assert not list(tmp_path.iterdir())


def test_a_station_elsewhere_without_its_command_socket_cannot_be_triggered_and_that_is_said(tmp_path: Path) -> None:
    result = ran("--check", "--feed", "tcp://10.0.0.5:5555", "--state", str(tmp_path))
    assert result.returncode == 0
    assert "a PLC cannot trigger" in result.stdout


def test_it_needs_neither_numpy_nor_opencv_nor_any_protocol_that_is_not_asked_for() -> None:
    heavy = ["numpy", "cv2", "torch", "asyncua", "snap7", "paho", "gpiod", "pymodbus", "cryptography"]
    code = f"import sys, sad_runtime.cli.plc; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_gateway_that_hangs_stops_moving_what_the_plc_watches(tmp_path: Path) -> None:
    """SIGSTOP of the whole process is a hang of everything; the PLC's own rule (HEARTBEAT) is all that is left."""
    port = free_port()
    with (
        station(tmp_path, "decisions") as (feed, _),
        gateway(tmp_path, "--feed", f"ipc://{tmp_path}/decisions", "--modbus", f"127.0.0.1:{port}") as process,
    ):
        wait_until(lambda: bool(bits_at(port) & Bit.ONLINE), "the station is online at the PLC")
        hang(process.pid)
        with pytest.raises(OSError, match="timed out"):
            values_at(port)
        process.send_signal(signal.SIGCONT)
        feed.tick()
        begun_s = time.monotonic()
        wait_until(lambda: bits_at(port) != 0, "it answers again")
        assert time.monotonic() - begun_s < PATIENCE_S


class FakeLane:
    def __init__(self, *, moves: bool) -> None:
        self.failure: str | None = None
        self.counts = Counts()
        self._moves = moves

    def stop(self) -> None:
        self._moves = False

    def turn(self) -> None:
        self.counts.turns += self._moves


def test_a_lane_that_hangs_is_seen_beside_one_that_does_not(tmp_path: Path) -> None:
    gateway = Gateway([], tmp_path, None)
    gateway.ways = []
    hung, well = FakeLane(moves=False), FakeLane(moves=True)
    hung.counts.turns = 1_000_000
    gateway.lanes = {"line1": hung, "line2": well}  # type: ignore[dict-item]
    over = threading.Event()

    def turn() -> None:
        while not over.wait(0.01):
            well.turn()

    turner = threading.Thread(target=turn)
    turner.start()
    with SdNotify(None) as service:
        assert gateway.run(threading.Event(), service) == 1
    over.set()
    turner.join()
    assert gateway.failure == "station line1: its lane hangs"
