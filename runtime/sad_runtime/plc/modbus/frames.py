"""Modbus/TCP on the wire: cuts a stream of bytes into frames, and puts them together.

A frame is a header (transaction, protocol 0, length, unit) and up to 253 bytes of function code and data, see "MODBUS
Messaging on TCP/IP Implementation Guide V1.0b". Neither a TCP segment nor a TLS record ends where a frame does.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

HEADER: Final = struct.Struct(">HHHB")
MOST: Final = 254
"""Bytes after the length: the unit, a function code, 252 of data."""


@dataclass(frozen=True)
class Frame:
    transaction: int
    unit: int
    pdu: bytes
    """Function code and data, never empty."""


class NotModbus(Exception):
    """After this nobody can say where the next frame begins."""


class FrameReader:
    """Takes bytes as they come, gives frames one by one."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> None:
        self._bytes += data

    def next(self) -> Frame | None:
        """None: the rest of it has not come yet. Raises NotModbus."""
        if len(self._bytes) < HEADER.size:
            return None
        transaction, protocol, length, unit = HEADER.unpack_from(self._bytes)
        if protocol:
            raise NotModbus(f"protocol {protocol} where Modbus has 0")
        if not 2 <= length <= MOST:
            raise NotModbus(f"length {length} where Modbus has 2 to {MOST}")
        end = HEADER.size - 1 + length
        if len(self._bytes) < end:
            return None
        pdu = bytes(self._bytes[HEADER.size : end])
        del self._bytes[:end]
        return Frame(transaction, unit, pdu)


def bytes_from_frame(frame: Frame) -> bytes:
    return HEADER.pack(frame.transaction, 0, 1 + len(frame.pdu), frame.unit) + frame.pdu
