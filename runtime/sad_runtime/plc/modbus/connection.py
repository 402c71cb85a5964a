"""One connection to the Modbus server: takes its requests in turn with all others, and answers each."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sad_runtime.feed.refusals import Refusals
from sad_runtime.plc.modbus.frames import Frame, FrameReader, NotModbus, bytes_from_frame
from sad_runtime.plc.modbus.peers import Address, Peers
from sad_runtime.plc.modbus.registers import StationRegisters
from sad_runtime.plc.modbus.requests import Code, Refused, answer, refusal
from sad_runtime.plc.writer_place import WriterPlace

TURN = 32
"""Requests that one connection may have answered before the next one's turn: about half a millisecond."""
DIRECT = (0, 255)
"""Units that mean "this very device" (Messaging on TCP/IP V1.0b, 4.4.2)."""


@dataclass
class Unit:
    registers: StationRegisters
    place: WriterPlace = field(default_factory=WriterPlace)


class House(Protocol):
    """What all connections share."""

    units: dict[int, Unit]
    peers: Peers
    counts: Counter[str]
    refusals: Refusals
    connections: set[Connection]

    def admit(self, connection: Connection, peer: Address) -> bool: ...
    def fail(self, what: str, error: BaseException) -> None: ...


class Connection(asyncio.Protocol):
    def __init__(self, house: House, peer: Address) -> None:
        self.heard_s = time.monotonic()
        """When it asked something last; at first, when it came."""
        self._house, self._peer = house, peer
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._full = self._waits = False
        """Full: it does not take its answers. Waits: it has had its turn."""

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if not self._house.admit(self, self._peer):
            transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._house.connections.discard(self)
        for unit in self._house.units.values():
            unit.place.left(self)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._work()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        if not self._waits:
            self._work()

    def _work(self) -> None:
        self._waits = False
        if self._transport is None or self._transport.is_closing():
            return
        try:
            more = self._answer_some(self._transport)
        except NotModbus as error:
            self._house.counts["bad_frames"] += 1
            self._house.refusals.note("modbus", str(self._peer), "bad_frames", f"hung up on: {error}")
            self._transport.abort()
        except Exception as error:  # noqa: BLE001 a bug here ends the gateway in the safe state
            self._house.fail("a Modbus request could not be served", error)
        else:
            self._go_on(self._transport, more)

    def _answer_some(self, transport: asyncio.Transport) -> bool:
        """True: there may be more to answer."""
        answers = []
        try:
            for _ in range(TURN):
                frame = self._reader.next()
                if frame is None:
                    return False
                answers.append(bytes_from_frame(Frame(frame.transaction, frame.unit, self._answered(frame))))
        finally:
            if answers:
                transport.write(b"".join(answers))
        return True

    def _go_on(self, transport: asyncio.Transport, more: bool) -> None:
        if self._full:
            transport.pause_reading()
        elif more:
            self._waits = True
            transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._work)
        else:
            transport.resume_reading()

    def _answered(self, frame: Frame) -> bytes:
        self.heard_s = time.monotonic()
        self._house.counts["requests"] += 1
        try:
            return answer(frame.pdu, _Asked(self._house, self._unit(frame.unit), self._peer, self))
        except Refused as refused:
            self._house.counts[refused.counted_as] += 1
            return refusal(frame.pdu, refused.code)

    def _unit(self, number: int) -> Unit:
        units = self._house.units
        if number in DIRECT and len(units) == 1:
            return next(iter(units.values()))
        if number not in units:
            raise Refused(Code.NO_SUCH_UNIT, "unknown_units")
        return units[number]


class _Asked:
    """A station's registers, as one connection may use them."""

    def __init__(self, house: House, unit: Unit, peer: Address, connection: Connection) -> None:
        self._house, self._unit, self._peer, self._connection = house, unit, peer, connection
        unit.place.heard(peer, connection.heard_s)

    def read(self, at: int, count: int) -> Sequence[int]:
        return self._unit.registers.read(at, count)

    def read_bits(self, at: int, count: int) -> Sequence[bool]:
        return self._unit.registers.read_bits(at, count)

    def write_one(self, at: int, word: int) -> None:
        self._write(at, (word,), alone=True)

    def write(self, at: int, words: Sequence[int]) -> None:
        self._write(at, words, alone=False)

    def _write(self, at: int, words: Sequence[int], *, alone: bool) -> None:
        self._unit.registers.check_write(at, words, alone=alone)
        if not self._house.peers.may_write(self._peer):
            self._note("refused_writers", "it may not write (plc.modbus.writers)")
            raise Refused(Code.ILLEGAL_FUNCTION, "refused_writers")
        if not self._unit.place.take(self._peer, self._connection, self._connection.heard_s):
            self._note("busy_writers", "another one writes to this station")
            raise Refused(Code.DEVICE_BUSY, "busy_writers")
        self._unit.registers.write(at, words)
        self._house.counts["commands"] += 1

    def _note(self, kind: str, words: str) -> None:
        self._house.refusals.note("modbus", str(self._peer), kind, words)
