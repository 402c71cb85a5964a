"""This gateway goes to a Modbus/TCP server in the PLC: writes the status block there, reads the command block.

A PLC that is away, hangs or refuses is tried again, less and less often; `write` never waits for it. In which order the
block is written stands in order.py.
"""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from sad_runtime.errors import UsageError
from sad_runtime.ops.host_port import host_and_port
from sad_runtime.plc.base import OnCommand, Plc
from sad_runtime.plc.config import ModbusClientConfig
from sad_runtime.plc.loop_thread import LoopThread
from sad_runtime.plc.modbus.link import LinkLost, LinkRefused, ModbusLink, need_pymodbus
from sad_runtime.plc.modbus.order import writes
from sad_runtime.plc.modbus.tls import client_context
from sad_runtime.plc.polled_commands import UNSEEN_S, PolledCommands
from sad_runtime.plc.register_map import COMMAND_SIZE, STATUS_SIZE, U16, command_block, status_registers
from sad_runtime.plc.status import KNOWN_CONTROL, CommandBlock, Status
from sad_runtime.plc.taken_back import takes_back

log = logging.getLogger(__name__)
Tell = Callable[[CommandBlock], None]
ANSWER_S = 1.0
WHOLE_S = 1.0
"""After which the whole block is written once more: a program download may have emptied it."""
BACK_OFF_S = (0.2, 5.0)
"""First and longest wait before the next try."""
LAST_WORD_S, CLOSE_S = 0.8, 1.0
SAME_AGAIN_S = 60.0
COUNTED = ("connects", "lost", "refused", "writes", "reads", "commands", "bad_controls")


class ModbusClient(Plc):
    def __init__(self, config: ModbusClientConfig, station: str) -> None:
        """Raises UsageError."""
        _check_places(config)
        self._config, self._station = config, station
        self._period_s = config.every_ms / 1000
        self._counts: Counter[str] = Counter(dict.fromkeys(COUNTED, 0))
        self._newest: Status | None = None
        self._written: tuple[Status, list[int]] | None = None
        """What the PLC has now; None: nobody knows."""
        self._whole_s = -math.inf
        """When all of it was written last."""
        self._urgent = False
        self._commands = PolledCommands(max(UNSEEN_S, 3 * self._period_s))
        self._back_off_s = BACK_OFF_S[0]
        self._wake = asyncio.Event()
        self._ending = False
        self._thread: LoopThread | None = None
        self._said: tuple[str, float] = ("", -math.inf)

    def connect(self, on_command: OnCommand) -> None:
        need_pymodbus()
        context = None if self._config.tls is None else client_context(self._config.tls)
        tell = partial(on_command, self._station)
        self._thread = LoopThread(f"plc-modbus-client-{self._station}", lambda: self._run(context, tell))
        self._thread.start()

    def write(self, station: str, status: Status) -> None:
        urgent = takes_back(self._newest, status)
        self._newest = status
        self._urgent = self._urgent or urgent
        self._stir()

    def close(self) -> None:
        """What was written last is still brought to a PLC that takes it within LAST_WORD_S."""
        self._ending = True
        self._stir()
        if self._thread is not None and not self._thread.join(LAST_WORD_S):
            self._thread.stop(CLOSE_S)

    def counters(self) -> dict[str, int]:
        return dict(self._counts)

    @property
    def failure(self) -> str | None:
        return None if self._thread is None else self._thread.failure

    def _stir(self) -> None:
        if self._thread is not None:
            self._thread.call(self._wake.set)

    async def _run(self, context: ssl.SSLContext | None, tell: Tell) -> None:
        host, port = host_and_port(self._config.address)
        while not self._ending:
            link = ModbusLink(host, port, self._config.unit, context, ANSWER_S)
            try:
                await link.open()
                self._connected()
                await self._talk(link, tell)
            except LinkLost as error:
                self._lost(error)
            finally:
                self._written = None
                link.close()
            await self._back_off()

    async def _talk(self, link: ModbusLink, tell: Tell) -> None:
        """Until the gateway ends."""
        now_s = asyncio.get_running_loop().time
        show_s = now_s()
        ask_s = math.inf if self._config.commands_at is None else show_s
        while True:
            self._wake.clear()  # Before looking, so that nothing that comes meanwhile is slept over.
            ending = self._ending
            if (now_s() >= show_s or ending or self._urgent) and self._is_new:
                show_s = now_s() + self._period_s
                await self._show(link)
            if ending:
                return
            if now_s() >= ask_s:
                ask_s = now_s() + self._period_s
                await self._ask(link, tell)
            self._back_off_s = BACK_OFF_S[0]
            await self._woken(min(ask_s, self._next_show_s(show_s)) - now_s())

    def _next_show_s(self, show_s: float) -> float:
        if not self._is_new:
            return math.inf
        return -math.inf if self._urgent else show_s

    @property
    def _is_new(self) -> bool:
        return self._newest is not None and (self._written is None or self._written[0] is not self._newest)

    async def _show(self, link: ModbusLink) -> None:
        self._urgent = False  # Before looking: what is urgent from now on is a newer status.
        status, now_s = self._newest, time.monotonic()
        if status is None:
            return
        registers = status_registers(status, self._config.word_order)
        whole = now_s - self._whole_s >= WHOLE_S
        for step in writes(None if self._written is None else self._written[1], registers, whole=whole):
            await link.write(self._config.status_at + step.at, step.words)
            self._counts["writes"] += 1
        if whole or self._written is None:
            self._whole_s = now_s
        self._written = (status, registers)

    async def _ask(self, link: ModbusLink, tell: Tell) -> None:
        registers = await link.read(self._config.commands_at or 0, COMMAND_SIZE)
        self._counts["reads"] += 1
        block = self._commands.changed(command_block(registers, self._config.word_order), time.monotonic())
        if block is not None:
            self._counts["bad_controls" if block.control & ~KNOWN_CONTROL else "commands"] += 1
            tell(block)

    async def _woken(self, timeout_s: float) -> None:
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._wake.wait(), None if timeout_s == math.inf else timeout_s)

    async def _back_off(self) -> None:
        """Not cut short by `write`."""
        now_s = asyncio.get_running_loop().time
        until_s = now_s() + self._back_off_s
        self._back_off_s = min(2 * self._back_off_s, BACK_OFF_S[1])
        while not self._ending and now_s() < until_s:
            self._wake.clear()
            await self._woken(until_s - now_s())

    def _connected(self) -> None:
        self._counts["connects"] += 1
        log.info("%s: connected to the PLC at %s", self._station, self._config.address)

    def _lost(self, error: LinkLost) -> None:
        """The same words once a minute: a PLC may be off for a night."""
        self._counts["refused" if isinstance(error, LinkRefused) else "lost"] += 1
        words, said_s = self._said
        if str(error) != words or time.monotonic() - said_s >= SAME_AGAIN_S:
            self._said = (str(error), time.monotonic())
            log.warning("%s: PLC at %s: %s; tried again", self._station, self._config.address, error)


def _check_places(config: ModbusClientConfig) -> None:
    status = range(config.status_at, config.status_at + STATUS_SIZE)
    at = config.commands_at
    commands = range(0) if at is None else range(at, at + COMMAND_SIZE)
    if max(status.stop, commands.stop) > U16 + 1:
        raise UsageError(
            f"plc.modbus_client: {STATUS_SIZE} registers from status_at {status.start} and {COMMAND_SIZE} from "
            f"commands_at {at} on do not all fit below 65536"
        )
    if status.start < commands.stop and commands.start < status.stop:
        raise UsageError(
            f"plc.modbus_client: commands_at {at} lies in the status block, {status.start} to {status.stop - 1}, which "
            f"would be written over it. Try commands_at: {status.stop}"
        )
