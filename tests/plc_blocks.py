"""The function blocks of docs/plc/ on a belt, before the real gate of the gateway: scan by scan, 10 ms each."""

from __future__ import annotations

import re
from pathlib import Path

from gates import Stage
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
from sad_runtime.plc.status import Status
from sad_runtime.verdict import Verdict
from structured_text import Program, Value

FOLDER = Path(__file__).parents[1] / "docs" / "plc"
ST = FOLDER / "SadInspection.st"
SCL = FOLDER / "SadInspection.scl"
SCAN_MS = 10
OFFSET, WINDOW = 100, 5
TYPES = {"Word": "WORD", "DWord": "DWORD", "Real": "DWORD"}


def st_from_scl(text: str) -> str:
    """As the parser reads it: marks and quotes off, data blocks left out, no statement changes."""
    text = re.sub(r"^DATA_BLOCK.*?^END_DATA_BLOCK$", "", text, flags=re.M | re.S)
    text = re.sub(r"^(VERSION.*|\{.*\}|BEGIN)$", "", text, flags=re.M)
    text = re.sub(r"//.*", "", text)
    text = text.replace("#", "§").replace("16§", "16#").replace("T§", "T#").replace("§", "").replace('"', "")
    text = text.replace("TON_TIME", "TON").replace(".TON(", "(")
    text = re.sub(r"^TYPE SadPart\s+STRUCT", "TYPE SadPart :\nSTRUCT", text, flags=re.M)
    for name in ("UDInt", "UInt", "DInt", "Bool"):
        text = re.sub(rf"\b{name}\b", name.upper(), text)
    return text.replace("END_STRUCT;", "END_STRUCT")


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
        registers = status_registers(status)
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

    def __init__(self, dialect: str, *, verdict: Verdict | None = Verdict.PASS, answer_ms: int = 60) -> None:
        self.block = Block(dialect)
        self.stage = Stage(enabled=False)
        self.stage.plc_lives = False
        self.verdict, self.answer_ms = verdict, answer_ms
        self.now_ms, self.encoder, self.speed = 0, 0, 1
        self.bus = True
        """Whether registers travel."""
        self.barrier = False
        self.let: list[int] = []
        """Encoder counts at which the gate lets go."""
        self._due: list[tuple[int, Verdict, int, int]] = []
        for name, number in (("Enable", 1), ("GateOffset", OFFSET), ("GateWindow", WINDOW)):
            self.block.program.set(name, number)
        self.scan(50)

    def scan(self, count: int = 1) -> None:
        for _ in range(count):
            self.now_ms += SCAN_MS
            self.encoder = _as_dint(self.encoder + self.speed)
            status = self.stage.after(SCAN_MS)
            self._answer_triggers()
            if self.bus:
                self.block.read(status)
            program = self.block.program
            program.set("Encoder", self.encoder)
            program.set("PartAtCamera", self.barrier)
            program.call(self.now_ms)
            if self.bus:
                self.stage.block = command_block(self.block.written())
                self.stage.gate.commanded(self.stage.block, self.stage.now_ns)
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

    def _answer_triggers(self) -> None:
        for order in [order for order in self.stage.orders if order.op == "trigger"]:
            self.stage.answer(order)
            if self.verdict is not None:
                due = self.now_ms + self.answer_ms
                self._due.append((due, self.verdict, order.trigger_id or 0, order.part_id or 0))
        self.stage.orders.clear()
        for answer in [answer for answer in self._due if answer[0] <= self.now_ms]:
            self._due.remove(answer)
            self.stage.decide(answer[1], trigger_id=answer[2], part_id=answer[3])


def _as_dint(number: int) -> int:
    return (number + 2**31) % 2**32 - 2**31
