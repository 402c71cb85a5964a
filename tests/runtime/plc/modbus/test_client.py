"""Our Modbus client against a PLC that is a server: writing, reading commands, and what it does when the PLC is odd."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from modbus import STATION, status, until
from modbus_plc import MemoryPlc
from sad_runtime.errors import MissingExtra, UsageError
from sad_runtime.plc.config import ModbusClientConfig
from sad_runtime.plc.loop_thread import LoopThread
from sad_runtime.plc.modbus import client as modbus_client
from sad_runtime.plc.modbus.client import ModbusClient
from sad_runtime.plc.register_map import command_registers, status_registers, status_values
from sad_runtime.plc.status import Bit, CommandBlock, Control


@contextmanager
def talking(plc: MemoryPlc, **config: Any) -> Iterator[tuple[ModbusClient, list[CommandBlock]]]:
    client = ModbusClient(ModbusClientConfig(address=plc.address, **config), STATION)
    told: list[CommandBlock] = []
    client.connect(lambda station, block: told.append(block))
    try:
        yield client, told
        assert client.failure is None
    finally:
        client.close()


def test_a_status_lands_where_the_configuration_says() -> None:
    with MemoryPlc() as plc, talking(plc, status_at=1000, commands_at=300, word_order="low_first") as (client, told):
        plc.memory[300:312] = command_registers(CommandBlock(control=1, part_id=0x0001_0002), "low_first")
        client.write(STATION, status(0x0001_0002))
        until(lambda: plc.status(1000) == status_registers(status(0x0001_0002), "low_first"))
        until(lambda: told[-1:] == [CommandBlock(control=1, part_id=0x0001_0002)])
        assert plc.memory[:300] == [0] * 300
        assert plc.memory[1128:] == [0] * (65536 - 1128)


def test_the_newest_status_wins_and_the_pace_is_kept() -> None:
    with MemoryPlc() as plc, talking(plc, every_ms=50, commands_at=None) as (client, _):
        begin_s = time.monotonic()
        for seq in range(2, 602, 2):
            client.write(STATION, status(seq))
            time.sleep(0.001)
        until(lambda: plc.status() == status_registers(status(600)))
        took_s = time.monotonic() - begin_s
        assert len([at for at, words in plc.writes if at == 0 and len(words) == 62]) <= took_s / 0.05 + 1
        assert client.counters()["reads"] == 0


def test_a_pass_that_is_taken_back_and_a_stale_feed_do_not_wait_for_the_pace() -> None:
    with MemoryPlc() as plc, talking(plc, every_ms=1000, commands_at=None) as (client, _):
        passed = status(2)
        for bits in (Bit.ONLINE, passed.bits | Bit.FEED_STALE):
            client.write(STATION, passed)
            until(lambda: plc.memory[1] == int(passed.bits))
            begin_s = time.monotonic()
            client.write(STATION, replace(passed, bits=bits))
            until(lambda bits=bits: plc.memory[1] == int(bits))  # type: ignore[misc]
            assert time.monotonic() - begin_s < 0.5


def test_what_a_plc_forgot_it_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus_client, "WHOLE_S", 0.1)
    with MemoryPlc() as plc, talking(plc, every_ms=10) as (client, _):
        client.write(STATION, status(6))
        until(lambda: plc.status() == status_registers(status(6)))
        plc.memory[:128] = [0] * 128
        plc.writes.clear()
        time.sleep(0.15)
        client.write(STATION, status(6, heartbeat=1))
        until(lambda: plc.status() == status_registers(status(6, heartbeat=1)))
        assert [at for at, _ in plc.writes] == [62, 64, 0, 62]
        client.write(STATION, status(6, heartbeat=2))
        until(lambda: plc.memory[2] == 2)
        assert len(plc.writes) == 5, "in between a heartbeat is one request"


def test_a_lone_heartbeat_is_brought_soon() -> None:
    with MemoryPlc() as plc, talking(plc, every_ms=20) as (client, _):
        client.write(STATION, status(1))
        until(lambda: plc.memory[7:9] == [0, 1])
        took_s = []
        for beat in range(1, 21):
            time.sleep(0.03)
            begin_s = time.perf_counter()
            client.write(STATION, status(1, heartbeat=beat))
            until(lambda beat=beat: plc.memory[2] == beat)  # type: ignore[misc]
            took_s.append(time.perf_counter() - begin_s)
    assert sorted(took_s)[10] < 0.02


def test_commands_are_told_once_each() -> None:
    with MemoryPlc() as plc, talking(plc, every_ms=5) as (_, told):
        blocks = [CommandBlock(control=Control.ENABLE, plc_heartbeat=beat, part_id=beat << 20) for beat in range(20)]
        for block in blocks:
            plc.command(block)
            until(lambda block=block: told[-1:] == [block])  # type: ignore[misc]
    assert [block for block in told if block.control] == blocks


def test_a_plc_that_comes_and_goes_is_found_again_and_old_triggers_are_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(modbus_client, "ANSWER_S", 0.2)
    with MemoryPlc() as plc, talking(plc, every_ms=5) as (client, told):
        client.write(STATION, status(3))
        plc.command(CommandBlock(control=Control.ENABLE))
        until(lambda: told[-1:] == [CommandBlock(control=Control.ENABLE)])
        plc.go_away()
        until(lambda: client.counters()["lost"] >= 1)
        plc.memory[:128] = status_registers(status(2))
        plc.command(CommandBlock(control=Control.ENABLE | Control.TRIGGER, part_id=9))
        client.write(STATION, status(5))
        time.sleep(0.3)
        plc.writes.clear()
        plc.come_back()
        until(lambda: plc.status() == status_registers(status(5)))
        assert plc.writes[0] == (1, (0x180,)), "the PASS that it was left with is taken back before all else"
        until(lambda: told[-1].part_id == 9)
        assert told[-1].control == Control.ENABLE, "how old that TRIGGER is nobody knows"
        plc.command(CommandBlock(control=Control.ENABLE, part_id=9))
        time.sleep(0.1)
        plc.command(CommandBlock(control=Control.ENABLE | Control.TRIGGER, part_id=10))
        until(lambda: told[-1] == CommandBlock(control=Control.ENABLE | Control.TRIGGER, part_id=10))


def test_a_plc_that_hangs_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus_client, "ANSWER_S", 0.3)
    with MemoryPlc() as plc, talking(plc) as (client, _):
        client.write(STATION, status(1))
        until(lambda: plc.memory[7:9] == [0, 1])
        plc.answering.clear()
        begin_s = time.perf_counter()
        for seq in range(2, 1002):
            client.write(STATION, status(2) if seq % 2 else status(3))
        assert time.perf_counter() - begin_s < 1.0
        until(lambda: client.counters()["lost"] >= 1)
        plc.answering.set()
        client.write(STATION, status(7))
        until(lambda: plc.status() == status_registers(status(7)))


def test_closing_takes_two_seconds_at_most_and_a_lively_plc_gets_the_last_word() -> None:
    with MemoryPlc() as plc:
        with talking(plc, every_ms=1000) as (client, _):
            client.write(STATION, status(1))
            until(lambda: plc.memory[7:9] == [0, 1])
            client.write(STATION, status(2))
        assert plc.status() == status_registers(status(2))
        with talking(plc) as (client, _):
            until(lambda: client.counters()["reads"] > 0)
            plc.answering.clear()
            begin_s = time.monotonic()
            client.close()
            assert time.monotonic() - begin_s < 2.0
            client.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("plc-modbus-client")]


def test_a_plc_that_is_off_is_said_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus_client, "BACK_OFF_S", (0.02, 0.04))
    with MemoryPlc() as plc:
        plc.go_away()
        with talking(plc) as (client, _):
            until(lambda: client.counters()["lost"] >= 5)
    said = [record.getMessage() for record in caplog.records]
    assert said == [f"line1: PLC at {plc.address}: cannot be reached (Connection refused); tried again"]


def test_a_plc_that_refuses_the_registers_is_named_with_what_to_do(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modbus_client, "BACK_OFF_S", (0.02, 0.04))
    with MemoryPlc() as plc, talking(plc) as (client, _):
        plc.refuses = True
        client.write(STATION, status(1))
        until(lambda: client.counters()["refused"] >= 3)
        plc.refuses = False
        until(lambda: plc.status() == status_registers(status(1)))
    said = [record.getMessage() for record in caplog.records if "write" in record.getMessage()]
    assert len(said) == 1
    assert "does not let us write holding registers 1 to 1 (exception code 2). Make room" in said[0]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\xff" * 50,
        bytes.fromhex("0001 0000 0003 01 83 02"),
        bytes.fromhex("0001 0000 0005 01 03 02 0000"),
        bytes(400),
    ],
)
def test_a_server_that_answers_rubbish_is_told_no_lies_by(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus_client, "ANSWER_S", 0.1)
    monkeypatch.setattr(modbus_client, "BACK_OFF_S", (0.02, 0.04))
    told: list[CommandBlock] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        client = ModbusClient(ModbusClientConfig(address=f"127.0.0.1:{listener.getsockname()[1]}"), STATION)
        client.connect(lambda station, block: told.append(block))
        for _ in range(3):
            connection, _address = listener.accept()
            with connection:
                connection.settimeout(5)
                connection.recv(100)
                connection.sendall(answer)
        client.close()
    assert told == []
    assert client.failure is None


def test_the_results_of_a_fast_line_reach_a_pymodbus_server_whole() -> None:
    """A PLC that none of our code is in."""
    device = SimDevice(id=1, simdata=[SimData(0, count=212, values=0, datatype=DataType.REGISTERS)])
    box: list[ModbusTcpServer] = []

    async def serve() -> None:
        server = ModbusTcpServer(device, address=("127.0.0.1", 0))
        await server.serve_forever(background=True)
        box.append(server)
        try:
            await asyncio.Event().wait()
        finally:
            await server.shutdown()  # type: ignore[no-untyped-call]

    async def registers() -> list[int]:
        return [*await box[0].async_getValues(1, 3, 0, 125), *await box[0].async_getValues(1, 3, 125, 3)]

    thread = LoopThread("pymodbus-server", serve)
    thread.start()
    try:
        until(lambda: bool(box))
        port = box[0].transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
        client = ModbusClient(ModbusClientConfig(address=f"127.0.0.1:{port}", every_ms=5), STATION)
        client.connect(lambda station, block: None)
        for seq in range(1, 51):
            client.write(STATION, status(seq))
            time.sleep(0.005)

        def arrived() -> bool:
            assert thread._loop is not None
            return asyncio.run_coroutine_threadsafe(registers(), thread._loop).result(5) == status_registers(status(50))

        until(arrived)
        client.close()
        assert client.counters()["lost"] == client.counters()["refused"] == 0
    finally:
        thread.stop(5)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({"status_at": 150}, "commands_at 200 lies in the status block, 150 to 277.*commands_at: 278"),
        ({"status_at": 0, "commands_at": 127}, "lies in the status block"),
        ({"status_at": 208}, "lies in the status block"),
        ({"status_at": 65500}, "do not all fit below 65536"),
        ({"commands_at": 65530}, "do not all fit below 65536"),
    ],
)
def test_places_that_cannot_be_are_refused(places: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        ModbusClient(ModbusClientConfig(address="127.0.0.1:1", **places), STATION)


def test_without_pymodbus_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymodbus", None)
    client = ModbusClient(ModbusClientConfig(address="127.0.0.1:1"), STATION)
    with pytest.raises(MissingExtra, match=r"sad-inspection\[plc\]"):
        client.connect(lambda station, block: None)
    client.close()


def test_a_bug_behind_it_ends_it_with_its_reason() -> None:
    def broken(station: str, block: CommandBlock) -> None:
        raise RuntimeError("scripted")

    with MemoryPlc() as plc:
        client = ModbusClient(ModbusClientConfig(address=plc.address), STATION)
        client.connect(broken)
        until(lambda: client.failure is not None)
        assert client.failure == "plc-modbus-client-line1 failed: RuntimeError: scripted"
        client.write(STATION, status(1))
        client.close()
    assert status_values(plc.status())["MAP_VERSION"] == 0
