"""The PLC's program against scripted registers: what passes, and everything that does not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from sad_runtime.plc.register_map import FIELDS, status_registers
from sad_runtime.plc.simulator.program import Inputs, Outputs, Program, Settings
from sad_runtime.plc.simulator.tracking import Tracked
from sad_runtime.plc.status import Bit, CommandBlock, Control, Fault, Result, Status
from sad_runtime.verdict import Reason, Verdict

SETTINGS = Settings(gate_offset=1000, gate_window=20, deadline_ms=500, sight=50, first_part_id=7, first_trigger_id=3)
READY = Bit.ONLINE | Bit.TRIGGER_READY
VERDICT_BIT = {Verdict.PASS: Bit.PASS, Verdict.FAIL: Bit.FAIL, Verdict.INVALID: Bit.INVALID}
SCAN_MS = 10.0
AT = {field.name: field.at for field in FIELDS}


class Bench:
    """A program whose registers, belt and clock stand still unless a test moves them."""

    def __init__(self, settings: Settings = SETTINGS, *, alive: bool = True) -> None:
        self.program = Program(settings)
        self.now_ms = 1000.0
        self.encoder = 0
        self.beats = True
        """The gateway's heartbeat moves."""
        self.status = Status(bits=READY, run_tag=77, fault=Fault.NONE, recipe=1)
        self.spoil: Callable[[list[int]], None] = lambda registers: None
        self.outputs = Outputs(CommandBlock(), False, ())
        if alive:
            self.scans(40)

    def scan(self, *arrivals: int, registers: bool = True, **inputs: Any) -> Outputs:
        self.now_ms += SCAN_MS
        if self.beats:
            self.status = replace(self.status, heartbeat=(self.status.heartbeat + 1) & 0xFFFF)
        shown = status_registers(self.status)[:64]
        self.spoil(shown)
        self.outputs = self.program.scan(
            Inputs(self.now_ms, self.encoder, shown if registers else None, tuple(arrivals), **inputs)
        )
        return self.outputs

    def scans(self, count: int, **inputs: Any) -> Outputs:
        for _ in range(count):
            self.scan(**inputs)
        return self.outputs

    @property
    def control(self) -> Control:
        return Control(self.outputs.command.control)

    def triggered(self) -> Tracked:
        """A part that was triggered and taken."""
        self.scan(self.encoder)
        assert self.control & Control.TRIGGER
        self.status = replace(self.status, bits=Bit.ONLINE | Bit.TRIGGER_ACK | Bit.BUSY)
        self.scan()
        self.status = replace(self.status, bits=READY | Bit.BUSY)
        self.scans(2)
        return list(self.program.queue)[-1]

    def show(self, verdict: Verdict = Verdict.PASS, seq: int = 1, **changes: Any) -> None:
        command = self.outputs.command
        values: dict[str, Any] = {
            "part_id": command.part_id,
            "trigger_id": command.trigger_id,
            "encoder": command.encoder,
            "reason": Reason.OK if verdict is Verdict.PASS else Reason.SCORE,
        }
        result = Result(seq=seq, verdict=verdict, **(values | changes))
        self.status = replace(self.status, bits=READY | Bit.RESULT_VALID | VERDICT_BIT[verdict], result=result)

    def at_gate(self) -> bool:
        """Moves the part that came at 0 into the gate; whether it may go."""
        self.encoder = 1000
        return self.scan().lets_pass


def test_a_trigger_that_is_taken_when_the_part_is_out_of_sight_rejects_it() -> None:
    bench = Bench()
    bench.scan(bench.encoder)
    assert bench.control & Control.TRIGGER
    bench.status = replace(bench.status, bits=Bit.ONLINE | Bit.TRIGGER_ACK | Bit.BUSY)
    bench.encoder = SETTINGS.sight + 1
    bench.scan()
    bench.status = replace(bench.status, bits=READY | Bit.BUSY)
    bench.scans(2)
    (part,) = bench.program.queue
    assert (part.taken, part.judged, part.told) == (True, True, "TRIGGER taken late")
    bench.show()
    bench.scan()
    assert not bench.at_gate()


def test_the_moment_of_the_trigger_is_kept_for_the_judge() -> None:
    bench = Bench()
    bench.scan(bench.encoder, wall_ns=10**18)
    (part,) = bench.program.queue
    assert part.asked_ns == 10**18


def passed_after(settings: Settings = SETTINGS, **show: Any) -> bool:
    bench = Bench(settings)
    bench.triggered()
    bench.show(**show)
    bench.scan()
    return bench.at_gate()


def test_a_part_passes_by_a_whole_fresh_pass_of_its_own() -> None:
    bench = Bench()
    part = bench.triggered()
    bench.show()
    assert bench.scan().command.ack_seq == 1
    assert not bench.outputs.lets_pass
    assert bench.at_gate()
    bench.encoder = 1030
    assert bench.scan().left == (part,)
    assert not bench.outputs.lets_pass
    assert (part.good, part.taken, part.told) == (True, True, "PASS ok")


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INVALID])
def test_any_other_verdict_rejects_and_is_acknowledged(verdict: Verdict) -> None:
    bench = Bench()
    bench.triggered()
    bench.show(verdict, seq=9)
    assert bench.scan().command.ack_seq == 9
    assert not bench.at_gate()


def stuck(name: str, value: int) -> Callable[[list[int]], None]:
    def spoil(registers: list[int]) -> None:
        registers[AT[name]] = value

    return spoil


def without(bit: Bit) -> Callable[[list[int]], None]:
    def spoil(registers: list[int]) -> None:
        registers[AT["STATUS"]] &= ~bit

    return spoil


def beside(bit: Bit) -> Callable[[list[int]], None]:
    def spoil(registers: list[int]) -> None:
        registers[AT["STATUS"]] |= bit

    return spoil


NOTHING = "nothing"
VIOLATIONS: dict[str, Callable[[list[int]], None]] = {
    NOTHING: lambda registers: None,
    "another map": stuck("MAP_VERSION", 0x0200),
    "no RESULT_VALID": without(Bit.RESULT_VALID),
    "no PASS": without(Bit.PASS),
    "FAIL beside PASS": beside(Bit.FAIL),
    "INVALID beside PASS": beside(Bit.INVALID),
    "FEED_STALE": beside(Bit.FEED_STALE),
    "SIMULATED": beside(Bit.SIMULATED),
    "STATUS stuck at 0": stuck("STATUS", 0),
    "STATUS stuck at 0xFFFF": stuck("STATUS", 0xFFFF),
    "VERDICT none": stuck("VERDICT", 0),
    "VERDICT FAIL": stuck("VERDICT", 2),
    "torn: low words of SEQ differ": stuck("RESULT_SEQ_COPY", 5),
    "SEQ 0": lambda registers: registers.__setitem__(slice(7, 9), [0, 0]),
    "another part": lambda registers: registers.__setitem__(10, 8),
    "another part, high word": lambda registers: registers.__setitem__(9, 1),
    "another trigger": stuck("TRIGGER_ID", 4),
    "asked for at another place on the belt": lambda registers: registers.__setitem__(34, 1),
    "RUN_TAG changed": stuck("RUN_TAG", 1),
    "all 0": lambda registers: registers.__setitem__(slice(0, 64), [0] * 64),
    "all 0xFFFF": lambda registers: registers.__setitem__(slice(0, 64), [0xFFFF] * 64),
}


@pytest.mark.parametrize("what", VIOLATIONS)
def test_one_violated_condition_rejects(what: str) -> None:
    bench = Bench()
    bench.triggered()
    bench.show()
    bench.spoil = VIOLATIONS[what]
    bench.scan()
    bench.status = replace(bench.status, bits=READY)
    bench.spoil = lambda registers: None
    assert bench.at_gate() is (what == NOTHING)


def test_a_frozen_heartbeat_rejects_what_was_good_and_what_comes() -> None:
    bench = Bench()
    part = bench.triggered()
    bench.show()
    bench.scan()
    assert part.good
    bench.beats = False
    bench.scans(34)
    assert part.good
    bench.scans(2)
    assert (part.good, part.told, bench.program.alive) == (False, "silence", False)
    assert not bench.at_gate()


def test_a_heartbeat_that_never_moved_is_no_life() -> None:
    bench = Bench(alive=False)
    bench.beats = False
    bench.scans(60)
    assert not bench.program.alive
    bench.scan(0)
    assert not bench.control & Control.TRIGGER


def test_the_heartbeat_wraps() -> None:
    bench = Bench()
    bench.status = replace(bench.status, heartbeat=0xFFFE)
    bench.scans(3)
    assert bench.status.heartbeat == 1
    assert bench.program.alive


def test_a_result_after_the_deadline_rejects() -> None:
    bench = Bench()
    part = bench.triggered()
    bench.scans(50)
    bench.show()
    bench.scan()
    assert (part.late, part.told) == (True, "late")
    assert not bench.at_gate()


def test_a_pass_that_comes_when_the_part_is_in_the_gate_is_too_late() -> None:
    bench = Bench()
    part = bench.triggered()
    assert not bench.at_gate()
    bench.show()
    assert not bench.scan().lets_pass
    assert not bench.scan().lets_pass
    assert part.late
    assert part.told == "no result"


def test_a_pass_that_turned_invalid_before_its_ack_was_seen_rejects_after_all() -> None:
    bench = Bench()
    part = bench.triggered()
    bench.show()
    bench.scan()
    assert part.good
    bench.show(Verdict.INVALID, reason=Reason.LATE)
    bench.scan()
    assert (part.good, part.told) == (False, "INVALID late")
    assert not bench.at_gate()


def test_a_pass_that_stays_shown_beyond_the_deadline_was_read_in_time() -> None:
    bench = Bench()
    bench.triggered()
    bench.show()
    bench.scans(80)
    assert bench.at_gate()


def test_a_restart_rejects_all_that_is_on_the_belt_and_counts_results_anew() -> None:
    bench = Bench()
    part = bench.triggered()
    bench.show(seq=5)
    assert bench.scan().command.ack_seq == 5
    bench.status = replace(bench.status, run_tag=78, bits=READY, result=None)
    assert bench.scan().command.ack_seq == 0
    assert (part.good, part.told, bench.program.restarts) == (False, "restart", 1)
    assert not bench.at_gate()


def test_no_connection_rejects_after_a_while_and_shuts_the_gate_at_once() -> None:
    bench = Bench()
    part = bench.triggered()
    bench.show()
    bench.scan()
    bench.encoder = 1000
    assert bench.scan().lets_pass
    assert not bench.scan(registers=False).lets_pass
    bench.scans(40, registers=False)
    assert (part.good, part.told) == (False, "no connection")


def test_the_handshake_holds_trigger_until_it_is_taken_and_waits_for_ack_to_fall() -> None:
    bench = Bench()
    bench.scan(5)
    command = bench.outputs.command
    assert (command.part_id, command.trigger_id, command.encoder, command.deadline_ms) == (7, 3, 5, 500)
    bench.scans(5)
    assert bench.control & Control.TRIGGER
    bench.status = replace(bench.status, bits=Bit.ONLINE | Bit.TRIGGER_ACK)
    bench.scan()
    assert not bench.control & Control.TRIGGER
    bench.encoder = 10
    bench.scan(10)
    assert not bench.control & Control.TRIGGER
    bench.status = replace(bench.status, bits=READY)
    bench.scans(2)
    assert bench.control & Control.TRIGGER
    assert bench.outputs.command.part_id == 8


def test_a_trigger_that_nobody_takes_rejects_its_part_and_is_taken_back() -> None:
    bench = Bench()
    bench.scan(0)
    bench.scans(26)
    (part,) = bench.program.queue
    assert (part.told, part.taken) == ("TRIGGER not taken", False)
    assert not bench.control & Control.TRIGGER
    bench.scan(0)
    assert not bench.control & Control.TRIGGER  # not before the gateway must have seen that it fell
    bench.scans(26)
    assert bench.control & Control.TRIGGER


@pytest.mark.parametrize(
    ("bits", "fault"),
    [(Bit.ONLINE, Fault.NONE), (Bit.TRIGGER_READY, Fault.NONE), (READY, Fault.TRIGGER_MISMATCH)],
)
def test_a_part_is_not_triggered_while_the_station_cannot_take_it(bits: Bit, fault: Fault) -> None:
    bench = Bench()
    bench.status = replace(bench.status, bits=bits, fault=fault)
    bench.scans(2)
    bench.scan(0)
    bench.encoder = 51  # out of sight
    bench.scan()
    assert [part.told for part in bench.program.queue] == ["not triggered"]
    assert not bench.control & Control.TRIGGER


def test_a_part_that_waits_for_its_trigger_gives_way_to_the_next_one_under_the_camera() -> None:
    bench = Bench()
    bench.status = replace(bench.status, bits=Bit.ONLINE)
    bench.scan(0)
    bench.encoder = 40
    bench.scan(40)
    first, second = bench.program.queue
    assert first.told == "not triggered"
    assert not second.judged
    bench.status = replace(bench.status, bits=READY)
    bench.scan()
    assert bench.outputs.command.part_id == second.part_id


def test_numbers_wrap() -> None:
    bench = Bench(replace(SETTINGS, first_part_id=2**32 - 1, first_trigger_id=2**16 - 1))
    bench.triggered()
    bench.show(seq=2**32 - 1)
    assert bench.scan().command.ack_seq == 2**32 - 1
    bench.status = replace(bench.status, bits=READY)
    bench.encoder = 60
    bench.triggered()
    assert (bench.outputs.command.part_id, bench.outputs.command.trigger_id) == (0, 0)
    bench.show(seq=1)
    assert bench.scan().command.ack_seq == 1
    assert all(part.good for part in bench.program.queue)


def test_two_open_parts_of_one_name_are_both_rejected() -> None:
    bench = Bench()
    part = bench.triggered()
    bench.program.queue.add(Tracked(part.part_id, part.trigger_id, part.start, asked_ms=bench.now_ms))
    bench.show()
    bench.scan()
    assert [part.told for part in bench.program.queue] == ["PASS ok", "PASS ok"]
    assert not any(part.good for part in bench.program.queue)


def test_a_result_of_nobody_on_the_belt_is_acknowledged_so_that_the_next_one_comes() -> None:
    bench = Bench()
    bench.show(part_id=99, seq=4)
    assert bench.scan().command.ack_seq == 4


def test_enable_comes_a_while_after_the_start_so_that_old_results_are_forgotten() -> None:
    bench = Bench(alive=False)
    bench.scans(30)
    assert not bench.control & Control.ENABLE
    bench.scans(2)
    assert bench.control & Control.ENABLE


def test_from_stop_to_run_nothing_on_the_belt_passes_and_numbers_go_on() -> None:
    bench = Bench()
    bench.triggered()
    bench.show()
    bench.scan()
    bench.program.restart()
    assert not bench.at_gate()
    assert not bench.control & Control.ENABLE
    bench.scans(40)
    bench.status = replace(bench.status, bits=READY)
    bench.scan(1000)
    assert bench.outputs.command.part_id == 8


def test_the_plc_heartbeat_moves_each_scan_and_wraps() -> None:
    program, nothing_read = Program(SETTINGS), Inputs(0.0, 0)
    beats = [program.scan(nothing_read).command.plc_heartbeat for _ in range(2**16 + 10)]
    assert all((after - before) % 2**16 == 1 for before, after in itertools.pairwise(beats))


def test_a_recipe_is_loaded_first_and_parts_are_triggered_once_it_is_in_force() -> None:
    bench = Bench(replace(SETTINGS, recipe=2))
    assert bench.control & Control.LOAD_RECIPE
    assert bench.outputs.command.recipe_request == 2
    bench.scan(0)
    assert not bench.control & Control.TRIGGER
    bench.status = replace(bench.status, bits=READY | Bit.CMD_DONE, recipe=2)
    bench.scan()
    assert not bench.control & Control.LOAD_RECIPE
    bench.status = replace(bench.status, bits=READY)
    bench.scan(0)
    assert bench.control & Control.TRIGGER


def test_a_result_under_another_recipe_than_the_one_asked_for_rejects() -> None:
    assert passed_after(replace(SETTINGS, recipe=1))
    bench = Bench(replace(SETTINGS, recipe=1))
    bench.triggered()
    bench.show()
    bench.status = replace(bench.status, recipe=2)
    bench.scan()
    assert not bench.at_gate()


def test_simulated_results_count_only_where_that_is_allowed() -> None:
    for allowed in (True, False):
        bench = Bench(replace(SETTINGS, allow_simulated=allowed))
        bench.triggered()
        bench.show()
        bench.status = replace(bench.status, bits=bench.status.bits | Bit.SIMULATED)
        bench.scan()
        assert bench.at_gate() is allowed


def test_after_a_mismatch_resync_is_given_once_no_part_waits_for_a_result() -> None:
    bench = Bench()
    bench.triggered()
    bench.status = replace(bench.status, fault=Fault.TRIGGER_MISMATCH, bits=Bit.ONLINE)
    bench.scan()
    assert not bench.control & Control.RESYNC
    bench.show(Verdict.INVALID, reason=Reason.MISMATCH)
    bench.scans(2)
    assert bench.control & Control.RESYNC
    bench.status = replace(bench.status, bits=bench.status.bits | Bit.CMD_DONE)
    bench.scan()
    assert not bench.control & Control.RESYNC


def test_the_button_is_passed_on() -> None:
    bench = Bench()
    assert bench.scan(clear=True)
    assert bench.control & Control.CLEAR_FAULT
    assert bench.scan()
    assert not bench.control & Control.CLEAR_FAULT
