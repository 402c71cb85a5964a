"""Modbus for tests: a server under test, a client that speaks raw bytes, statuses that tell whether they were mixed."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sad_runtime.ops.host_port import host_and_port
from sad_runtime.plc.config import ModbusConfig
from sad_runtime.plc.modbus.server import ModbusServer
from sad_runtime.plc.status import Bit, CommandBlock, Counters, Fault, Result, Status
from sad_runtime.verdict import Reason, Verdict

STATION = "line1"
PATIENCE_S = 5.0


def result(seq: int) -> Result:
    """Every field follows from `seq`; the even ones are good."""
    good = seq % 2 == 0
    return Result(
        seq=seq,
        verdict=Verdict.PASS if good else Verdict.FAIL,
        reason=Reason.OK if good else Reason.SCORE,
        part_id=seq ^ 0x5555_5555,
        trigger_id=seq & 0xFFFF,
        encoder=seq,
        score=float(seq % 1000),
        threshold=500.0,
        run="run-1",
        feed_seq=seq,
    )


def status(seq: int, heartbeat: int = 0) -> Status:
    """Result `seq` is shown, with the seven before it in the ring."""
    shown = result(seq)
    return Status(
        bits=Bit.ONLINE | Bit.RESULT_VALID | (Bit.PASS if shown.verdict is Verdict.PASS else Bit.FAIL),
        heartbeat=heartbeat,
        fault=Fault.NONE,
        run_tag=0xCAFE_F00D,
        result=shown,
        ring=tuple(result(seq - back) for back in range(8) if seq > back),
        counters=Counters(total=seq),
        run="run-1",
    )


class Wire:
    """A Modbus client of bytes."""

    def __init__(self, address: str, source: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(host_and_port(address), timeout=PATIENCE_S, source_address=(source, 0))
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:  # hung up on already
            self.socket.close()
            raise

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def take(self) -> bytes:
        """The next frame; empty where the server has hung up."""
        header = self._exactly(7)
        return header + self._exactly(struct.unpack_from(">H", header, 4)[0] - 1) if header else b""

    def ask(self, pdu: bytes, unit: int = 1, transaction: int = 7) -> bytes:
        """Function code and data of the answer."""
        self.send(frame(pdu, unit, transaction))
        answer = self.take()
        assert answer[:4] == struct.pack(">HH", transaction, 0)
        assert answer[6] == unit
        return answer[7:]

    def read(self, at: int, count: int, function: int = 3) -> list[int]:
        answer = self.ask(struct.pack(">BHH", function, at, count))
        assert answer[:2] == bytes((function, 2 * count)), answer.hex()
        return list(struct.unpack(f">{count}H", answer[2:]))

    def write(self, at: int, *words: int, unit: int = 1) -> bytes:
        return self.ask(written(at, *words), unit)

    def hung_up(self) -> bool:
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            try:
                more = self.socket.recv(count - len(data))
            except ConnectionError:
                more = b""
            if not more:
                return b""
            data += more
        return data


def frame(pdu: bytes, unit: int = 1, transaction: int = 7) -> bytes:
    return struct.pack(">HHHB", transaction, 0, 1 + len(pdu), unit) + pdu


def written(at: int, *words: int) -> bytes:
    """A request of function 16."""
    return struct.pack(f">BHHB{len(words)}H", 16, at, len(words), 2 * len(words), *words)


@dataclass
class Stand:
    server: ModbusServer
    told: list[tuple[str, CommandBlock]] = field(default_factory=list)

    def wire(self, source: str = "127.0.0.1") -> Wire:
        return Wire(self.server.address, source)

    def counted(self, name: str, at_least: int = 1) -> int:
        until(lambda: self.server.counters()[name] >= at_least)
        return self.server.counters()[name]


@contextmanager
def serving(units: dict[str, int] | None = None, **config: Any) -> Iterator[Stand]:
    """A server on a free port. It must be well at the end."""
    server = ModbusServer(ModbusConfig(**{"address": "127.0.0.1:0", **config}), units or {STATION: 1})
    stand = Stand(server)
    server.connect(lambda station, block: stand.told.append((station, block)))
    try:
        yield stand
        assert server.failure is None
    finally:
        server.close()


def until(happened: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    end_s = time.monotonic() + patience_s
    while not happened():
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.002)
