"""The PLC's Modbus client: one FC23 a scan writes the command block and reads the status block, beside the scan.

Like the communication block of a real PLC it runs on its own: `exchange` returns at once with the newest registers that
came, so a gateway that hangs never stops the scan. None, from the moment that a request fails until one succeeds.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from sad_runtime.errors import MissingExtra
from sad_runtime.plc.register_map import COMMAND_AT, COMMAND_SIZE, STATUS_AT, command_registers
from sad_runtime.plc.status import KNOWN_CONTROL, CommandBlock

log = logging.getLogger(__name__)
READ = 64
"""Of the status block; the ring behind it is not needed."""
TIMEOUT_S = 0.3
AGAIN_S = 0.2
"""Between two tries to connect."""


class Link:
    """Opened by `with`. Counts `exchanges`, `errors` (no answer, or a refusal) and `connects`. The high word comes
    first, as gateways have it where nothing else is said."""

    def __init__(self, host: str, port: int, unit: int = 1) -> None:
        """Raises MissingExtra."""
        try:
            from pymodbus.client import ModbusTcpClient
        except ImportError:
            raise MissingExtra("pymodbus", "plc", "sad-plc simulate") from None
        logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)  # it says each failed try; `why` tells it once
        self.exchanges = self.errors = self.connects = 0
        self.why = "not tried yet"
        """Why there is no connection, or what was refused last."""
        self._client: Any = ModbusTcpClient(host, port=port, timeout=TIMEOUT_S, retries=0)  # half of it is not typed
        self._where = f"{host}:{port}"
        self._unit = unit
        self._changed = threading.Condition()
        self._command: CommandBlock | None = None
        self._registers: Sequence[int] | None = None
        self._cut = self._ended = False
        self._garbage: random.Random | None = None
        self._thread = threading.Thread(target=self._work, name="modbus link of the simulated PLC", daemon=True)

    def __enter__(self) -> Link:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()
        self._client.close()

    @property
    def registers(self) -> Sequence[int] | None:
        """0 to 63 as they were read last, all in one request."""
        with self._changed:
            return self._registers

    def send(self, command: CommandBlock) -> None:
        """The newest wins; it is written again with every scan, so nothing is lost by that."""
        with self._changed:
            self._command = command
            self._changed.notify()

    def cut(self, cut: bool) -> None:
        """Pulls the cable, or plugs it in again."""
        with self._changed:
            self._cut = cut
            if cut:
                self._registers = None

    def scribble(self, dice: random.Random | None) -> None:
        """From now on writes nonsense from `dice` before each command block; None: no more."""
        with self._changed:
            self._garbage = dice

    def _work(self) -> None:
        try:
            self._exchange_all()
        except Exception as error:  # whatever ended it: old registers must not look like new ones
            log.exception("the simulated PLC's Modbus link ended")
            self._failed(f"the link ended: {type(error).__name__}: {error}")
        finally:
            with self._changed:
                self._registers = None

    def _exchange_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or self._command is not None)
                if self._ended:
                    return
                command, self._command = self._command, None
                cut, garbage = self._cut, self._garbage
            if command is None:
                continue
            if cut:
                self._client.close()
                self.why = "the cable is pulled"
                continue
            registers = self._exchanged(command, garbage)
            with self._changed:
                self._registers = None if self._cut else registers
            if registers is None and not self._client.connected:
                time.sleep(AGAIN_S)

    def _exchanged(self, command: CommandBlock, garbage: random.Random | None) -> Sequence[int] | None:
        from pymodbus.exceptions import ModbusException

        try:
            if not self._client.connected:
                if not self._client.connect():
                    self.why = f"nobody listens at {self._where}"
                    return None
                self.connects += 1
            if garbage is not None:
                self._client.write_registers(COMMAND_AT, _nonsense(garbage), device_id=self._unit)
            reply = self._client.readwrite_registers(
                read_address=STATUS_AT,
                read_count=READ,
                write_address=COMMAND_AT,
                values=command_registers(command),
                device_id=self._unit,
            )
        except (ModbusException, OSError) as error:
            self._failed(f"{self._where}: {error}")
            self._client.close()
            return None
        self.exchanges += 1
        if reply.isError() or len(reply.registers) != READ:
            self._failed(f"{self._where}, unit {self._unit}: refused ({reply})")
            return None
        return list(reply.registers)

    def _failed(self, why: str) -> None:
        self.errors += 1
        self.why = why


def _nonsense(dice: random.Random) -> list[int]:
    """Every second time with bits in CONTROL that do exist, so that it is not refused at the door."""
    words = [dice.getrandbits(16) for _ in range(COMMAND_SIZE)]
    if dice.random() < 0.5:
        words[0] &= KNOWN_CONTROL
    return words
