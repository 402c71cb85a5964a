"""S7 data blocks: literal bytes, then python-snap7's own server over a real socket, killed, hung, full of rubbish."""

from __future__ import annotations

import logging
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from snap7.client import Client
from snap7.server import Server
from snap7.type import SrvArea

from hanging import hang
from sad_runtime.errors import MissingExtra, UsageError
from sad_runtime.plc.config import S7Config
from sad_runtime.plc.register_map import command_registers, ring_values, status_values
from sad_runtime.plc.s7.block import block_of, requests_for
from sad_runtime.plc.s7.way import S7
from sad_runtime.plc.status import Bit, CommandBlock, Fault, Result, Status
from sad_runtime.verdict import Reason, Verdict

STATUS_DB, COMMANDS_DB = 7, 8
ALONE = """
import sys, time
from snap7.server import Server
from snap7.type import SrvArea
server = Server(log=False)
server.register_area(SrvArea.DB, 7, bytearray(256))
server.start_to("127.0.0.1", int(sys.argv[1]))
print("ready", flush=True)
time.sleep(60)
"""


def a_status(seq: int, heartbeat: int = 0) -> Status:
    """Odd numbers PASS; every value of a result tells its number."""
    passed = seq % 2 == 1
    ring = tuple(a_result(each) for each in range(seq, max(0, seq - 8), -1))
    bits = Bit.ONLINE | Bit.RESULT_VALID | (Bit.PASS if passed else Bit.FAIL)
    return Status(bits=bits, heartbeat=heartbeat, fault=Fault.NONE, run_tag=1, result=ring[0], ring=ring)


def a_result(seq: int) -> Result:
    verdict, reason = (Verdict.PASS, Reason.OK) if seq % 2 == 1 else (Verdict.FAIL, Reason.SCORE)
    return Result(seq, verdict, reason, part_id=70_000 + seq, trigger_id=seq, encoder=90_000 + seq, score=float(seq))


class Cpu(Server):  # type: ignore[misc, unused-ignore]
    """snap7's server as a CPU that takes over `step` bytes at a time; `seen`: what a program could have read."""

    def __init__(self, step: int) -> None:
        super().__init__(log=False)
        self._step = step
        self.status = bytearray(256)
        self.commands = bytearray(24)
        self.seen: list[bytes] = []
        self.register_area(SrvArea.DB, STATUS_DB, self.status)
        self.register_area(SrvArea.DB, COMMANDS_DB, self.commands)

    def _write_to_memory_area(self, area: Any, db_number: int, start: int, write_data: bytearray) -> bool:
        for at in range(0, len(write_data), self._step):
            piece = write_data[at : at + self._step]
            if not super()._write_to_memory_area(area, db_number, start + at, piece):
                return False
            self.seen.append(bytes(self.status))
        return True


@contextmanager
def a_cpu(port: int, step: int = 32) -> Iterator[Cpu]:
    cpu = Cpu(step)
    cpu.start_to("127.0.0.1", port)
    try:
        yield cpu
    finally:
        cpu.stop()


@pytest.fixture
def port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def a_gateway(port: int, commands: bool = False, every_ms: int = 10) -> Iterator[tuple[S7, list[CommandBlock]]]:
    config = S7Config(
        address=f"127.0.0.1:{port}",
        status_db=STATUS_DB,
        commands_db=COMMANDS_DB if commands else None,
        every_ms=every_ms,
    )
    heard: list[CommandBlock] = []
    plc = S7(config, "line1")
    plc.connect(lambda _station, block: heard.append(block))
    try:
        yield plc, heard
    finally:
        began = time.monotonic()
        plc.close()
        assert time.monotonic() - began < 2
        assert "s7 line1" not in {thread.name for thread in threading.enumerate()}


def soon(happens: Callable[[], bool], within_s: float = 5.0) -> None:
    until = time.monotonic() + within_s
    while not happens():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.005)


def registers(block: bytes) -> list[int]:
    return [int.from_bytes(block[at : at + 2], "big") for at in range(0, 256, 2)]


def test_the_bytes_are_those_a_siemens_program_reads() -> None:
    block = block_of(a_status(3, heartbeat=0x1234))
    assert block[0:6] == bytes.fromhex("0100 0031 1234")
    assert block[14:18] == bytes.fromhex("0000 0003")
    assert block[18:22] == bytes.fromhex("0001 1173")
    assert block[28:32] == bytes.fromhex("4040 0000")
    assert block[124:128] == bytes.fromhex("0000 0003")
    assert block[128:136] == bytes.fromhex("0000 0003 0001 1173")
    assert len(block) == 256


def test_a_heartbeat_is_one_request() -> None:
    before, after = block_of(a_status(3, 1)), block_of(a_status(3, 2))
    assert requests_for(after, before) == [(0, after[:128])]


def test_a_result_is_three_requests_and_each_fits_any_cpu() -> None:
    before, after = block_of(a_status(3)), block_of(a_status(4))
    sent = requests_for(after, before)
    assert [(at, len(data)) for at, data in sent] == [(124, 132), (0, 124), (124, 4)]
    assert sent[0][1][:4] not in (before[124:128], after[124:128])
    assert max(len(data) for _, data in sent) <= 240 - 35


def test_a_ring_that_grows_behind_an_unread_result_is_guarded_too() -> None:
    shown = a_status(3)
    grown = replace(shown, ring=(a_result(4), *shown.ring))
    assert len(requests_for(block_of(grown), block_of(shown))) == 3


@pytest.mark.parametrize("step", [4, 32, 64, 256])
def test_whoever_compares_both_numbers_never_sees_a_mixture(port: int, step: int) -> None:
    with a_cpu(port, step) as cpu, a_gateway(port) as (plc, _):
        for seq in range(1, 13):
            for heartbeat in range(2):
                plc.write("line1", a_status(seq, heartbeat))
                soon(lambda seq=seq, beat=heartbeat: cpu.status == block_of(a_status(seq, beat)))  # type: ignore[misc]
    agreed = 0
    for block in cpu.seen:
        values = status_values(registers(block))
        if values["RESULT_SEQ"] != values["RESULT_SEQ_COPY"] or not values["RESULT_SEQ"]:
            continue
        agreed += 1
        expected = registers(block_of(a_status(int(values["RESULT_SEQ"]))))
        wanted = status_values(expected)
        assert {**values, "HEARTBEAT": 0} == {**wanted, "HEARTBEAT": 0}
        assert list(ring_values(registers(block))) == list(ring_values(expected))
    assert agreed >= 24


def test_another_gateways_result_of_the_same_number_is_guarded_too(port: int) -> None:
    with a_cpu(port, step=4) as cpu:
        old = replace(a_status(1), result=replace(a_result(1), score=99.0), run_tag=5)
        cpu.status[:] = block_of(old)
        with a_gateway(port) as (plc, _):
            plc.write("line1", a_status(1))
            soon(lambda: cpu.status == block_of(a_status(1)))
        for block in cpu.seen:
            values = status_values(registers(block))
            if values["RESULT_SEQ"] == values["RESULT_SEQ_COPY"]:
                assert values == status_values(registers(block_of(a_status(1))))


def test_the_newest_wins_and_the_pace_is_kept(port: int) -> None:
    with a_cpu(port, step=256) as cpu, a_gateway(port, every_ms=200) as (plc, _):
        plc.write("line1", a_status(1, 0))
        soon(lambda: plc.counters()["writes"] == 1)
        for beat in range(1, 50):
            plc.write("line1", a_status(1, beat))
        soon(lambda: cpu.status == block_of(a_status(1, 49)))
        assert plc.counters()["writes"] == 2


def test_commands_are_heard_each_time_they_change(port: int) -> None:
    first, second = CommandBlock(control=1, plc_heartbeat=1), CommandBlock(3, 2, 70_001, 9, 4, 70_000, 250, 99_999)
    with a_cpu(port) as cpu, a_gateway(port, commands=True) as (plc, heard):
        for block in (first, second):
            words = command_registers(block)
            cpu.commands[:] = b"".join(word.to_bytes(2, "big") for word in words)
            soon(lambda block=block: heard[-1:] == [block])  # type: ignore[misc]
        time.sleep(0.05)
        assert heard[-2:] == [first, second]
        assert plc.counters()["commands"] == len(heard)


def test_a_trigger_that_rose_while_nobody_looked_is_held_back(port: int) -> None:
    def say(cpu: Cpu, block: CommandBlock) -> None:
        cpu.commands[:] = b"".join(word.to_bytes(2, "big") for word in command_registers(block))

    with a_gateway(port, commands=True) as (_, heard):
        with a_cpu(port) as cpu:
            say(cpu, CommandBlock(control=1))
            soon(lambda: heard == [CommandBlock(control=1)])
        time.sleep(0.4)
        with a_cpu(port) as cpu:
            say(cpu, CommandBlock(control=3, part_id=7))
            soon(lambda: len(heard) == 2)
            assert heard[1] == CommandBlock(control=1, part_id=7)
            say(cpu, CommandBlock(control=1, part_id=7))
            time.sleep(0.05)
            say(cpu, CommandBlock(control=3, part_id=8))
            soon(lambda: heard[-1] == CommandBlock(control=3, part_id=8))


def test_the_last_word_is_written_before_it_lets_go(port: int) -> None:
    with a_cpu(port) as cpu:
        with a_gateway(port, every_ms=1000) as (plc, _):
            plc.write("line1", a_status(1))
            soon(lambda: plc.counters()["writes"] == 1)
            plc.write("line1", Status())
        assert cpu.status == block_of(Status())


def alone(port: int) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", ALONE, str(port)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def seen_in(port: int) -> bytes:
    client = Client()
    client.connect("127.0.0.1", 0, 1, port)
    try:
        return bytes(client.db_read(STATUS_DB, 0, 256))
    finally:
        client.disconnect()


def test_a_plc_that_is_killed_and_comes_back_is_told_the_newest(port: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="sad_runtime.plc.s7.way")
    process = alone(port)
    with a_gateway(port) as (plc, _):
        plc.write("line1", a_status(1))
        soon(lambda: plc.counters()["writes"] == 1)
        process.kill()
        process.communicate()
        for seq in (2, 3, 4):
            plc.write("line1", a_status(seq))
            time.sleep(0.3)
        assert plc.counters()["errors"] >= 2
        process = alone(port)
        soon(lambda: plc.counters()["writes"] == 2)
        assert seen_in(port) == block_of(a_status(4))
    process.kill()
    process.communicate()
    ours = [record.getMessage() for record in caplog.records if record.name == "sad_runtime.plc.s7.way"]
    assert len(ours) == 2
    assert "DB7 with 256 bytes" in ours[0]
    assert "is back" in ours[1]


def test_a_hung_plc_holds_up_neither_writing_nor_the_end(port: int) -> None:
    process = alone(port)
    with a_gateway(port) as (plc, _):
        plc.write("line1", a_status(1))
        soon(lambda: plc.counters()["writes"] == 1)
        hang(process.pid)
        slowest = 0.0
        for seq in range(2, 300):
            began = time.perf_counter()
            plc.write("line1", a_status(seq))
            slowest = max(slowest, time.perf_counter() - began)
            time.sleep(0.001)
        assert slowest < 0.05
    process.kill()
    process.communicate()


def test_a_plc_that_never_greets_holds_up_nothing(port: int) -> None:
    with closing(socket.create_server(("127.0.0.1", port))), a_gateway(port) as (plc, _):
        plc.write("line1", a_status(1))
        time.sleep(0.1)
        assert plc.counters()["writes"] == 0
        assert plc.failure is None


def test_a_plc_without_the_data_block_is_named_once(port: int, caplog: pytest.LogCaptureFixture) -> None:
    with a_cpu(port) as cpu:
        cpu.unregister_area(SrvArea.DB, STATUS_DB)
        with a_gateway(port) as (plc, _):
            plc.write("line1", a_status(1))
            soon(lambda: plc.counters()["errors"] >= 2)
            assert plc.failure is None
    assert sum(record.name == "sad_runtime.plc.s7.way" for record in caplog.records) == 1


def test_a_plc_without_the_data_block_of_commands_is_named_once(port: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="sad_runtime.plc.s7.way")
    with a_cpu(port) as cpu:
        cpu.unregister_area(SrvArea.DB, COMMANDS_DB)
        with a_gateway(port, commands=True) as (plc, _):
            for seq in range(1, 300):
                plc.write("line1", a_status(seq))
                time.sleep(0.01)
            assert 2 <= plc.counters()["errors"] <= 6, "it waits longer each time, though it could write"
    assert sum(record.name == "sad_runtime.plc.s7.way" for record in caplog.records) == 1


def test_a_pass_that_is_taken_back_and_a_stale_feed_do_not_wait_for_the_pace(port: int) -> None:
    with a_cpu(port) as cpu, a_gateway(port, every_ms=1000) as (plc, _):
        passed = a_status(1)
        for bits in (Bit.ONLINE, passed.bits | Bit.FEED_STALE):
            plc.write("line1", passed)
            soon(lambda: bytes(cpu.status) == block_of(passed))
            began = time.monotonic()
            other = replace(passed, bits=bits)
            plc.write("line1", other)
            soon(lambda other=other: bytes(cpu.status) == block_of(other))  # type: ignore[misc]
            assert time.monotonic() - began < 0.5


def test_what_a_plc_forgot_it_is_told_again(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sad_runtime.plc.s7.way.WHOLE_S", 0.1)
    with a_cpu(port) as cpu, a_gateway(port) as (plc, _):
        plc.write("line1", a_status(9))
        soon(lambda: bytes(cpu.status) == block_of(a_status(9)))
        cpu.status[:] = bytes(256)
        time.sleep(0.15)
        plc.write("line1", a_status(9, heartbeat=1))
        soon(lambda: bytes(cpu.status) == block_of(a_status(9, heartbeat=1)))


GREETING = bytes.fromhex("0300001611d00001000100c0010ac1020100c2020101")
SET_UP = bytes.fromhex("0300001b02f08032030000000100080000 0000f0000001000100f0")


def answers(server: socket.socket, chance: random.Random) -> None:
    """A PLC that greets as it should for a while, or not, and then talks rubbish."""
    while True:
        try:
            peer, _ = server.accept()
        except OSError:
            return
        with peer, suppress(OSError):
            peer.settimeout(0.5)
            polite = chance.randrange(3)
            for answer in (GREETING, SET_UP)[:polite]:
                peer.recv(1000)
                peer.sendall(answer)
            peer.recv(1000)
            peer.sendall(spoilt(chance))


def spoilt(chance: random.Random) -> bytes:
    """Rubbish, most of it in a frame and a header as they should be."""
    sizes = bytes((0, chance.randrange(12), 0, chance.randrange(12)))
    header = bytes((0x32, 3, 0, 0, 0, chance.choice((1, 2)))) + sizes + bytes(2)
    rubbish = header[: chance.choice((0, 6, 12))] + bytes((4, 1)) + chance.randbytes(chance.randrange(40))
    return bytes((3, 0, 0, 7 + len(rubbish), 2, 0xF0, 0x80))[: chance.choice((0, 7, 7, 7))] + rubbish


def test_rubbish_from_the_plc_is_an_outage_and_no_more(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sad_runtime.plc.s7.way.FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr("sad_runtime.plc.s7.way.LONGEST_PAUSE_S", 0.002)
    with closing(socket.create_server(("127.0.0.1", port))) as server:
        liar = threading.Thread(target=answers, args=(server, random.Random(1)))
        liar.start()
        with a_gateway(port) as (plc, _):
            plc.write("line1", a_status(1))
            soon(lambda: plc.counters()["errors"] >= 60 or plc.failure is not None, 20)
            assert plc.failure is None
        server.shutdown(socket.SHUT_RDWR)
        liar.join()


def test_an_error_of_our_own_stops_the_gateway(port: int) -> None:
    with a_cpu(port) as cpu:
        plc = S7(S7Config(address=f"127.0.0.1:{port}", status_db=STATUS_DB, commands_db=COMMANDS_DB), "line1")

        def broken(station: str, block: CommandBlock) -> None:
            raise ValueError("a bug")

        plc.connect(broken)
        soon(lambda: plc.failure is not None)
        assert "a bug" in str(plc.failure)
        plc.close()
        plc.close()
        assert cpu.status == bytes(256)


def test_what_can_never_work_is_said_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="IPv4"):
        S7(S7Config(address="[::1]:102", status_db=1), "line1").connect(lambda station, block: None)
    monkeypatch.setitem(sys.modules, "snap7.client", None)
    with pytest.raises(MissingExtra, match=r"sad-inspection\[plc\]"):
        S7(S7Config(address="127.0.0.1:102", status_db=1), "line1").connect(lambda station, block: None)
