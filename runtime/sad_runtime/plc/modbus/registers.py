"""One station as Modbus registers: the newest status as a whole, and what the PLC wrote.

All of it is the server's thread's, but for `show`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sad_runtime.plc.modbus.requests import Code, Refused
from sad_runtime.plc.register_map import (
    COMMAND_AT,
    COMMAND_SIZE,
    COMMANDS,
    STATUS_AT,
    STATUS_SIZE,
    WordOrder,
    command_block,
    status_registers,
)
from sad_runtime.plc.status import KNOWN_CONTROL, Bit, CommandBlock, Status

CONTROL_AT = COMMAND_AT
ALONE = (COMMAND_AT, COMMAND_AT + 1)
"""CONTROL and PLC_HEARTBEAT: what function 6 may write."""
TORN_AT = frozenset(field.at + 1 for field in COMMANDS if field.size == 2)
"""A write that begins or ends here would leave half a number."""


class StationRegisters:
    def __init__(self, word_order: WordOrder, tell: Callable[[CommandBlock], None]) -> None:
        self._word_order = word_order
        self._tell = tell
        self._status = Status()
        self._shown: tuple[Status, list[int]] = (self._status, status_registers(self._status, word_order))
        self._commands = [0] * COMMAND_SIZE
        self._control_known = False
        """The PLC may hold bits of CONTROL while it writes its heartbeat alone, after a new start of the gateway. Taken
        for 0 till then, they would be edges later."""

    def show(self, status: Status) -> None:
        """From any thread."""
        self._status = status

    def read(self, at: int, count: int) -> list[int]:
        """All of one status: they are laid out when they are asked for, once for each status."""
        if at >= STATUS_AT and at + count <= STATUS_AT + STATUS_SIZE:
            return self._block()[at - STATUS_AT : at - STATUS_AT + count]
        self._within_commands(at, count)
        return self._commands[at - COMMAND_AT : at - COMMAND_AT + count]

    def read_bits(self, at: int, count: int) -> list[bool]:
        """Discrete inputs 0 to 15 are the bits of STATUS."""
        if at + count > len(Bit):
            raise Refused(Code.ILLEGAL_ADDRESS)
        bits = int(self._status.bits)
        return [bool(bits >> place & 1) for place in range(at, at + count)]

    def check_write(self, at: int, words: Sequence[int], *, alone: bool) -> None:
        """Raises Refused for what no PLC may write."""
        self._within_commands(at, len(words))
        if (alone and at not in ALONE) or at in TORN_AT or at + len(words) in TORN_AT:
            raise Refused(Code.ILLEGAL_ADDRESS)
        if at == CONTROL_AT and words[0] & ~KNOWN_CONTROL:
            raise Refused(Code.ILLEGAL_VALUE, "bad_controls")

    def write(self, at: int, words: Sequence[int]) -> None:
        """`check_write` has let it through. The gate is told of the whole block."""
        self._commands[at - COMMAND_AT : at - COMMAND_AT + len(words)] = words
        self._control_known = self._control_known or at == CONTROL_AT
        if self._control_known:
            self._tell(command_block(self._commands, self._word_order))

    def _block(self) -> list[int]:
        status = self._status
        if self._shown[0] is not status:
            self._shown = (status, status_registers(status, self._word_order))
        return self._shown[1]

    def _within_commands(self, at: int, count: int) -> None:
        if at < COMMAND_AT or at + count > COMMAND_AT + COMMAND_SIZE:
            raise Refused(Code.ILLEGAL_ADDRESS)
