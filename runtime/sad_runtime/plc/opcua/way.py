"""The way to PLCs and MES by OPC UA: a server, opc.tcp://ADDRESS/sad/, in a thread of its own.

What is shown: nodes.py. What may be ordered: commands.py. Who gets in: security.py and door.py.
The library (asyncua) is loaded by `connect`, not before.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sad_runtime.errors import MissingExtra, SadError, Unavailable
from sad_runtime.feed.refusals import Refusals
from sad_runtime.ops.host_port import host_and_port
from sad_runtime.plc.base import OnCommand, Plc
from sad_runtime.plc.config import OpcUaConfig
from sad_runtime.plc.status import Bit, Result, Status

if TYPE_CHECKING:
    from sad_runtime.plc.opcua.server import OpcUaServer

log = logging.getLogger(__name__)

START_S = 60.0
"""A slow board needs some seconds for the address space of the standard."""
STOP_S = 1.5
BEHIND = 64
"""So many updates may wait a station, then the oldest is left out. No result is lost by it: the ring has the last 8."""
OLD_S = 0.05
"""An update that waited for longer is shown no more: its PASS may have been taken back since."""


class OpcUa(Plc):
    def __init__(self, config: OpcUaConfig, stations: Sequence[str], folder: Path) -> None:
        """`folder`/opcua is where the server's own certificate is made and kept, where none is named."""
        self._config = config
        self._stations = list(stations)
        self._folder = folder
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[tuple[float, Status]]] = {station: deque() for station in self._stations}
        self._counts: Counter[str] = Counter()
        self._refusals = Refusals()
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._closing = False
        self._refused: SadError | None = None
        self._failure: str | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        host, port = host_and_port(self._config.address)
        return f"opc.tcp://{f'[{host}]' if ':' in host else host}:{port}/sad/"

    @property
    def failure(self) -> str | None:
        return self._failure

    def connect(self, on_command: OnCommand) -> None:
        try:
            import asyncua  # noqa: F401
        except ImportError:
            raise MissingExtra("asyncua", "plc", "The OPC UA server") from None
        self._thread = threading.Thread(target=self._run, args=(on_command,), name="plc-opcua", daemon=True)
        self._thread.start()
        if not self._started.wait(START_S):
            raise Unavailable(f"{self.url}: the OPC UA server did not start within {START_S:g} s")
        if self._refused is not None:
            self._thread.join()
            raise self._refused

    def write(self, station: str, status: Status) -> None:
        """What waits is left out where it may show a PASS that is none any more; its results come from the ring."""
        since_s = now_s = time.monotonic()
        with self._lock:
            waiting = self._waiting[station]
            if waiting and _same_to_see(waiting[-1][1], status):
                since_s, _ = waiting.pop()
            old = bool(waiting) and now_s - waiting[0][0] > OLD_S
            if old or not status.bits & Bit.PASS:
                self._skip(waiting, len(waiting))
            elif len(waiting) >= BEHIND:
                self._skip(waiting, 1)
            waiting.append((since_s, status))
        self._nudge()

    def _skip(self, waiting: deque[tuple[float, Status]], count: int) -> None:
        """The oldest."""
        for _ in range(count):
            waiting.popleft()
        self._counts["skipped_updates"] += count

    def close(self) -> None:
        self._closing = True
        self._nudge()
        if self._thread is not None:
            self._thread.join(STOP_S + 0.4)

    def counters(self) -> dict[str, int]:
        with self._lock:
            return {**self._counts, **self._refusals.counts()}

    def _nudge(self) -> None:
        """Runs `_wake.set` in the server's thread; of one that has ended there is nothing to wake."""
        loop, wake = self._loop, self._wake
        if loop is not None and wake is not None and not loop.is_closed():
            try:
                loop.call_soon_threadsafe(wake.set)
            except RuntimeError:
                log.debug("the OPC UA server has just ended")

    def _run(self, on_command: OnCommand) -> None:
        try:
            asyncio.run(self._serve(on_command))
        except SadError as refused:
            self._refused = refused
        except Exception as error:  # whatever it died of, the gateway must learn that this way is gone
            self._failure = f"OPC UA: {type(error).__name__}: {error}"
            log.exception("the OPC UA server died")
            if not self._started.is_set():
                self._refused = SadError(f"{self.url}: the OPC UA server cannot start ({error}); the log has more")
        finally:
            self._started.set()

    async def _serve(self, on_command: OnCommand) -> None:
        from sad_runtime.plc.opcua.server import opened_server

        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        server = await opened_server(self._config, self.url, self._stations, self._folder, on_command, self._refusals)
        try:
            self._started.set()
            log.info("OPC UA server on %s", self.url)
            while not self._closing:
                await self._wake.wait()
                self._wake.clear()
                await self._show_all(server)
        finally:
            await server.stop_soon(STOP_S)

    async def _show_all(self, server: OpcUaServer) -> None:
        for station in self._stations:
            while not self._closing and (status := self._next(station)) is not None:
                told = await server.show(station, status)
                with self._lock:
                    self._counts["events"] += told
                await asyncio.sleep(0)  # between two updates, never within one, clients are served

    def _next(self, station: str) -> Status | None:
        with self._lock:
            return self._waiting[station].popleft()[1] if self._waiting[station] else None


def _same_to_see(old: Status, new: Status) -> bool:
    """Whether `old` may go unseen: another heartbeat, nothing else of weight."""
    return old.bits == new.bits and _named(old.result) == _named(new.result) and _newest(old) == _newest(new)


def _named(result: Result | None) -> tuple[object, ...] | None:
    return None if result is None else (result.seq, result.verdict, result.reason)


def _newest(status: Status) -> tuple[object, ...] | None:
    return _named(status.ring[0]) if status.ring else None
