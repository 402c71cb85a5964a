"""The Modbus server, asked by raw bytes and by pymodbus's own clients; among scanners, hogs and a second PLC."""

from __future__ import annotations

import logging
import random
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from pymodbus.client import ModbusTcpClient

from modbus import STATION, Stand, Wire, frame, result, serving, status, until, written
from sad_runtime.errors import Unavailable, UsageError
from sad_runtime.plc.config import ModbusConfig
from sad_runtime.plc.modbus import server as modbus_server
from sad_runtime.plc.modbus.server import ModbusServer
from sad_runtime.plc.register_map import (
    COMMAND_AT,
    STATUS_SIZE,
    command_registers,
    status_registers,
    status_values,
)
from sad_runtime.plc.status import Bit, CommandBlock, Control, Status

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, BUSY, NO_SUCH_UNIT = 1, 2, 3, 6, 11
SERVED = (2, 3, 4, 6, 16, 23)
BLOCK = CommandBlock(
    control=Control.ENABLE | Control.TRIGGER,
    plc_heartbeat=5,
    part_id=0xDEAD_BEEF,
    trigger_id=77,
    recipe_request=3,
    ack_seq=0x0001_0000,
    deadline_ms=250,
    encoder=0xFFFF_FFFF,
)


# -- what is answered, on the literal bytes


def test_the_head_of_the_status_block_is_these_bytes() -> None:
    with serving() as stand, stand.wire() as plc:
        stand.server.write(STATION, status(0x0001_0002, heartbeat=0xFFFF))
        plc.send(bytes.fromhex("0001 0000 0006 01 03 0000 0009"))
        expected = "0001 0000 0015 01 03 12 0100 0031 ffff 0000 0000 cafe f00d 0001 0002"
        assert plc.take() == bytes.fromhex(expected)


@pytest.mark.parametrize(
    ("request_hex", "answer_hex"),
    [
        ("0002 0000 0006 01 06 00c9 1234", "0002 0000 0006 01 06 00c9 1234"),
        ("0003 0000 000b 01 10 00c8 0002 04 0001 0007", "0003 0000 0006 01 10 00c8 0002"),
        ("0004 0000 000f 01 17 0000 0001 00c8 0002 04 0001 0007", "0004 0000 0005 01 17 02 0100"),
        ("0005 0000 0006 01 02 0000 0010", "0005 0000 0005 01 02 02 8180"),
        ("0006 0000 0006 01 04 00c8 0001", "0006 0000 0005 01 04 02 0000"),
        ("0007 0000 0006 01 03 0080 0001", "0007 0000 0003 01 83 02"),
        ("0008 0000 0006 01 01 0000 0001", "0008 0000 0003 01 81 01"),
        ("0009 0000 0006 05 03 0000 0001", "0009 0000 0003 05 83 0b"),
        ("ffff 0000 0006 ff 03 0000 0001", "ffff 0000 0005 ff 03 02 0100"),
    ],
)
def test_a_request_has_this_answer_to_the_byte(request_hex: str, answer_hex: str) -> None:
    with serving() as stand, stand.wire() as plc:
        stand.server.write(STATION, Status(bits=Bit.ONLINE | Bit.INVALID | Bit.CMD_DONE))
        plc.send(bytes.fromhex(request_hex))
        assert plc.take() == bytes.fromhex(answer_hex)


def test_before_the_first_status_nothing_is_valid() -> None:
    with serving() as stand, stand.wire() as plc:
        shown = status_values([*plc.read(0, 64), *plc.read(64, 64)])
    assert Bit(int(shown["STATUS"])) == Bit.FEED_STALE | Bit.INVALID | Bit.FAULT
    assert (shown["VERDICT"], shown["REASON"], shown["HEARTBEAT"]) == (3, 30, 0)


@pytest.mark.parametrize("function", [3, 4])
@pytest.mark.parametrize("word_order", ["high_first", "low_first"])
def test_all_registers_read_as_the_map_lays_them_out(function: int, word_order: str) -> None:
    with serving(word_order=word_order) as stand, stand.wire() as plc:
        stand.server.write(STATION, status(0xFFFF_FFFF, heartbeat=65535))
        block = [*plc.read(0, 125, function), *plc.read(125, 3, function)]
        expected = status_registers(status(0xFFFF_FFFF, heartbeat=65535), word_order)  # type: ignore[arg-type]
        assert block == expected
        assert plc.read(128 - 8, 8, function) == expected[-8:]
        plc.write(COMMAND_AT, *command_registers(BLOCK, word_order))  # type: ignore[arg-type]
        assert plc.read(COMMAND_AT, 12, function) == command_registers(BLOCK, word_order)  # type: ignore[arg-type]
    assert stand.told == [(STATION, BLOCK)]


def test_discrete_inputs_are_the_bits_of_status() -> None:
    with serving() as stand, stand.wire() as plc:
        stand.server.write(STATION, status(8))
        bits = int(status(8).bits)
        for at in range(16):
            for count in range(1, 17 - at):
                answer = plc.ask(struct.pack(">BHH", 2, at, count))
                expected = (bits >> at) & ((1 << count) - 1)
                assert answer == bytes((2, (count + 7) // 8)) + expected.to_bytes((count + 7) // 8, "little")
        assert plc.ask(struct.pack(">BHH", 2, 15, 2)) == bytes((0x82, ILLEGAL_ADDRESS))
        assert plc.ask(struct.pack(">BHH", 2, 0, 2000)) == bytes((0x82, ILLEGAL_ADDRESS))
        assert plc.ask(struct.pack(">BHH", 2, 0, 2001)) == bytes((0x82, ILLEGAL_VALUE))


def test_every_range_is_readable_or_refused_as_the_map_says() -> None:
    with serving() as stand, stand.wire() as plc:
        for at in (0, 1, 63, 64, 126, 127, 128, 199, 200, 205, 211, 212, 65535):
            for count in (1, 2, 5, 12, 13, 64, 125):
                answer = plc.ask(struct.pack(">BHH", 3, at, count))
                fits = at + count <= STATUS_SIZE or (at >= 200 and at + count <= 212)
                assert answer[0] == (3 if fits else 0x83), (at, count)
                assert len(answer) == (2 + 2 * count if fits else 2)
                assert fits or answer[1] == ILLEGAL_ADDRESS
        for count in (0, 126, 65535):
            assert plc.ask(struct.pack(">BHH", 3, 0, count)) == bytes((0x83, ILLEGAL_VALUE))


def test_the_status_block_cannot_be_written() -> None:
    with serving() as stand, stand.wire() as plc:
        before = plc.read(0, 125)
        for at in range(0, 200, 7):
            assert plc.write(at, 1) == bytes((0x90, ILLEGAL_ADDRESS))
            assert plc.ask(struct.pack(">BHH", 6, at, 1)) == bytes((0x86, ILLEGAL_ADDRESS))
            assert plc.ask(struct.pack(">BHHHHBH", 23, 0, 1, at, 1, 2, 1)) == bytes((0x97, ILLEGAL_ADDRESS))
        assert plc.write(199, 1, 1) == plc.write(211, 1, 1) == bytes((0x90, ILLEGAL_ADDRESS))
        assert plc.read(0, 125) == before
    assert stand.told == []


def test_a_single_write_goes_to_control_and_heartbeat_only() -> None:
    with serving() as stand, stand.wire() as plc:
        for at in range(200, 212):
            answer = plc.ask(struct.pack(">BHH", 6, at, 1))
            assert answer == (struct.pack(">BHH", 6, at, 1) if at <= 201 else bytes((0x86, ILLEGAL_ADDRESS)))
    assert [block.plc_heartbeat for _, block in stand.told] == [0, 1]


def test_every_write_hands_over_the_whole_block() -> None:
    with serving() as stand, stand.wire() as plc:
        assert plc.write(200, 1, 0) == struct.pack(">BHH", 16, 200, 2)
        plc.write(202, 0xDEAD, 0xBEEF, 77)
        plc.write(206, 0, 9, 100)
        plc.write(210, 0xFFFF, 0xFFFF)
        plc.write(201, 2)
    assert stand.told[-1] == (
        STATION,
        CommandBlock(
            control=1,
            plc_heartbeat=2,
            part_id=0xDEAD_BEEF,
            trigger_id=77,
            ack_seq=9,
            deadline_ms=100,
            encoder=0xFFFF_FFFF,
        ),
    )
    assert len(stand.told) == 5


@pytest.mark.parametrize(
    ("at", "count"), [(202, 1), (203, 1), (203, 2), (205, 2), (200, 3), (207, 1), (210, 1), (211, 1)]
)
def test_half_a_number_cannot_be_written(at: int, count: int) -> None:
    with serving() as stand, stand.wire() as plc:
        assert plc.write(at, *[1] * count) == bytes((0x90, ILLEGAL_ADDRESS))
        assert plc.read(200, 12) == [0] * 12


def test_nothing_is_handed_over_before_control_was_written() -> None:
    """Else CONTROL would count as 0 so far, and bits that the PLC has held all the time as edges."""
    with serving() as stand, stand.wire() as plc:
        plc.write(201, 5)
        plc.write(202, 0, 9)
        assert stand.told == []
        plc.write(200, Control.TRIGGER)
    assert stand.told == [(STATION, CommandBlock(control=Control.TRIGGER, plc_heartbeat=5, part_id=9))]


def test_reading_and_writing_in_one_writes_first_and_all_or_nothing() -> None:
    with serving() as stand, stand.wire() as plc:
        both = struct.pack(">BHHHHBHH", 23, 200, 12, 200, 2, 4, 1, 9)
        assert plc.ask(both) == bytes((23, 24)) + struct.pack(">12H", 1, 9, *[0] * 10)
        refused = struct.pack(">BHHHHBHH", 23, 120, 12, 200, 2, 4, 1, 10)
        assert plc.ask(refused) == bytes((0x97, ILLEGAL_ADDRESS))
        assert plc.ask(struct.pack(">BHHHHBHH", 23, 0, 126, 200, 2, 4, 1, 10)) == bytes((0x97, ILLEGAL_VALUE))
        assert plc.read(200, 2) == [1, 9]
    assert len(stand.told) == 1


def test_a_control_word_with_unknown_bits_changes_nothing() -> None:
    with serving() as stand, stand.wire() as plc:
        plc.write(200, 1)
        for word in (0x80, 0xFFFF, 0x8001):
            assert plc.write(200, word, 6) == bytes((0x90, ILLEGAL_VALUE))
            assert plc.ask(struct.pack(">BHH", 6, 200, word)) == bytes((0x86, ILLEGAL_VALUE))
        assert plc.read(200, 2) == [1, 0]
        assert stand.counted("bad_controls") == 6
    assert len(stand.told) == 1


@pytest.mark.parametrize(
    "pdu",
    [
        b"\x03",
        b"\x03\x00",
        b"\x03\x00\x00\x00\x01\x00",
        b"\x02\x00\x00\x00",
        b"\x06\x00\xc8\x00",
        b"\x06\x00\xc8\x00\x01\x00",
        b"\x10\x00\xc8\x00\x01",
        b"\x10\x00\xc8\x00\x00\x00",
        b"\x10\x00\xc8\x00\x01\x02\x00",
        b"\x10\x00\xc8\x00\x01\x04\x00\x01\x00\x01",
        b"\x10\x00\xc8\x00\x02\x02\x00\x01",
        b"\x10\x00\xc8\x00\x7c\xf8" + bytes(246),
        b"\x17\x00\x00\x00\x01\x00\xc8\x00\x01\x02",
        b"\x17\x00\x00\x00\x01\x00\xc8\x00\x00\x00",
        b"\x17\x00\x00",
    ],
)
def test_a_request_of_the_wrong_length_changes_nothing(pdu: bytes) -> None:
    with serving() as stand, stand.wire() as plc:
        assert plc.ask(pdu) == bytes((pdu[0] | 0x80, ILLEGAL_VALUE))
        assert plc.read(200, 12) == [0] * 12
        assert stand.counted("bad_requests") == 1


def test_all_other_function_codes_are_refused() -> None:
    with serving() as stand, stand.wire() as plc:
        for function in set(range(256)) - set(SERVED):
            for data in (b"", b"\x00\x01\x00\x00", bytes(60)):
                assert plc.ask(bytes((function,)) + data) == bytes((function | 0x80, ILLEGAL_FUNCTION))
        assert plc.read(0, 1) == [0x0100]
    assert stand.told == []


def test_stations_are_told_apart_by_their_unit() -> None:
    with serving({"line1": 1, "line2": 2}) as stand, stand.wire() as plc:
        stand.server.write("line1", status(10))
        stand.server.write("line2", status(21))
        reads = struct.pack(">BHH", 3, 7, 2)
        assert plc.ask(reads, unit=1)[2:] == struct.pack(">I", 10)
        assert plc.ask(reads, unit=2)[2:] == struct.pack(">I", 21)
        plc.write(200, 1, unit=2)
        for unit in (0, 3, 247, 255):
            assert plc.ask(reads, unit=unit) == bytes((0x83, NO_SUCH_UNIT))
        assert stand.counted("unknown_units") == 4
    assert [station for station, _ in stand.told] == ["line2"]


def test_one_station_is_also_the_device_itself() -> None:
    """Many PLCs ask unit 255 or 0 where a server is no gateway to a serial line."""
    with serving({"line1": 9}) as stand, stand.wire() as plc:
        for unit in (0, 9, 255):
            assert plc.ask(struct.pack(">BHH", 3, 0, 1), unit=unit) == bytes((3, 2, 1, 0))


# -- pymodbus asks


def test_pymodbus_reads_and_writes_it() -> None:
    with serving() as stand:
        stand.server.write(STATION, status(1234))
        host, port = stand.server.address.split(":")
        with ModbusTcpClient(host, port=int(port), timeout=3, retries=0) as plc:
            read = [*plc.read_holding_registers(0, count=64).registers]
            assert status_values(read + [0] * 64)["PART_ID"] == result(1234).part_id
            assert plc.read_input_registers(0, count=64).registers == read
            inputs = plc.read_discrete_inputs(0, count=16).bits
            assert sum(1 << place for place, bit in enumerate(inputs) if bit) == int(status(1234).bits)
            assert not plc.write_registers(COMMAND_AT, command_registers(BLOCK)).isError()
            assert not plc.write_register(201, 99).isError()
            both = plc.readwrite_registers(read_address=0, read_count=64, write_address=200, values=[1, 100])
            assert both.registers == read
            assert plc.write_register(0, 1).exception_code == ILLEGAL_ADDRESS
            assert plc.read_coils(0, count=1).exception_code == ILLEGAL_FUNCTION
            assert plc.read_device_information().exception_code == ILLEGAL_FUNCTION
            assert plc.read_holding_registers(0, count=1, device_id=7).exception_code == NO_SUCH_UNIT
    assert [block.plc_heartbeat for _, block in stand.told] == [5, 99, 100]


# -- streams


def test_pipelined_requests_are_all_answered_in_order() -> None:
    with serving() as stand, stand.wire() as plc:
        plc.send(b"".join(frame(struct.pack(">BHH", 3, 0, 1), transaction=number) for number in range(1000)))
        for number in range(1000):
            assert plc.take() == struct.pack(">HHHBBBH", number, 0, 5, 1, 3, 2, 0x0100)


def test_many_requests_at_once_are_not_held_up_by_the_kernel() -> None:
    """Nagle's algorithm would keep the answers of a second turn back for 40 ms; 1 ms here."""
    with serving() as stand, stand.wire() as plc:
        took_s = []
        for _ in range(11):
            begin_s = time.perf_counter()
            plc.send(frame(struct.pack(">BHH", 3, 0, 1)) * 50)
            for _ in range(50):
                plc.take()
            took_s.append(time.perf_counter() - begin_s)
    assert sorted(took_s)[5] < 0.02


def test_a_request_may_come_byte_by_byte() -> None:
    with serving() as stand, stand.wire() as plc:
        for byte in frame(struct.pack(">BHH", 3, 0, 1)):
            plc.send(bytes((byte,)))
            time.sleep(0.001)
        assert plc.take()[7:] == bytes((3, 2, 1, 0))


@pytest.mark.parametrize(
    "header",
    [
        "0001 0001 0006 01",
        "0001 ffff 0006 01",
        "0001 0000 0000 01",
        "0001 0000 0001 01",
        "0001 0000 00ff 01",
        "0001 0000 ffff 01",
    ],
)
def test_a_wrong_header_ends_the_connection(header: str) -> None:
    with serving() as stand, stand.wire() as plc, stand.wire() as other:
        plc.send(frame(struct.pack(">BHH", 3, 0, 1)) + bytes.fromhex(header) + bytes(300))
        assert plc.take()[7:] == bytes((3, 2, 1, 0)), "what came before it is answered"
        assert plc.hung_up()
        assert other.read(0, 1) == [0x0100]
        assert stand.counted("bad_frames") == 1


def test_a_scanner_that_sends_rubbish_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with serving() as stand, stand.wire() as plc, caplog.at_level(logging.INFO):
        stand.server.write(STATION, status(4))
        before = plc.read(0, 125)
        for _ in range(300):
            with suppress(ConnectionError), stand.wire() as scanner:
                scanner.send(chance.randbytes(chance.randrange(1, 600)))
        for start in (
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"\xff" * 70000,
        ):
            with suppress(ConnectionError), stand.wire() as scanner:
                scanner.send(start)
                assert scanner.hung_up()
        assert plc.read(0, 125) == before
        assert plc.read(200, 12) == [0] * 12
        until(lambda: stand.server.counters()["open_connections"] == 1)
    assert stand.told == []
    assert len(caplog.records) < 20


def test_well_framed_rubbish_never_writes_what_the_map_forbids() -> None:
    """10,000 requests: random functions, data and lengths, from one that may write."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with serving() as stand, stand.wire() as plc:
        stand.server.write(STATION, status(4))
        before = plc.read(0, 125)
        for _ in range(100):
            pdus = [_rubbish(chance) for _ in range(100)]
            plc.send(b"".join(frame(pdu, transaction=number) for number, pdu in enumerate(pdus)))
            for number, pdu in enumerate(pdus):
                answer = plc.take()
                assert answer[:2] == struct.pack(">H", number)
                assert answer[7] in (pdu[0], pdu[0] | 0x80)
        assert plc.read(0, 125) == before
        assert stand.counted("requests") == 10_002
    known = sum(Control)
    assert all(not block.control & ~known for _, block in stand.told)


def _rubbish(chance: random.Random) -> bytes:
    function = chance.choice((*SERVED, chance.randrange(256)))
    if chance.random() < 0.5:
        return bytes((function,)) + chance.randbytes(chance.randrange(253))
    count = chance.randrange(1, 14)
    at = chance.choice((0, 128, 199, 200, 200, 201, 202, 206, 65535)) + chance.randrange(3)
    words = [chance.choice((0, 1, 2, 0x7F, 0xFFFF, chance.randrange(65536))) for _ in range(count)]
    return written(at & 0xFFFF, *words) if function == 16 else struct.pack(">BHH", function, at & 0xFFFF, words[0])


# -- who may


def test_strangers_are_hung_up_on_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with serving(allow=["127.0.0.1", "127.0.1.0/24"]) as stand:
        for _ in range(5):
            assert turned_away(stand, "127.0.0.9")
        with stand.wire("127.0.1.77") as neighbour:
            assert neighbour.read(0, 1) == [0x0100]
        assert stand.counted("refused_peers") == 5
    said = [record.getMessage() for record in caplog.records if "127.0.0.9" in record.getMessage()]
    assert said == ["127.0.0.9 refused on the modbus socket: it is not in plc.modbus.allow"]


def test_only_writers_write() -> None:
    with serving(writers=["127.0.0.2"]) as stand, stand.wire() as reader, stand.wire("127.0.0.2") as writer:
        assert reader.write(200, 1) == bytes((0x90, ILLEGAL_FUNCTION))
        assert reader.read(0, 1) == [0x0100]
        assert writer.write(200, 1) == struct.pack(">BHH", 16, 200, 1)
        assert stand.counted("refused_writers") == 1
    assert len(stand.told) == 1


def test_of_two_plcs_one_writes_until_it_goes() -> None:
    with serving() as stand, stand.wire("127.0.0.2") as first, stand.wire("127.0.0.3") as second:
        assert second.write(200, 0x80) == bytes((0x90, ILLEGAL_VALUE)), "which takes no place"
        assert first.write(200, 1)[0] == 16
        assert second.write(200, 3) == bytes((0x90, BUSY))
        assert second.ask(struct.pack(">BHHHHBH", 23, 0, 1, 200, 1, 2, 3)) == bytes((0x97, BUSY))
        assert second.read(200, 1) == [1], "reading is for all"
        with stand.wire("127.0.0.2") as again:
            assert again.write(201, 8)[0] == 16, "the same PLC by another connection"
        until(lambda: second.write(200, 3)[0] == 16, patience_s=2.0)
        assert first.write(200, 1) == bytes((0x90, BUSY))
        assert stand.server.counters()["busy_writers"] >= 3


def test_a_silent_writer_loses_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sad_runtime.plc.writer_place.SILENT_S", 0.3)
    with serving() as stand, stand.wire("127.0.0.2") as first, stand.wire("127.0.0.3") as second:
        first.write(200, 1)
        end_s = time.monotonic() + 0.6
        while time.monotonic() < end_s:
            first.read(0, 1)
            assert second.write(200, 1) == bytes((0x90, BUSY)), "one that reads is not silent"
            time.sleep(0.02)
        time.sleep(0.35)
        assert second.write(200, 1)[0] == 16
        assert first.write(200, 1) == bytes((0x90, BUSY))


def test_each_station_has_a_place_for_a_writer() -> None:
    with serving({"line1": 1, "line2": 2}) as stand, stand.wire("127.0.0.2") as one, stand.wire("127.0.0.3") as two:
        assert one.write(200, 1, unit=1)[0] == two.write(200, 1, unit=2)[0] == 16
        assert one.write(200, 1, unit=2) == two.write(200, 1, unit=1) == bytes((0x90, BUSY))


def turned_away(stand: Stand, source: str = "127.0.0.1") -> bool:
    """At once: it may not even get as far as being connected."""
    try:
        with stand.wire(source) as stranger:
            return stranger.hung_up()
    except ConnectionResetError:
        return True


# -- room


def test_a_full_house_turns_away_until_somebody_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as stand:
        wires = [stand.wire() for _ in range(modbus_server.CONNECTIONS)]
        try:
            assert all(wire.read(0, 1) == [0x0100] for wire in wires)
            assert turned_away(stand)
            assert stand.counted("refused_for_room") == 1
            monkeypatch.setattr(modbus_server, "REPLACEABLE_S", 0.0)
            assert [wire.read(0, 1) for wire in wires[1:]]
            with stand.wire() as one_more:
                assert one_more.read(0, 1) == [0x0100]
                assert wires[0].hung_up(), "the one that was silent longest"
        finally:
            for wire in wires:
                wire.socket.close()


def test_who_asks_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modbus_server, "IDLE_S", 0.2)
    monkeypatch.setattr(modbus_server, "SWEEP_S", 0.05)
    with serving() as stand, stand.wire() as idle, stand.wire() as half, stand.wire() as busy:
        half.send(frame(b"\x03\x00\x00\x00\x01")[:-1])
        end_s = time.monotonic() + 0.5
        while time.monotonic() < end_s:
            busy.read(0, 1)
            time.sleep(0.02)
        assert idle.hung_up()
        assert half.hung_up(), "half a request is none"
        assert busy.read(0, 1) == [0x0100]
        assert stand.counted("idle_hung_up") == 2


def test_who_takes_no_answers_is_not_read_from() -> None:
    """Answers may not pile up here: 500 MB of them are asked for."""
    with serving() as stand, stand.wire() as hog, stand.wire() as plc:
        hog.socket.settimeout(0.5)
        many = frame(struct.pack(">BHH", 3, 0, 125)) * 2000
        with pytest.raises(TimeoutError):
            hog.send(many * 1000)
        answered = stand.server.counters()["requests"]
        time.sleep(0.2)
        assert stand.server.counters()["requests"] == answered
        assert plc.read(0, 1) == [0x0100]


def test_a_flood_does_not_keep_the_others_waiting() -> None:
    with serving() as stand, stand.wire() as flood, stand.wire() as plc:
        stop = threading.Event()

        def pour() -> None:
            many = frame(struct.pack(">BHH", 3, 0, 1)) * 500
            while not stop.is_set():
                flood.send(many)
                for _ in range(500):
                    flood.take()

        thread = threading.Thread(target=pour)
        thread.start()
        took_s = []
        for _ in range(100):
            begin_s = time.perf_counter()
            plc.read(0, 64)
            took_s.append(time.perf_counter() - begin_s)
        stop.set()
        thread.join()
    assert sorted(took_s)[50] < 0.05


def test_readers_never_see_a_mixture_while_results_stream() -> None:
    """20,000 blocks are read while a thousand statuses a second are written: each belongs to one result."""
    ended = threading.Event()
    with serving() as stand, stand.wire() as plc:

        def stream() -> None:
            seq = 0xFFFF_FFFF - 2000
            while not ended.is_set():
                seq = seq % 0xFFFF_FFFF + 1
                stand.server.write(STATION, status(seq, heartbeat=seq & 0xFFFF))
                time.sleep(0.0005)

        thread = threading.Thread(target=stream)
        thread.start()
        seen, took_s = set(), []
        ask = frame(struct.pack(">BHH", 3, 0, 64))
        try:
            for _ in range(400):
                begin_s = time.perf_counter()
                plc.send(ask * 50)
                blocks = [struct.unpack(">64H", plc.take()[9:]) for _ in range(50)]
                took_s.append((time.perf_counter() - begin_s) / 50)
                seen |= {_whole(block) for block in blocks}
        finally:
            ended.set()
            thread.join()
    took_s.sort()
    print(f"{len(seen)} results seen; a read {1e6 * took_s[200]:.0f} us, p99 {1e6 * took_s[396]:.0f} us")
    assert len(seen) > 20


def _whole(block: tuple[int, ...]) -> int:
    shown = status_values([*block, *[0] * 64])
    seq = int(shown["RESULT_SEQ"])
    if shown["RUN_TAG"] == 0:
        return 0
    assert seq == shown["RESULT_SEQ_COPY"]
    assert list(block) == status_registers(status(seq, heartbeat=seq & 0xFFFF))[:64]
    return seq


# -- opening and closing


def test_a_port_in_use_is_named() -> None:
    with serving() as stand:
        second = ModbusServer(ModbusConfig(address=stand.server.address), {STATION: 1})
        with pytest.raises(Unavailable, match=rf"{stand.server.address}: in use.*another port"):
            second.connect(lambda station, block: None)
        second.close()


def test_an_address_of_another_computer_is_named() -> None:
    server = ModbusServer(ModbusConfig(address="192.0.2.1:5020", allow=["192.0.2.9"]), {STATION: 1})
    with pytest.raises(Unavailable, match=r"192\.0\.2\.1:5020: this computer does not have that address"):
        server.connect(lambda station, block: None)


def test_a_low_port_without_rights_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's answer is played: root runs these tests in places."""

    def refused(*_: object, **__: object) -> socket.socket:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refused)
    server = ModbusServer(ModbusConfig(address="127.0.0.1:502"), {STATION: 1})
    with pytest.raises(UsageError, match=r"Use 5020, or give the service AmbientCapabilities=CAP_NET_BIND_SERVICE"):
        server.connect(lambda station, block: None)


@pytest.mark.parametrize(("key", "wrong"), [("allow", "10.0.5"), ("allow", "plc.local"), ("writers", "10.0.5.0/40")])
def test_what_is_no_address_is_refused_by_name(key: str, wrong: str) -> None:
    with pytest.raises(UsageError, match=rf"plc\.modbus\.{key}: '{wrong}'"):
        ModbusServer(ModbusConfig.model_validate({key: wrong}), {STATION: 1})


def test_two_stations_on_one_unit_are_refused() -> None:
    with pytest.raises(UsageError, match="a unit each"):
        ModbusServer(ModbusConfig(), {"line1": 1, "line2": 1})


def test_it_can_be_opened_again_on_the_same_port() -> None:
    with serving() as stand, stand.wire() as plc:
        plc.read(0, 1)
        stand.server.close()
        assert plc.hung_up()
        stand.server.close()
        with serving(address=stand.server.address) as again, again.wire() as plc_again:
            assert plc_again.read(0, 1) == [0x0100]
    assert not [thread for thread in threading.enumerate() if thread.name == "plc-modbus"]


def test_ipv6_is_served_and_ipv4_through_it_is_known_by_its_own_address() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this computer has no IPv6")
    with serving(address="[::]:0", allow=["127.0.0.1"]) as stand:
        port = stand.server.address.rpartition(":")[2]
        with Wire(f"127.0.0.1:{port}") as plc:
            assert plc.read(0, 1) == [0x0100]
        assert stand.counted("connections") == 1


def test_a_bug_behind_it_ends_it_with_its_reason() -> None:
    server = ModbusServer(ModbusConfig(address="127.0.0.1:0"), {STATION: 1})

    def broken(station: str, block: CommandBlock) -> None:
        raise RuntimeError("scripted")

    server.connect(broken)
    with Wire(server.address) as plc:
        plc.send(frame(written(200, 1)))
        assert plc.hung_up()
    until(lambda: server.failure is not None)
    assert server.failure == "a Modbus request could not be served: RuntimeError: scripted"
    server.close()


def test_it_needs_no_pymodbus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymodbus", None)
    with serving() as stand, stand.wire() as plc:
        assert plc.read(0, 1) == [0x0100]


def test_memory_and_files_come_back_after_a_crowd(tmp_path: Path) -> None:
    with serving() as stand:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(200):
            with suppress(ConnectionError), stand.wire() as plc:
                plc.send(frame(b"\x03\x00\x00\x00\x01")[:9])
        until(lambda: stand.server.counters()["open_connections"] == 0)
        until(lambda: len(list(Path("/proc/self/fd").iterdir())) <= before + 1)


def test_without_free_file_handles_it_waits_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as stand, stand.wire() as plc:
        plc.read(0, 1)
        accept, left = socket.socket.accept, [3]

        def scarce(listener: socket.socket) -> object:
            if left[0] > 0:
                left[0] -= 1
                raise OSError(24, "Too many open files")
            return accept(listener)

        monkeypatch.setattr(socket.socket, "accept", scarce)
        with stand.wire() as late:
            assert plc.read(0, 1) == [0x0100]
            assert late.read(0, 1) == [0x0100]
        assert stand.counted("refused_for_room") == 3
