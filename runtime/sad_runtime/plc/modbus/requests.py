"""What a Modbus server answers: function codes 2, 3, 4, 6, 16 and 23, to the letter of the "MODBUS Application Protocol
Specification V1.1b3". Pure: bytes in, bytes out; the registers are somebody else's.

pymodbus has a server too, but 3.16.1 answers one of five requests that come in one segment, waits for ever after a
wrong header, takes a TLS record for a frame, answers 1 where 3 is due, serves diagnostics to anybody, and writes a
traceback into the log for each unknown unit. Its clients are what our tests ask with.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Final, Protocol

READ_MOST, WRITE_MOST, READ_WRITE_MOST, BITS_MOST = 125, 123, 121, 2000
FAILED: Final = 0x80


class Code(IntEnum):
    """Exception codes."""

    ILLEGAL_FUNCTION = 1
    ILLEGAL_ADDRESS = 2
    ILLEGAL_VALUE = 3
    DEVICE_BUSY = 6
    NO_SUCH_UNIT = 11


class Refused(Exception):
    """Nothing was changed."""

    def __init__(self, code: Code, counted_as: str = "bad_requests") -> None:
        super().__init__(code.name)
        self.code, self.counted_as = code, counted_as


class Registers(Protocol):
    """What is behind one unit. Each raises Refused; a write changes all or nothing."""

    def read(self, at: int, count: int) -> Sequence[int]: ...
    def read_bits(self, at: int, count: int) -> Sequence[bool]: ...
    def write_one(self, at: int, word: int) -> None: ...
    def write(self, at: int, words: Sequence[int]) -> None: ...


def answer(pdu: bytes, registers: Registers) -> bytes:
    """Function code and data of the answer. Raises Refused; `refusal` puts that into bytes."""
    ask = FUNCTIONS.get(pdu[0])
    if ask is None:
        raise Refused(Code.ILLEGAL_FUNCTION)
    return pdu[:1] + ask(pdu[1:], registers)


def refusal(pdu: bytes, code: Code) -> bytes:
    return bytes((pdu[0] | FAILED, code))


def _read(data: bytes, registers: Registers) -> bytes:
    at, count = _unpacked(">HH", data)
    return _counted_words(registers.read(at, _in_range(count, READ_MOST)))


def _read_bits(data: bytes, registers: Registers) -> bytes:
    at, count = _unpacked(">HH", data)
    bits = registers.read_bits(at, _in_range(count, BITS_MOST))
    packed = sum(1 << place for place, bit in enumerate(bits) if bit)
    size = (count + 7) // 8
    return bytes((size,)) + packed.to_bytes(size, "little")


def _write_one(data: bytes, registers: Registers) -> bytes:
    at, word = _unpacked(">HH", data)
    registers.write_one(at, word)
    return data


def _write(data: bytes, registers: Registers) -> bytes:
    at, count, size = _unpacked(">HHB", data[:5])
    registers.write(at, _words(data[5:], _in_range(count, WRITE_MOST), size))
    return data[:4]


def _read_write(data: bytes, registers: Registers) -> bytes:
    """Writes before it reads, as specified; reads once before that, so that nothing is written where that fails."""
    read_at, read_count, write_at, count, size = _unpacked(">HHHHB", data[:9])
    words = _words(data[9:], _in_range(count, READ_WRITE_MOST), size)
    registers.read(read_at, _in_range(read_count, READ_MOST))
    registers.write(write_at, words)
    return _counted_words(registers.read(read_at, read_count))


FUNCTIONS: dict[int, Callable[[bytes, Registers], bytes]] = {
    2: _read_bits,
    3: _read,
    4: _read,
    6: _write_one,
    16: _write,
    23: _read_write,
}


def _unpacked(layout: str, data: bytes) -> tuple[int, ...]:
    try:
        return struct.unpack(layout, data)
    except struct.error:
        raise Refused(Code.ILLEGAL_VALUE) from None


def _in_range(count: int, most: int) -> int:
    if not 1 <= count <= most:
        raise Refused(Code.ILLEGAL_VALUE)
    return count


def _words(data: bytes, count: int, size: int) -> Sequence[int]:
    if size != 2 * count or len(data) != size:
        raise Refused(Code.ILLEGAL_VALUE)
    return struct.unpack(f">{count}H", data)


def _counted_words(words: Sequence[int]) -> bytes:
    return struct.pack(f">B{len(words)}H", 2 * len(words), *words)
