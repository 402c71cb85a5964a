"""docs/plc/SadInspection.st and .scl, run before the gateway's own gate: reject unless proved good.

blark reads both (the SCL after a change of spelling, plc_blocks.st_from_scl), structured_text.py obeys them. That shows
that they are well formed and what they do; it is no vendor's compiler.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

pytest.importorskip("blark", reason="needs the dev extra")

from gates import Stage
from plc_blocks import OFFSET, SCL, SIGHT, ST, STEPS, WINDOW, Belt, data_block, st_from_scl
from sad_runtime.plc.register_map import (
    COMMAND_AT,
    COMMANDS,
    FIELDS,
    RING_AT,
    STATUS_SIZE,
    command_block,
    status_registers,
)
from sad_runtime.plc.status import MAP_VERSION, VERDICT_CODE, Bit, Control, Fault, Status
from sad_runtime.verdict import Verdict
from structured_text import Program, Value

DIALECTS = pytest.mark.parametrize("dialect", ["st", "scl"])
WAYS = pytest.mark.parametrize("way", list(STEPS))


@DIALECTS
def test_a_good_part_is_let_go_within_the_window_and_only_there(dialect: str) -> None:
    belt = Belt(dialect)
    here = belt.part()
    belt.through()
    assert belt.let == list(range(here + OFFSET - WINDOW, here + OFFSET + WINDOW + 1))
    assert (belt.count("Passed"), belt.count("Rejected")) == (1, 0)
    assert belt.stage.status.queue == 0, "its result was acknowledged"
    assert not belt.stage.status.bits & (Bit.FAULT | Bit.TRIGGER_ACK)


@DIALECTS
@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INVALID, None])
def test_whatever_is_not_pass_is_rejected(dialect: str, verdict: Verdict | None) -> None:
    belt = Belt(dialect, verdict=verdict)
    belt.part()
    belt.through()
    assert belt.let == []
    assert (belt.count("Passed"), belt.count("Rejected")) == (0, 1)


@DIALECTS
def test_every_part_gets_its_own_verdict(dialect: str) -> None:
    """Five under way at a time, every third bad, results 150 ms late."""
    belt = Belt(dialect, answer_ms=150)
    good = []
    for number in range(30):
        belt.verdict = Verdict.FAIL if number % 3 == 0 else Verdict.PASS
        here = belt.part(scans_after=18)
        if number % 3:
            good.append(here + OFFSET)
        if number == 29:
            belt.through()
    assert sorted({at for at in good if at in belt.let}) == good
    assert len(belt.let) == len(good) * (2 * WINDOW + 1)
    assert (belt.count("Passed"), belt.count("Rejected"), belt.count("NotTriggered")) == (20, 10, 0)


@DIALECTS
def test_a_pass_that_comes_when_the_part_is_in_the_gate_is_too_late(dialect: str) -> None:
    belt = Belt(dialect, answer_ms=(OFFSET - WINDOW + 2) * 10)
    belt.stage.deadline_ms = 5000
    belt.scan(20)
    belt.part()
    belt.through()
    assert belt.let == []
    assert (belt.count("Rejected"), belt.count("NoResult")) == (1, 1)


@DIALECTS
@pytest.mark.parametrize("lost", ["feed", "bus"])
def test_silence_closes_the_gate_even_for_a_part_that_passed(dialect: str, lost: str) -> None:
    belt = Belt(dialect)
    belt.part(scans_after=20)
    if lost == "feed":
        belt.stage.beating = False
    else:
        belt.bus = False
    for _ in range(36):
        belt.scan()
    assert not belt.count("Alive"), "within 360 ms"
    belt.stage.beating = belt.bus = True
    belt.through()
    assert belt.let == []
    assert belt.count("Alive"), "and it is heard again"
    belt.part()
    belt.through()
    assert belt.count("Passed") == 1


@DIALECTS
def test_a_heartbeat_that_never_moved_is_no_life(dialect: str) -> None:
    belt = Belt(dialect)
    frozen = belt.stage.status
    again = Belt(dialect)
    again.bus = False
    again.block = type(again.block)(dialect)
    again.block.program.set("Enable", 1)
    for _ in range(100):
        again.block.read(frozen)
        again.scan()
        assert not again.count("Alive")


@DIALECTS
def test_a_restart_of_the_station_rejects_what_was_under_way(dialect: str) -> None:
    belt = Belt(dialect)
    belt.part(scans_after=20)
    belt.stage.restart_station()
    belt.through()
    assert belt.let == []
    assert (belt.count("Restarts"), belt.count("Rejected")) == (1, 1)
    belt.part()
    belt.through()
    assert belt.count("Passed") == 1


@DIALECTS
def test_a_restart_of_the_gateway_forgets_its_numbers(dialect: str) -> None:
    """The new gateway counts from 1 again: ACK_SEQ must change for its first result as well."""
    belt = Belt(dialect)
    belt.part()
    belt.through()
    assert command_block(belt.block.written()).ack_seq == 1
    belt.stage = Stage(enabled=False)
    belt.stage.plc_lives = False
    belt.stage.gate._identity = "gateway-2"
    belt.scan(100)
    assert command_block(belt.block.written()).ack_seq == 0
    belt.part()
    belt.through()
    assert (belt.count("Restarts"), belt.count("Passed")) == (1, 2)
    assert belt.stage.status.queue == 0


@DIALECTS
def test_a_part_that_comes_while_the_station_is_offline_is_rejected(dialect: str) -> None:
    belt = Belt(dialect)
    belt.stage.online = False
    belt.scan(20)
    belt.part()
    belt.stage.online = True
    belt.through()
    assert (belt.count("NotTriggered"), belt.count("Rejected"), belt.count("Passed")) == (1, 1, 0)
    assert not belt.stage.status.bits & Bit.MISSED_TRIGGER, "it did not even try"


@DIALECTS
def test_a_result_of_another_part_lets_nothing_go(dialect: str) -> None:
    belt = Belt(dialect, verdict=None)
    belt.part()
    part, trigger = belt.stage.block.part_id, belt.stage.block.trigger_id
    status = belt.stage.decide(trigger_id=trigger, part_id=part)
    assert status.result is not None
    belt.bus = False
    for other_part, other_trigger in ((part + 1, trigger), (part, trigger + 1), (part + 65536, trigger)):
        other = replace(status.result, part_id=other_part, trigger_id=other_trigger)
        belt.block.read(replace(status, result=other))
        belt.scan()
    slot = belt.block.program.values["Parts"][0]
    assert not slot["Good"].number
    belt.block.read(status)
    belt.scan()
    assert slot["Good"].number, "the right one does"


@DIALECTS
def test_a_result_of_a_part_triggered_elsewhere_on_the_belt_lets_nothing_go(dialect: str) -> None:
    """Names may be given to the wrong part, by a program or by hand; where it lay cannot."""
    belt = Belt(dialect, verdict=None)
    belt.part()
    part, trigger = belt.stage.block.part_id, belt.stage.block.trigger_id
    status = belt.stage.decide(trigger_id=trigger, part_id=part)
    assert status.result is not None
    belt.bus = False
    belt.block.read(replace(status, result=replace(status.result, encoder=status.result.encoder + 1)))
    belt.scan()
    slot = belt.block.program.values["Parts"][0]
    assert slot["Judged"].number
    assert not slot["Good"].number


@DIALECTS
@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 0x0200), (1, 0xFFFF), (1, 0), (12, 3), (8, 0x1234), (62, 1), (63, 0)],
)
def test_registers_that_do_not_belong_together_let_nothing_go(dialect: str, at: int, value: int) -> None:
    belt = Belt(dialect, verdict=None)
    belt.part()
    order = belt.stage.block
    status = belt.stage.decide(trigger_id=order.trigger_id, part_id=order.part_id)
    belt.bus = False
    belt.block.read(status)
    _spoil(belt, at, value)
    belt.scan()
    assert not belt.block.program.values["Parts"][0]["Good"].number


@DIALECTS
@pytest.mark.parametrize(("allowed", "passed"), [(0, 0), (1, 1)])
def test_results_of_stand_ins_count_only_where_that_is_allowed(dialect: str, allowed: int, passed: int) -> None:
    belt = Belt(dialect, verdict=None)
    belt.block.program.set("AllowSimulated", allowed)
    belt.part()
    order = belt.stage.block
    belt.stage.decide(trigger_id=order.trigger_id, part_id=order.part_id, flags=["simulated"])
    belt.through()
    assert belt.count("Passed") == passed


@DIALECTS
def test_more_parts_than_can_be_followed_are_all_rejected(dialect: str) -> None:
    belt = Belt(dialect)
    belt.speed = 0
    for _ in range(17):
        belt.part(scans_after=10)
    belt.speed = 1
    belt.through()
    assert belt.count("Untracked") == 1
    assert (belt.let, belt.count("Rejected")) == ([], 16)


@DIALECTS
def test_two_in_the_gate_of_which_one_is_bad_are_both_rejected(dialect: str) -> None:
    belt = Belt(dialect)
    belt.part(scans_after=5)
    belt.verdict = Verdict.FAIL
    belt.part()
    belt.through()
    assert belt.count("Rejected") == 2


@DIALECTS
@pytest.mark.parametrize("start", [2**31 - 60, -60])
def test_the_encoder_may_wrap(dialect: str, start: int) -> None:
    belt = Belt(dialect)
    belt.encoder = start
    belt.part()
    belt.through()
    assert belt.count("Passed") == 1


@DIALECTS
def test_a_trigger_that_nobody_answers_is_taken_back_and_costs_its_part(dialect: str) -> None:
    belt = Belt(dialect)
    belt.bus = False
    belt.part()
    assert command_block(belt.block.written()).control & Control.TRIGGER
    belt.scan(40)
    assert not command_block(belt.block.written()).control & Control.TRIGGER
    belt.bus = True
    belt.through()
    belt.part()
    belt.through()
    assert (belt.count("Rejected"), belt.count("Passed")) == (1, 1)


@DIALECTS
@pytest.mark.parametrize("lag_scans", [SIGHT, 23, 29, 33])
def test_a_trigger_that_is_late_costs_its_part(dialect: str, lag_scans: int) -> None:
    """It photographs what lies before the camera by then, and the station says PASS of that."""
    belt = Belt(dialect)
    belt.lag_scans = lag_scans
    belt.part(scans_after=60)
    belt.lag_scans = 0
    belt.through()
    assert belt.let == []
    assert (belt.count("TooLate"), belt.count("Rejected")) == (1, 1)
    belt.part()
    belt.through()
    assert belt.count("Passed") == 1, "the next one is in time again"


@DIALECTS
@pytest.mark.parametrize(("sight", "passed"), [(SIGHT, 1), (1, 0), (0, 0)])
def test_a_part_may_travel_no_further_than_sight_until_its_ack(dialect: str, sight: int, passed: int) -> None:
    belt = Belt(dialect)
    belt.block.program.set("Sight", sight)
    belt.part()
    belt.through()
    assert (belt.count("Passed"), belt.count("TooLate")) == (passed, 1 - passed)


@DIALECTS
@pytest.mark.parametrize("jump", [-100_000, -WINDOW - 2, 2 * WINDOW, 100_000])
def test_an_encoder_that_jumps_rejects_what_is_on_the_belt_and_nothing_else(dialect: str, jump: int) -> None:
    belt = Belt(dialect)
    belt.part(scans_after=20)
    belt.encoder += jump
    belt.part(scans_after=20)
    assert (belt.count("Jumps"), belt.count("Rejected"), belt.count("Count")) == (1, 1, 1)
    belt.through()
    assert (belt.count("Passed"), belt.count("Rejected"), belt.count("Count")) == (1, 1, 0)


@DIALECTS
def test_a_part_of_before_the_jump_is_no_ghost_that_opens_the_gate(dialect: str) -> None:
    belt = Belt(dialect)
    here = belt.part(scans_after=20)
    belt.encoder = -5000
    belt.scan(30)
    belt.encoder = here + OFFSET - 20
    belt.scan(40)
    assert belt.let == []


@DIALECTS
def test_a_belt_that_creeps_back_behind_the_camera_forgets_its_parts(dialect: str) -> None:
    belt = Belt(dialect)
    belt.part(scans_after=20)
    belt.speed = -2
    belt.scan(20)
    assert (belt.count("Jumps"), belt.count("Rejected"), belt.count("Count")) == (1, 1, 0)
    belt.speed = 1
    belt.through()
    assert belt.let == []


@DIALECTS
def test_a_small_step_back_costs_nothing(dialect: str) -> None:
    belt = Belt(dialect)
    belt.part(scans_after=20)
    belt.encoder -= WINDOW
    belt.through()
    assert (belt.count("Jumps"), belt.count("Passed")) == (0, 1)


@DIALECTS
def test_without_enable_no_part_stays_in_the_queue(dialect: str) -> None:
    belt = Belt(dialect)
    belt.part(scans_after=20)
    belt.block.program.set("Enable", 0)
    belt.scan(2)
    assert (belt.count("Count"), belt.count("Rejected")) == (0, 1)
    belt.block.program.set("Enable", 1)
    belt.scan(30)
    belt.through()
    assert belt.let == []
    belt.part()
    belt.through()
    assert belt.count("Passed") == 1


@DIALECTS
@WAYS
def test_parts_pass_though_each_result_is_half_written_for_some_scans(dialect: str, way: str) -> None:
    """As the gateway's own ways write it, a request a scan; every third part is bad."""
    belt = Belt(dialect, steps=STEPS[way])
    belt.block.program.set("Sight", 12)
    good = []
    for number in range(9):
        belt.verdict = Verdict.FAIL if number % 3 == 0 else Verdict.PASS
        here = belt.part(scans_after=18)
        if number % 3:
            good.append(here)
    belt.through()
    assert belt.torn >= 18, "two scans a result at least"
    window = range(OFFSET - WINDOW, OFFSET + WINDOW + 1)
    assert belt.let == [here + counts for here in good for counts in window]
    assert (belt.count("Passed"), belt.count("Rejected"), belt.count("NotTriggered")) == (6, 3, 0)


@DIALECTS
@WAYS
@pytest.mark.parametrize("ascending", [True, False])
@pytest.mark.parametrize("first", [Verdict.PASS, Verdict.FAIL, Verdict.INVALID])
def test_no_half_written_word_makes_a_part_good(dialect: str, way: str, first: Verdict, ascending: bool) -> None:
    """From the result of a part to that of the next, a bad one, and to one of a third: word by word."""
    belt = Belt(dialect, verdict=None)
    parts = []
    for _ in range(3):
        here = belt.part(scans_after=8)
        parts.append((belt.stage.block.part_id, belt.stage.block.trigger_id, here))
    status = belt.stage.decide(part_id=parts[0][0], trigger_id=parts[0][1])
    shown = [
        status_registers(_showing(status, number, verdict, *parts[number]))
        for number, verdict in enumerate((first, Verdict.FAIL, Verdict.PASS))
    ]
    belt.block.read_registers(shown[0])
    belt.block.program.call(belt.now_ms)
    slots = belt.block.program.values["Parts"]
    for old, new in pairwise(shown):
        for registers in _word_by_word(way, old, new, ascending):
            belt.block.read_registers(registers)
            belt.block.program.call(belt.now_ms)
            assert not slots[1]["Good"].number
            assert not slots[2]["Good"].number or registers == new
    assert [bool(slots[number]["Good"].number) for number in range(3)] == [first is Verdict.PASS, False, True]


@DIALECTS
def test_registers_that_stay_half_written_are_silence(dialect: str) -> None:
    belt = Belt(dialect)
    belt.part(scans_after=20)
    belt.bus = False
    for scans in range(1, 40):
        belt.block.read(belt.stage.status)
        _spoil(belt, 62, 0xFFFF)
        belt.scan()
        assert bool(belt.count("Alive")) is (scans < 35) or 30 <= scans <= 35
    belt.through()
    assert belt.let == []


@DIALECTS
def test_another_map_closes_the_gate_at_once(dialect: str) -> None:
    belt = Belt(dialect)
    belt.part(scans_after=20)
    belt.bus = False
    _spoil(belt, 0, 0x0200)
    belt.scan()
    assert not belt.count("Alive")
    belt.bus = True
    belt.through()
    assert belt.let == []


@DIALECTS
def test_a_connection_that_flaps_brings_no_dead_gateway_to_life(dialect: str) -> None:
    """Many a Modbus block clears its registers at each error."""
    belt = Belt(dialect)
    frozen, belt.bus = status_registers(belt.stage.status), False
    alive = 0
    for scan in range(200):
        belt.block.read_registers([0] * STATUS_SIZE if scan % 20 < 3 else frozen)
        belt.scan()
        alive += bool(belt.count("Alive"))
    assert alive <= 35


@DIALECTS
def test_enable_is_first_written_as_0_and_commands_are_passed_on(dialect: str) -> None:
    belt = Belt(dialect)
    fresh = type(belt.block)(dialect)
    fresh.program.set("Enable", 1)
    fresh.program.call(10)
    assert command_block(fresh.written()).control == 0
    for name, value in (("LoadRecipe", 1), ("RecipeRequest", 7), ("ClearFault", 1), ("Resync", 1)):
        belt.block.program.set(name, value)
    belt.bus = False
    belt.scan()
    written = command_block(belt.block.written())
    assert written.control == Control.ENABLE | Control.LOAD_RECIPE | Control.CLEAR_FAULT | Control.RESYNC
    assert written.recipe_request == 7


@DIALECTS
def test_faults_are_told(dialect: str) -> None:
    belt = Belt(dialect)
    belt.stage.event("camera_lost")
    belt.scan(2)
    assert belt.count("FaultCode") == Fault.CAMERA_LOST


@DIALECTS
def test_its_numbers_are_those_of_the_map(dialect: str) -> None:
    constants = {name: value.number for name, value in Belt(dialect).block.program.constants.items()}
    assert constants.pop("MAP_VERSION") == MAP_VERSION
    assert constants.pop("PLACES") == 16
    assert constants.pop("PASS_FAIL_INVALID") == Bit.PASS | Bit.FAIL | Bit.INVALID
    assert constants.pop("ONLY_PASS") == Bit.PASS
    assert constants.pop("VERDICT_PASS") == VERDICT_CODE[Verdict.PASS]
    controls = {name: number for name, number in constants.items() if name.startswith("C_")}
    assert controls == {f"C_{bit.name}": bit for bit in Control if f"C_{bit.name}" in controls}
    rest = {name: number for name, number in constants.items() if name not in controls}
    assert rest == {bit.name: bit for bit in Bit if bit.name in rest}
    assert len(rest) == 7


def test_the_data_blocks_lie_as_the_gateway_writes_them() -> None:
    kinds = {"u16": "Word", "u32": "DWord", "f32": "Real"}
    for name, fields, start, size in (
        ("SadStatus", FIELDS, 0, 2 * STATUS_SIZE),
        ("SadCommand", COMMANDS, COMMAND_AT, 24),
    ):
        laid = data_block(name)
        assert laid.pop("")[0] == size
        if name == "SadStatus":
            assert laid.pop("RING") == (2 * RING_AT, "Word")
        named = {field: place for field, place in laid.items() if not field.startswith("RESERVED")}
        assert named == {field.name: (2 * (field.at - start), kinds[field.kind]) for field in fields}


def test_both_files_do_without_the_words_that_the_language_keeps_for_itself() -> None:
    """Which blark takes for names, but other compilers do not."""
    kept = {
        "STEP",
        "ACTION",
        "TRANSITION",
        "TASK",
        "RESOURCE",
        "PROGRAM",
        "ON",
        "AT",
        "DO",
        "OF",
        "R",
        "S",
        "N",
        "D",
        "P",
    }
    for path in (ST, SCL):
        text = path.read_text()
        names = {name.upper() for name in Program(_readable(path, text)).values}
        assert not names & kept


def _showing(status: Status, number: int, verdict: Verdict, part_id: int, trigger_id: int, encoder: int) -> Status:
    """A status that shows `verdict` of this part as the result after `number` others."""
    assert status.result is not None
    names = {"part_id": part_id, "trigger_id": trigger_id, "encoder": encoder}
    result = replace(status.result, seq=status.result.seq + number, verdict=verdict, **names)
    bit = {Verdict.PASS: Bit.PASS, Verdict.FAIL: Bit.FAIL}.get(verdict, Bit.INVALID)
    bits = status.bits & ~(Bit.PASS | Bit.FAIL | Bit.INVALID) | bit
    return replace(status, bits=bits, result=result, ring=(result,))


def _word_by_word(way: str, old: list[int], new: list[int], ascending: bool) -> Iterator[list[int]]:
    """The requests of `way` one after the other, as CPUs take them over that copy while the program runs."""
    there = list(old)
    for after in STEPS[way](old, new):
        changed = [at for at, word in enumerate(after) if there[at] != word]
        for at in changed if ascending else reversed(changed):
            there[at] = after[at]
            yield list(there)


def _readable(path: object, text: str) -> str:
    return st_from_scl(text) if path == SCL else text


def _spoil(belt: Belt, at: int, value: int) -> None:
    """One register otherwise than it was."""
    block = belt.block
    if not block.scl:
        block.program.values["Status"][at] = Value("WORD", value)
        return
    field = max((field for field in FIELDS if field.at <= at), key=lambda field: field.at)
    old = block.program.outside["SadStatus"][field.name]
    if field.size == 1:
        new = value
    elif field.at == at:
        new = value << 16 | old.number & 0xFFFF
    else:
        new = old.number & 0xFFFF0000 | value
    block.program.outside["SadStatus"][field.name] = Value(old.kind, new)
