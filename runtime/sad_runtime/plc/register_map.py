"""The register map, version 1.0: the one place where it is defined. docs/plc.md shows it as a table made from here.

Status block 0 to 127, read only, meant to be read as 0 to 63 in one request; command block 200 to 211. Addresses count
from 0; a register has 16 bits; u32 and float32 take two, the high word first (`word_order` changes that).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sad_runtime.plc.status import MAP_VERSION, RING, VERDICT_CODE, CommandBlock, Result, Status
from sad_runtime.verdict import Reason, Verdict

WordOrder = Literal["high_first", "low_first"]
Kind = Literal["u16", "u32", "f32"]

STATUS_AT: Final = 0
STATUS_SIZE: Final = 128
COMMAND_AT: Final = 200
COMMAND_SIZE: Final = 12
RING_AT: Final = 64
RING_WORDS: Final = 8
U16, U32 = 0xFFFF, 0xFFFF_FFFF


@dataclass(frozen=True)
class Field:
    """One value of the status block."""

    at: int
    name: str
    kind: Kind
    text: str
    of: Callable[[Status], float]
    """An int for u16 and u32, cut to what fits."""

    @property
    def size(self) -> int:
        return 1 if self.kind == "u16" else 2


@dataclass(frozen=True)
class CommandField:
    """One value of the command block; `name` is also the attribute of CommandBlock, in small letters."""

    at: int
    name: str
    kind: Kind
    text: str

    @property
    def size(self) -> int:
        return 1 if self.kind == "u16" else 2


def _result(read: Callable[[Result], float | None], nothing: float = 0) -> Callable[[Status], float]:
    def value(status: Status) -> float:
        found = None if status.result is None else read(status.result)
        return nothing if found is None else found

    return value


def _box(index: int) -> Callable[[Status], float]:
    return _result(lambda result: result.regions[0][index] if result.regions else 0)


def per_mille(result: Result) -> int:
    """Score as thousandths of the threshold, 0 to 65535; for PLCs without REAL."""
    score, threshold = result.score, result.threshold
    if score is None or threshold is None or not threshold > 0 or not math.isfinite(score):
        return 0
    return _capped(1000 * score / threshold)


def _capped(value: float) -> int:
    """Not a number: 0."""
    return round(min(float(U16), max(0.0, value))) if value == value else 0


def tag_of(digest: str) -> int:
    """The first 32 bits of a hex digest, 0 without one."""
    head = digest[:8]
    return int(head, 16) if head and set(head) <= set("0123456789abcdefABCDEF") else 0


def _verdict(status: Status) -> int:
    """As the bits say it: a reader that looks at nothing else must not find an old PASS here."""
    return VERDICT_CODE[status.shown_verdict]


def _reason(status: Status) -> int:
    if status.shown_verdict is Verdict.INVALID and (
        status.result is None or status.result.verdict is not Verdict.INVALID
    ):
        return Reason.NOT_ONLINE.code
    return 0 if status.result is None else status.result.reason.code


FIELDS: tuple[Field, ...] = (
    Field(0, "MAP_VERSION", "u16", "0x0100. Another number: these addresses mean other things", lambda s: MAP_VERSION),
    Field(1, "STATUS", "u16", "bits, see below", lambda s: int(s.bits)),
    Field(2, "HEARTBEAT", "u16", "+1 every 100 ms while the station is heard", lambda s: s.heartbeat),
    Field(3, "FAULT_CODE", "u16", "see below", lambda s: int(s.fault)),
    Field(4, "WARN_BITS", "u16", "see below", lambda s: int(s.warn)),
    Field(5, "RUN_TAG", "u32", "changes when the station or the gateway was started anew", lambda s: s.run_tag),
    Field(7, "RESULT_SEQ", "u32", "number of the result shown, +1 each; 0 before the first", _result(lambda r: r.seq)),
    Field(9, "PART_ID", "u32", "of the part, as it came with the trigger", _result(lambda r: r.part_id)),
    Field(11, "TRIGGER_ID", "u16", "as it came with the trigger", _result(lambda r: r.trigger_id)),
    Field(12, "VERDICT", "u16", "0 none, 1 PASS, 2 FAIL, 3 INVALID", _verdict),
    Field(13, "REASON", "u16", "see below", _reason),
    Field(14, "SCORE", "f32", "in the unit of the model; 0 when nothing was scored", _result(lambda r: r.score)),
    Field(16, "THRESHOLD", "f32", "FAIL is SCORE above it", _result(lambda r: r.threshold)),
    Field(18, "SCORE_PM", "u16", "SCORE in thousandths of THRESHOLD, at most 65535", _result(per_mille)),
    Field(19, "REGIONS", "u16", "how many places stand out", _result(lambda r: min(U16, len(r.regions)))),
    Field(20, "REGION_X", "u16", "of the highest one, in model pixels", _box(0)),
    Field(21, "REGION_Y", "u16", "", _box(1)),
    Field(22, "REGION_W", "u16", "", _box(2)),
    Field(23, "REGION_H", "u16", "", _box(3)),
    Field(24, "LATENCY", "u16", "trigger to publishing, 0.1 ms", _result(lambda r: _capped(10 * r.latency_ms))),
    Field(25, "AGE", "u16", "trigger to the gateway's writing this, ms", _result(lambda r: _capped(r.age_ms))),
    Field(26, "CAPTURE_TIME", "u32", "UTC, s since 1970", _result(lambda r: r.captured_ns // 10**9)),
    Field(28, "CAPTURE_MS", "u16", "and ms", _result(lambda r: r.captured_ns // 10**6 % 1000)),
    Field(29, "RECIPE", "u16", "in force", lambda s: s.recipe),
    Field(30, "MODEL_TAG", "u32", "first 32 bits of its model's SHA-256", lambda s: tag_of(s.model_digest)),
    Field(32, "QUEUE", "u16", "results that wait for their ACK, the one shown among them", lambda s: s.queue),
    Field(33, "ENCODER", "u32", "as it came with the trigger", _result(lambda r: r.encoder)),
    Field(36, "COUNT_TOTAL", "u32", "results since the start, or RESET_COUNTERS", lambda s: s.counters.total),
    Field(38, "COUNT_PASS", "u32", "", lambda s: s.counters.passed),
    Field(40, "COUNT_FAIL", "u32", "", lambda s: s.counters.failed),
    Field(42, "COUNT_INVALID", "u32", "", lambda s: s.counters.invalid),
    Field(44, "COUNT_MISSED", "u32", "triggers that were not taken", lambda s: s.counters.missed_trigger),
    Field(46, "COUNT_LOST", "u32", "decisions that never got here in time to act on", lambda s: s.counters.lost),
    Field(62, "RESULT_SEQ_COPY", "u32", "must equal RESULT_SEQ, else read again", _result(lambda r: r.seq)),
)
RING_FIELDS: tuple[Field, ...] = (
    Field(0, "SEQ", "u32", "RESULT_SEQ; 0: no result yet", _result(lambda r: r.seq)),
    Field(2, "PART_ID", "u32", "", _result(lambda r: r.part_id)),
    Field(4, "VERDICT", "u16", "", _result(lambda r: VERDICT_CODE[r.verdict])),
    Field(5, "REASON", "u16", "", _result(lambda r: r.reason.code)),
    Field(6, "SCORE_PM", "u16", "", _result(per_mille)),
    Field(7, "AGE", "u16", "ms, when it was written", _result(lambda r: _capped(r.age_ms))),
)
"""Of one result in the ring of the last RING, newest first, from RING_AT on, RING_WORDS apart."""

COMMANDS: tuple[CommandField, ...] = (
    CommandField(200, "CONTROL", "u16", "bits, see below"),
    CommandField(201, "PLC_HEARTBEAT", "u16", "any change at least once a second while ENABLE is 1"),
    CommandField(202, "PART_ID", "u32", "of the part that the next TRIGGER is for"),
    CommandField(204, "TRIGGER_ID", "u16", "of the next TRIGGER; with PART_ID different from every part under way"),
    CommandField(205, "RECIPE_REQUEST", "u16", "for LOAD_RECIPE"),
    CommandField(206, "ACK_SEQ", "u32", "RESULT_SEQ of the result that was read; acknowledges all up to it"),
    CommandField(208, "DEADLINE_MS", "u16", "for the next TRIGGER; 0: the recipe's own"),
    CommandField(210, "ENCODER", "u32", "line position at the TRIGGER; kept in the records"),
)


def status_registers(status: Status, word_order: WordOrder = "high_first") -> list[int]:
    """The status block, registers 0 to 127. Places without a field are 0."""
    registers = [0] * STATUS_SIZE
    for field in FIELDS:
        _put(registers, field.at, field, status, word_order)
    for place, result in enumerate(status.ring[:RING]):
        shown = Status(result=result)
        for field in RING_FIELDS:
            _put(registers, RING_AT + place * RING_WORDS + field.at, field, shown, word_order)
    return registers


def command_block(registers: Sequence[int], word_order: WordOrder = "high_first") -> CommandBlock:
    """The command block from its COMMAND_SIZE registers."""
    values = {}
    for field in COMMANDS:
        at = field.at - COMMAND_AT
        values[field.name.lower()] = number_from(registers[at : at + field.size], word_order)
    return CommandBlock(**values)


def command_registers(block: CommandBlock, word_order: WordOrder = "high_first") -> list[int]:
    """What a PLC writes to say `block`."""
    registers = [0] * COMMAND_SIZE
    for field in COMMANDS:
        words = words_of(getattr(block, field.name.lower()), field.kind, word_order)
        registers[field.at - COMMAND_AT : field.at - COMMAND_AT + field.size] = words
    return registers


def status_values(registers: Sequence[int], word_order: WordOrder = "high_first") -> dict[str, float]:
    """The fields of a status block by name, as a PLC reads them; for the simulator, the tests and people."""
    return {field.name: _read(registers, field, word_order) for field in FIELDS}


def ring_values(registers: Sequence[int], word_order: WordOrder = "high_first") -> Iterator[Mapping[str, float]]:
    """The ring of a status block, newest first."""
    for place in range(RING):
        start = RING_AT + place * RING_WORDS
        yield {field.name: _read(registers[start : start + RING_WORDS], field, word_order) for field in RING_FIELDS}


def words_of(value: float, kind: Kind, word_order: WordOrder) -> list[int]:
    """What does not fit is cut off at the top, as counters wrap."""
    if kind == "u16":
        return [int(value) & U16]
    packed = struct.pack(">f", _float32(value)) if kind == "f32" else struct.pack(">I", int(value) & U32)
    high, low = struct.unpack(">HH", packed)
    return [high, low] if word_order == "high_first" else [low, high]


def number_from(words: Sequence[int], word_order: WordOrder) -> int:
    """u16 from one register, u32 from two."""
    if len(words) == 1:
        return words[0]
    high, low = words if word_order == "high_first" else reversed(words)
    return high << 16 | low


def _put(registers: list[int], at: int, field: Field, status: Status, word_order: WordOrder) -> None:
    registers[at : at + field.size] = words_of(field.of(status), field.kind, word_order)


def _read(registers: Sequence[int], field: Field, word_order: WordOrder) -> float:
    number = number_from(registers[field.at : field.at + field.size], word_order)
    if field.kind != "f32":
        return number
    value: float = struct.unpack(">f", struct.pack(">I", number))[0]
    return value


def _float32(value: float) -> float:
    """Beyond the range of float32: its end; not a number: 0, which no PLC can mistake for a score above a threshold
    (the verdict is INVALID then anyway)."""
    if math.isnan(value):
        return 0.0
    largest = 3.4028234663852886e38
    return min(largest, max(-largest, value))
