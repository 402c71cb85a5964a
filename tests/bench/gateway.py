"""From a published decision to the register that a PLC reads; and how soon a lost station shows there.

A real station and a real `sad-plc`, each in its own process, and a Modbus client that reads the status block as fast as
it is answered. The bare peer is a subscriber that takes the same decisions.
"""

from __future__ import annotations

import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from figure import Figure, Spread, spread
from line import PATIENCE_S, Line
from material import Material

from sad_runtime.plc.register_map import STATUS_SIZE, status_values
from sad_runtime.plc.status import Bit
from sad_runtime.subscriber import Subscriber

DECISIONS, QUICK_DECISIONS = 1000, 20
KILLS, QUICK_KILLS = 12, 1
READ = 64
"""Registers: the block that is read in one request."""
REGISTER_MS, LOST_MS = Spread(15.0, 15.0), Spread(350.0, 350.0)


def figures(material: Material, quick: bool) -> list[Figure]:
    written, heard = _latencies(material, QUICK_DECISIONS if quick else DECISIONS)
    stale, still = [], []
    for _ in range(QUICK_KILLS if quick else KILLS):
        stale_ms, still_ms = _kill(material)
        stale.append(stale_ms)
        still.append(still_ms)
    return [
        Figure("decision published to register", "ms", spread(written), at_most=REGISTER_MS),
        Figure("over a subscriber", "ms", spread(written), spread(heard), "a bare subscriber", "more"),
        Figure("station killed to FEED_STALE", "ms", _worst(stale), at_most=LOST_MS),
        Figure("station killed to the last heartbeat", "ms", _worst(still), at_most=LOST_MS),
    ]


def _worst(values: list[float]) -> Spread:
    """Median and worst: a dozen kills have no 99th percentile."""
    return Spread(spread(values).p50, max(values))


class Registers:
    """The status block as a PLC reads it: one request at a time over one connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self) -> dict[str, float]:
        self._socket.sendall(struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 0, READ))
        data = b""
        while len(data) < 9 + 2 * READ:
            data += self._socket.recv(4096)
        words = struct.unpack(f">{READ}H", data[9:])
        return status_values([*words, *[0] * (STATUS_SIZE - READ)])

    def close(self) -> None:
        self._socket.close()


@contextmanager
def _gateway(material: Material) -> Iterator[tuple[Line, Registers]]:
    """A station that judges thirty parts a second, and its gateway, both well."""
    camera = f"folder:{material.pictures}?fps=30&loop=1"
    with Line(material.bundle, camera, "--backend", "constant") as line, tempfile.TemporaryDirectory() as folder:
        port = _free_port()
        words = ["--feed", line.decisions, "--modbus", f"127.0.0.1:{port}", "--state", folder]
        with (Path(folder) / "log").open("w") as log:
            gateway = subprocess.Popen([sys.executable, "-m", "sad_runtime.cli.plc", *words], stderr=log)
        try:
            registers = _connected(port)
            try:
                _until_well(registers)
                yield line, registers
            finally:
                registers.close()
        finally:
            gateway.terminate()
            gateway.wait(PATIENCE_S)


def _latencies(material: Material, wanted: int) -> tuple[list[float], list[float]]:
    """ms from publishing to (a register that was read, a subscriber's hands)."""
    published: dict[int, tuple[int, int]] = {}
    over = threading.Event()
    with _gateway(material) as (line, registers):

        def listen() -> None:
            with Subscriber(line.decisions) as feed:
                while not over.is_set():
                    decision = feed.poll(100)
                    if decision is not None and decision.captured_ns is not None:
                        published[decision.captured_ns // 10**6] = (decision.mono_ns, time.monotonic_ns())

        listener = threading.Thread(target=listen)
        listener.start()
        time.sleep(1.0)
        seen: dict[int, int] = {}
        latest = -1.0
        while len(seen) < wanted:
            values = registers.read()
            if values["RESULT_SEQ"] != latest:
                latest = values["RESULT_SEQ"]
                seen[int(values["CAPTURE_TIME"] * 1000 + values["CAPTURE_MS"])] = time.monotonic_ns()
        over.set()
        listener.join()
    both = [(seen[key] - published[key][0], published[key][1] - published[key][0]) for key in seen if key in published]
    return [ours / 1e6 for ours, _ in both], [bare / 1e6 for _, bare in both]


def _kill(material: Material) -> tuple[float, float]:
    """ms from the station's SIGKILL to (FEED_STALE, the last change of HEARTBEAT)."""
    with _gateway(material) as (line, registers):
        time.sleep(random.uniform(0.3, 0.5))
        line.process.kill()
        killed_s = moved_s = time.monotonic()
        beat = registers.read()["HEARTBEAT"]
        while True:
            values, now_s = registers.read(), time.monotonic()
            if values["HEARTBEAT"] != beat:
                beat, moved_s = values["HEARTBEAT"], now_s
            if int(values["STATUS"]) & Bit.FEED_STALE:
                return 1e3 * (now_s - killed_s), 1e3 * (moved_s - killed_s)


def _connected(port: int) -> Registers:
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return Registers(port)
        except ConnectionRefusedError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.05)


def _until_well(registers: Registers) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < until_s:
        values = registers.read()
        if int(values["STATUS"]) & Bit.ONLINE and values["RESULT_SEQ"] > 0:
            return
        time.sleep(0.02)
    raise RuntimeError("the gateway does not hear its station")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
