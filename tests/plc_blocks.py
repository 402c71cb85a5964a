"""The function blocks of docs/plc/ on a belt, before the real gate of the gateway: scan by scan, 10 ms each."""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from gates import Stage
from sad_runtime.messages import Command
from sad_runtime.plc.modbus.order import writes
from sad_runtime.plc.register_map import (
    COMMANDS,
    FIELDS,
    CommandField,
    Field,
    command_block,
    number_from,
    status_registers,
    words_of,
)
from sad_runtime.plc.s7.block import requests_for
from sad_runtime.plc.status import CommandBlock, Status
from sad_runtime.verdict import Verdict
from structured_text import Program, Value

FOLDER = Path(__file__).parents[1] / "docs" / "plc"
ST = FOLDER / "SadInspection.st"
SCL = FOLDER / "SadInspection.scl"
SCAN_MS = 10
OFFSET, WINDOW = 100, 5
SIGHT = 6
"""Encoder counts; the parts of the tests are at least 7 apart."""
TYPES = {"Word": "WORD", "DWord": "DWORD", "Real": "DWORD"}


def st_from_scl(text: str) -> str:
    """As the parser reads it: marks and quotes off, data blocks left out, no statement changes."""
    text = re.sub(r"^DATA_BLOCK.*?^END_DATA_BLOCK$", "", text, flags=re.M | re.S)
    text = re.sub(r"^(VERSION.*|\{.*\}|BEGIN)$", "", text, flags=re.M)
    text = re.sub(r"//.*", "", text)
    text = text.replace("#", "§").replace("16§", "16#").replace("T§", "T#").replace("§", "").replace('"', "")
    text = text.replace("TON_TIME", "TON")
    text = re.sub(r"^TYPE SadPart\s+STRUCT", "TYPE SadPart :\nSTRUCT", text, flags=re.M)
    for name in ("UDInt", "UInt", "DInt", "Bool"):
        text = re.sub(rf"\b{name}\b", name.upper(), text)
    return text.replace("END_STRUCT;", "END_STRUCT")


Steps = Callable[[list[int], list[int]], Iterator[list[int]]]
"""(what is in the PLC, what is to be there) -> what is in the PLC after each request."""


def modbus_client_steps(old: list[int], new: list[int]) -> Iterator[list[int]]:
    for step in writes(old, new):
        old = [*old[: step.at], *step.words, *old[step.at + len(step.words) :]]
        yield old


def s7_steps(old: list[int], new: list[int]) -> Iterator[list[int]]:
    layout = f">{len(old)}H"
    there = bytearray(struct.pack(layout, *old))
    for at, data in requests_for(struct.pack(layout, *new), bytes(there)):
        there[at : at + len(data)] = data
        yield list(struct.unpack(layout, there))


STEPS: dict[str, Steps] = {"modbus_client": modbus_client_steps, "s7": s7_steps}


def data_block(name: str) -> dict[str, tuple[int, str]]:
    """Field -> (byte, type), laid out as a CPU does: words and longer ones one after the other, on even bytes."""
    block = re.search(rf'DATA_BLOCK "{name}".*?STRUCT(.*?)END_STRUCT', SCL.read_text(), re.S)
    assert block is not None
    found: dict[str, tuple[int, str]] = {}
    at = 0
    for field, last, kind in re.findall(r"(\w+) : (?:Array\[0\.\.(\d+)\] of )?(\w+);", block[1]):
        found[field] = (at, kind)
        at += {"Word": 2, "DWord": 4, "Real": 4}[kind] * (int(last or 0) + 1)
    found[""] = (at, "")
    return found


class Block:
    """One of the two, told and asked in registers."""

    def __init__(self, dialect: str) -> None:
        self.scl = dialect == "scl"
        self._status = dict(data_block("SadStatus")) if self.scl else {}
        self._command = dict(data_block("SadCommand")) if self.scl else {}
        if self.scl:
            outside = {"SadStatus": self._zeros(self._status), "SadCommand": self._zeros(self._command)}
            self.program = Program(st_from_scl(SCL.read_text()), outside)
        else:
            self.program = Program(ST.read_text())

    def read(self, status: Status) -> None:
        self.read_registers(status_registers(status))

    def read_registers(self, registers: list[int]) -> None:
        if not self.scl:
            return self.program.set_words("Status", registers)
        for field in FIELDS:
            self.program.outside["SadStatus"][field.name] = _value(registers, field, 0)

    def written(self) -> list[int]:
        """The command registers."""
        if not self.scl:
            return self.program.words("Command")
        registers = [0] * 12
        for field in COMMANDS:
            number = self.program.outside["SadCommand"][field.name].number
            registers[field.at - 200 : field.at - 200 + field.size] = words_of(number, field.kind, "high_first")
        return registers

    @staticmethod
    def _zeros(fields: dict[str, tuple[int, str]]) -> dict[str, Value]:
        return {name: Value(TYPES[kind], 0) for name, (_, kind) in fields.items() if kind}


def _value(registers: list[int], field: Field | CommandField, start: int) -> Value:
    words = registers[field.at - start : field.at - start + field.size]
    return Value("WORD" if field.size == 1 else "DWORD", number_from(words, "high_first"))


class Belt:
    """A belt, a station that answers `answer_ms` after each trigger, the gate of the gateway, the block."""

    def __init__(
        self, dialect: str, *, verdict: Verdict | None = Verdict.PASS, answer_ms: int = 60, steps: Steps | None = None
    ) -> None:
        self.block = Block(dialect)
        self.stage = Stage(enabled=False)
        self.stage.plc_lives = False
        self.verdict, self.answer_ms = verdict, answer_ms
        self.now_ms, self.encoder, self.speed = 0, 0, 1
        self.bus = True
        """Whether registers travel."""
        self.lag_scans = 0
        """How much later than written commands get to the gateway."""
        self.torn = 0
        """Scans that found the registers half written."""
        self.barrier = False
        self.let: list[int] = []
        """Encoder counts at which the gate lets go."""
        self._due: list[tuple[int, Verdict, Command]] = []
        self._steps, self._there = steps, status_registers(self.stage.status)
        self._under_way: Iterator[list[int]] = iter(())
        self._on_the_way: deque[tuple[int, CommandBlock]] = deque()
        for name, number in (("Enable", 1), ("GateOffset", OFFSET), ("GateWindow", WINDOW), ("Sight", SIGHT)):
            self.block.program.set(name, number)
        self.scan(50)

    def scan(self, count: int = 1) -> None:
        for _ in range(count):
            self.now_ms += SCAN_MS
            self.encoder = _as_dint(self.encoder + self.speed)
            status = self.stage.after(SCAN_MS)
            self._answer_triggers()
            if self.bus:
                self._show(status)
            program = self.block.program
            program.set("Encoder", self.encoder)
            program.set("PartAtCamera", self.barrier)
            program.call(self.now_ms)
            if self.bus:
                self._command()
            if program.number("LetPass"):
                self.let.append(self.encoder)

    def part(self, scans_after: int = 0) -> int:
        """A part passes the camera; returns the encoder there."""
        self.barrier = True
        self.scan()
        here, self.barrier = self.encoder, False
        self.scan(1 + scans_after)
        return here

    def through(self) -> None:
        """Until every part has left the gate."""
        self.scan(OFFSET + WINDOW + 10)

    def count(self, name: str) -> int:
        return self.block.program.number(name)

    def _show(self, status: Status) -> None:
        """At once, or a request a scan; the next status when the one before is through."""
        if self._steps is None:
            return self.block.read(status)
        step = next(self._under_way, None)
        if step is None:
            self._under_way = self._steps(self._there, status_registers(status))
            step = next(self._under_way, self._there)
        self._there = step
        self.torn += step[7:9] != step[62:64]
        self.block.read_registers(step)

    def _command(self) -> None:
        self._on_the_way.append((self.now_ms + self.lag_scans * SCAN_MS, command_block(self.block.written())))
        while self._on_the_way and self._on_the_way[0][0] <= self.now_ms:
            self.stage.block = self._on_the_way.popleft()[1]
            self.stage.gate.commanded(self.stage.block, self.stage.now_ns)

    def _answer_triggers(self) -> None:
        for order in [order for order in self.stage.orders if order.op == "trigger"]:
            self.stage.answer(order)
            self.stage.encoders[order.trigger_id or 0, order.part_id or 0] = order.encoder or 0
            if self.verdict is not None:
                self._due.append((self.now_ms + self.answer_ms, self.verdict, order))
        self.stage.orders.clear()
        for answer in [answer for answer in self._due if answer[0] <= self.now_ms]:
            self._due.remove(answer)
            _, verdict, order = answer
            self.stage.decide(verdict, self.answer_ms, trigger_id=order.trigger_id, part_id=order.part_id)


def _as_dint(number: int) -> int:
    return (number + 2**31) % 2**32 - 2**31
