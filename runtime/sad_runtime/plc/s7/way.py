"""Writes the status block into a data block of a Siemens S7 CPU, and reads the command block from another.

Through python-snap7 (pure Python, S7 "PUT/GET"); tried against its server, not against a CPU. block.py has the
layout, and the order in which a result is written so that no program acts on half of one.
"""

from __future__ import annotations

import logging
import math
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sad_runtime.errors import MissingExtra, UsageError
from sad_runtime.ops.host_port import host_and_port
from sad_runtime.plc.base import OnCommand, Plc
from sad_runtime.plc.config import S7Config
from sad_runtime.plc.polled_commands import UNSEEN_S, PolledCommands
from sad_runtime.plc.register_map import COMMAND_SIZE, command_block
from sad_runtime.plc.s7.block import BLOCK, LARGEST, block_of, requests_for
from sad_runtime.plc.status import Status
from sad_runtime.plc.taken_back import takes_back

log = logging.getLogger(__name__)

PDU_OVERHEAD: Final = 35
"""Of a request that writes, as python-snap7 counts it."""
ANSWER_S: Final = 1.0
"""A CPU answers once a cycle at the latest; its watchdog is 150 ms."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 2.0
WHOLE_S: Final = 1.0
"""After which the whole block is written once more: a program download may have emptied it."""
SAME_AGAIN_S: Final = 60.0


class _Lost(Exception):
    """The PLC is not there, hung up, or refused."""


@contextmanager
def _peer() -> Iterator[None]:
    """What goes wrong in here comes from the PLC, be it rubbish."""
    from snap7.error import S7Error

    try:
        yield
    except (S7Error, OSError, ValueError, LookupError, struct.error) as error:
        raise _Lost(str(error).rstrip(".") or type(error).__name__) from error


class S7(Plc):
    def __init__(self, config: S7Config, station: str) -> None:
        self._config = config
        self._station = station
        self._host, self._port = host_and_port(config.address)
        self._news = threading.Condition()
        self._newest: Status | None = None
        self._ending = False
        self._thread: threading.Thread | None = None
        self._client: Any = None
        self._failure: str | None = None
        self._urgent = False
        self._well = True
        self._pause_s = FIRST_PAUSE_S
        self._said: tuple[str, float] = ("", -math.inf)
        self._commands = PolledCommands(max(UNSEEN_S, 3 * config.every_ms / 1000))
        self._counters = dict.fromkeys(("connections", "errors", "writes", "commands"), 0)

    def connect(self, on_command: OnCommand) -> None:
        try:
            import snap7.client  # noqa: F401
        except ImportError:
            raise MissingExtra("python-snap7", "plc", "plc.s7") from None
        if ":" in self._host:
            raise UsageError(
                f"plc.s7.address {self._config.address}: S7 is spoken over IPv4 only; give such an address"
            )
        name = f"s7 {self._station}"
        self._thread = threading.Thread(target=self._run, args=(on_command,), name=name, daemon=True)
        self._thread.start()

    def write(self, station: str, status: Status) -> None:
        with self._news:
            self._urgent = self._urgent or takes_back(self._newest, status)
            self._newest = status
            self._news.notify()

    def close(self) -> None:
        with self._news:
            self._ending = True
            self._news.notify()
        if self._thread is not None:
            self._thread.join(1.2)
            if self._thread.is_alive():
                _hang_up(self._client)
                self._thread.join(0.5)

    def counters(self) -> dict[str, int]:
        return dict(self._counters)

    @property
    def failure(self) -> str | None:
        return self._failure

    def _run(self, on_command: OnCommand) -> None:
        try:
            self._reconnecting(on_command)
        except Exception as error:
            self._failure = f"plc.s7 of station {self._station}: {type(error).__name__}: {error}"
            log.exception("%s", self._failure)

    def _reconnecting(self, on_command: OnCommand) -> None:
        while not self._ending:
            try:
                self._session(on_command)
            except _Lost as error:
                self._lost(error)
            finally:
                self._let_go()
            with self._news:
                self._news.wait_for(lambda: self._ending, self._pause_s)
            self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)

    def _session(self, on_command: OnCommand) -> None:
        """From one connecting to its end."""
        self._connected()
        shown = self._read(self._config.status_db, BLOCK)
        commands_db = self._config.commands_db
        ours: Status | None = None
        write_at = read_at = time.monotonic()
        whole_at, heard = -math.inf, commands_db is None
        while True:
            status = self._due(ours, write_at, read_at)
            now_s = time.monotonic()
            if status is not None and status is not ours:
                write_at, whole = now_s + self._config.every_ms / 1000, now_s >= whole_at
                shown, ours = self._show(status, shown, surely=whole), status
                whole_at = now_s + WHOLE_S if whole else whole_at
            if self._ending:
                return
            if commands_db is not None and time.monotonic() >= read_at:
                read_at = time.monotonic() + self._config.every_ms / 1000
                self._hear(on_command, commands_db)
                heard = True
            if heard and ours is not None:
                self._all_well()

    def _connected(self) -> None:
        from snap7.client import Client

        self._client = Client()
        with _peer():
            self._client.connect(self._host, self._config.rack, self._config.slot, self._port)
            self._client.connection.socket.settimeout(ANSWER_S)
        self._counters["connections"] += 1
        room = self._client.pdu_length - PDU_OVERHEAD
        if room < LARGEST:
            raise _Lost(f"it takes {room} bytes in one request, {LARGEST} are needed")

    def _read(self, block: int, size: int) -> bytes:
        with _peer():
            data = bytes(self._client.db_read(block, 0, size))
        if len(data) != size:
            raise _Lost(f"{len(data)} bytes of DB{block}, {size} were asked for")
        return data

    def _due(self, ours: Status | None, write_at: float, read_at: float) -> Status | None:
        """Waits until there is something to write or to read, or the end. The newest status."""
        with self._news:
            while not self._ending:
                now = time.monotonic()
                fresh = self._newest is not None and self._newest is not ours
                if fresh and self._urgent:
                    return self._taken()
                moments = [write_at] if fresh else []
                if self._config.commands_db is not None:
                    moments.append(read_at)
                if moments and min(moments) <= now:
                    return self._taken() if fresh and write_at <= now else None
                self._news.wait(min(moments) - now if moments else None)
            return self._newest

    def _taken(self) -> Status | None:
        self._urgent = False
        return self._newest

    def _show(self, status: Status, shown: bytes, surely: bool) -> bytes:
        block = block_of(status)
        for at, data in requests_for(block, shown, surely):
            with _peer():
                self._client.db_write(self._config.status_db, at, bytearray(data))
        self._counters["writes"] += 1
        return block

    def _all_well(self) -> None:
        """After a whole round, reading included: where only one of the data blocks is missing the other one says
        nothing."""
        self._pause_s = FIRST_PAUSE_S
        if not self._well:
            self._well = True
            log.info("station %s: S7 PLC %s is back", self._station, self._config.address)

    def _hear(self, on_command: OnCommand, commands_db: int) -> None:
        registers = struct.unpack(f">{COMMAND_SIZE}H", self._read(commands_db, 2 * COMMAND_SIZE))
        block = self._commands.changed(command_block(registers), time.monotonic())
        if block is not None:
            self._counters["commands"] += 1
            on_command(self._station, block)

    def _lost(self, error: _Lost) -> None:
        """One outage is said once a minute, as are the same words: a PLC may be off for a night."""
        self._counters["errors"] += 1
        words, said_s = self._said
        known = str(error) == words or not self._well
        if self._ending or (known and time.monotonic() - said_s < SAME_AGAIN_S):
            return
        self._well, self._said = False, (str(error), time.monotonic())
        where = f"{self._config.address}, rack {self._config.rack}, slot {self._config.slot}"
        blocks = f"DB{self._config.status_db} with {BLOCK} bytes"
        if self._config.commands_db is not None:
            blocks += f" and DB{self._config.commands_db} with {2 * COMMAND_SIZE}"
        log.warning(
            "station %s: S7 PLC %s: %s. Trying on. Should it stay so: allow PUT/GET in the CPU, and give it %s, not "
            "'optimised'",
            *(self._station, where, str(error), blocks),
        )

    def _let_go(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.disconnect()


def _hang_up(client: Any) -> None:
    """Ends a request that `client` waits for in another thread."""
    try:
        client.connection.socket.shutdown(socket.SHUT_RDWR)
    except (AttributeError, OSError):
        return
