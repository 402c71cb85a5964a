"""What a PLC is shown for what the station says, one rule a test; and at the end everything at once, at random."""

from __future__ import annotations

import random

import pytest

from gates import MS, Stage
from sad_runtime.messages import CommandReply
from sad_runtime.plc.answer import NoReply
from sad_runtime.plc.gate import Gate
from sad_runtime.plc.register_map import status_registers
from sad_runtime.plc.status import Bit, CommandBlock, Control, Fault, Result, Status, Unsafe, Warn, check
from sad_runtime.verdict import Reason, State, Verdict

VERDICTS = Bit.PASS | Bit.FAIL | Bit.INVALID
ENABLE = Control.ENABLE


def verdict_bits(status: Status) -> Bit:
    return status.bits & VERDICTS


def ids(status: Status) -> tuple[int, int] | None:
    return None if status.result is None else (status.result.trigger_id, status.result.part_id)


# -- before anything, and the verdict bits


def test_before_the_station_is_heard_nothing_is_valid() -> None:
    gate = Gate(identity="g")
    gate.tick(float("inf"), 5 * MS)
    status = gate.status()
    assert status.bits == Bit.FEED_STALE | Bit.INVALID | Bit.FAULT
    assert (status.fault, status.heartbeat, status.run_tag, status.result) == (Fault.FEED_STALE, 0, 0, None)


@pytest.mark.parametrize(
    ("verdict", "bit"), [(Verdict.PASS, Bit.PASS), (Verdict.FAIL, Bit.FAIL), (Verdict.INVALID, Bit.INVALID)]
)
def test_each_verdict_lights_its_own_bit_and_no_other(verdict: Verdict, bit: Bit) -> None:
    stage = Stage()
    stage.trigger(7, 1001)
    status = stage.decide(verdict, trigger_id=7, part_id=1001)
    assert status.bits & Bit.RESULT_VALID
    assert verdict_bits(status) == bit
    assert ids(status) == (7, 1001)
    assert status.result is not None
    assert (status.result.verdict, status.result.seq) == (verdict, 1)


def test_without_a_result_no_verdict_bit_is_lit() -> None:
    status = Stage().status
    assert verdict_bits(status) == 0
    assert not status.bits & Bit.RESULT_VALID
    assert status.bits & Bit.ONLINE


# -- the handshake


def test_a_trigger_is_acknowledged_until_it_falls_and_the_part_is_busy_until_its_result() -> None:
    stage = Stage()
    assert stage.status.bits & Bit.TRIGGER_READY
    taken = stage.trigger(7, 1001, encoder=123456, deadline_ms=250)
    assert taken.bits & Bit.TRIGGER_ACK
    assert taken.bits & Bit.BUSY
    assert not taken.bits & Bit.TRIGGER_READY
    order = stage.orders[-1]
    assert (order.op, order.trigger_id, order.part_id, order.encoder, order.deadline_ms) == (
        "trigger",
        7,
        1001,
        123456,
        250,
    )
    fallen = stage.write(ENABLE)
    assert not fallen.bits & Bit.TRIGGER_ACK
    assert fallen.bits & Bit.TRIGGER_READY
    assert fallen.bits & Bit.BUSY
    done = stage.decide(trigger_id=7, part_id=1001)
    assert not done.bits & Bit.BUSY
    assert done.result is not None
    assert done.result.encoder == 123456


def test_a_trigger_that_stays_up_is_one_trigger() -> None:
    stage = Stage()
    stage.trigger(7, 1001)
    for _ in range(5):
        stage.write(ENABLE | Control.TRIGGER, trigger_id=8)
        stage.after(20)
    assert [order.op for order in stage.orders] == ["trigger"]


def test_bits_that_are_up_when_the_gateway_starts_are_no_edges() -> None:
    stage = Stage(enabled=False)
    stage.gate = Gate(identity="gateway-2", now_ns=stage.now_ns)
    stage.beating = True
    stage.after(100)
    status = stage.write(ENABLE | Control.TRIGGER | Control.LOAD_RECIPE, trigger_id=3, recipe_request=2, ack_seq=9)
    assert not stage.orders
    assert not status.bits & (Bit.TRIGGER_ACK | Bit.BUSY | Bit.MISSED_TRIGGER)
    assert status.fault is Fault.NONE
    assert stage.trigger(3, 1).bits & Bit.TRIGGER_ACK, "but the next edge is one"


def test_eight_parts_may_be_under_way_and_a_ninth_is_missed() -> None:
    stage = Stage()
    for number in range(8):
        assert stage.trigger(number, 100 + number).bits & Bit.TRIGGER_ACK
    status = stage.trigger(8, 108)
    assert status.bits & Bit.MISSED_TRIGGER
    assert not status.bits & Bit.TRIGGER_ACK
    assert ids(status) == (8, 108)
    assert status.result is not None
    assert status.result.reason is Reason.QUEUE_FULL
    assert verdict_bits(status) == Bit.INVALID
    assert status.counters.missed_trigger == 1
    for number in reversed(range(8)):
        stage.decide(trigger_id=number, part_id=100 + number)
    assert not stage.status.bits & Bit.BUSY
    assert stage.write(ENABLE | Control.CLEAR_FAULT).bits & Bit.MISSED_TRIGGER == 0


@pytest.mark.parametrize("why", ["not online", "not enabled", "feed stale", "plc silent", "mismatch"])
def test_a_trigger_that_cannot_be_taken_has_an_invalid_result_at_once(why: str) -> None:
    stage = Stage(enabled=why != "not enabled")
    if why == "not online":
        stage.online, stage.state = False, State.HALTED
    elif why == "feed stale":
        stage.beating = False
    elif why == "plc silent":
        stage.plc_lives = False
    elif why == "mismatch":
        stage.event("out_of_step")
        stage.online, stage.state = False, State.ERROR
    stage.after(1200)
    status = stage.trigger(7, 1001)
    assert not stage.orders
    assert not status.bits & (Bit.TRIGGER_ACK | Bit.PASS)
    assert status.bits & Bit.MISSED_TRIGGER
    assert [(result.trigger_id, result.part_id, result.verdict) for result in status.ring] == [
        (7, 1001, Verdict.INVALID)
    ]


def test_a_station_that_takes_no_triggers_is_a_bad_command_and_the_part_is_invalid() -> None:
    stage = Stage()
    stage.write(ENABLE | Control.TRIGGER, trigger_id=7, part_id=1001)
    refusal = CommandReply(id=stage.orders[-1].id, ok=False, error="this station's trigger is 'free'")
    status = stage.answer(stage.orders[-1], refusal)
    assert status.fault is Fault.BAD_COMMAND
    assert verdict_bits(status) == Bit.INVALID
    assert not status.bits & Bit.BUSY


def test_a_refusal_that_a_decision_follows_waits_for_that_decision() -> None:
    stage = Stage()
    stage.write(ENABLE | Control.TRIGGER, trigger_id=7, part_id=1001)
    stage.answer(stage.orders[-1], CommandReply(id=stage.orders[-1].id, ok=False, error="queue_full"))
    assert stage.status.bits & Bit.BUSY
    status = stage.decide(Verdict.INVALID, trigger_id=7, part_id=1001, reason=Reason.QUEUE_FULL)
    assert status.queue == 1
    assert status.fault is Fault.NONE


def test_a_trigger_that_was_never_sent_is_invalid_at_once_and_its_name_is_free_again() -> None:
    stage = Stage()
    stage.write(ENABLE | Control.TRIGGER, trigger_id=7, part_id=1001)
    status = stage.answer(stage.orders[-1], NoReply.NOT_SENT)
    assert verdict_bits(status) == Bit.INVALID
    assert status.warn & Warn.NO_ANSWER
    stage.write(ENABLE, ack_seq=1)
    assert stage.trigger(7, 1001).bits & Bit.TRIGGER_ACK


def test_no_decision_by_the_deadline_is_invalid_late_and_the_one_that_comes_after_is_not_shown() -> None:
    stage = Stage()
    stage.trigger(7, 1001, deadline_ms=200)
    assert stage.after(190).queue == 0
    status = stage.after(20)
    assert status.result is not None
    assert (status.result.verdict, status.result.reason, status.result.feed_seq) == (
        Verdict.INVALID,
        Reason.LATE,
        None,
    )
    after = stage.decide(trigger_id=7, part_id=1001)
    assert after.queue == 1
    assert verdict_bits(after) == Bit.INVALID
    assert after.counters.lost == 1
    assert "late" in [note.kind for note in stage.notes]


def test_the_name_of_an_overdue_part_is_refused_until_its_own_verdict_was_heard() -> None:
    """Else the verdict of the part before would be taken for that of the part that has its name now."""
    stage = Stage()
    stage.trigger(0, 0, deadline_ms=100)
    stage.after(150)
    stage.write(ENABLE, ack_seq=1)
    again = stage.trigger(0, 0)
    assert again.bits & Bit.MISSED_TRIGGER
    assert again.fault is Fault.BAD_COMMAND
    assert again.result is not None
    assert again.result.reason is Reason.MISMATCH
    assert verdict_bits(stage.decide(trigger_id=0, part_id=0)) == Bit.INVALID
    stage.write(ENABLE, ack_seq=2)
    assert stage.trigger(0, 0).bits & Bit.TRIGGER_ACK


def test_a_decision_that_is_older_than_its_deadline_is_no_pass() -> None:
    stage = Stage(enabled=False)
    status = stage.decide(age_ms=500.0, deadline_ms=500)
    assert verdict_bits(status) == Bit.INVALID
    assert status.result is not None
    assert status.result.reason is Reason.LATE


def test_a_decision_on_a_part_that_somebody_else_triggered_is_not_shown() -> None:
    stage = Stage()
    stage.trigger(7, 1001)
    status = stage.decide(trigger_id=70, part_id=9)
    assert status.result is None
    assert status.warn & Warn.FOREIGN
    assert ids(stage.decide(trigger_id=7, part_id=1001)) == (7, 1001)


def test_after_a_restart_of_the_station_too() -> None:
    stage = Stage()
    stage.trigger(7, 1001)
    stage.restart_station()
    assert len(stage.decide(trigger_id=7, part_id=1001).ring) == 1, "its INVALID, and nothing more"


def test_where_the_line_triggers_the_camera_every_decision_is_a_result() -> None:
    stage = Stage()
    for number in range(3):
        stage.decide(part_id=50 + number)
    assert [result.part_id for result in stage.status.ring] == [52, 51, 50]


# -- results and their acknowledgement


def test_unread_results_queue_and_the_oldest_is_shown_until_it_is_acknowledged() -> None:
    stage = Stage()
    for _ in range(3):
        stage.decide()
    status = stage.status
    assert status.result is not None
    assert (status.result.seq, status.queue) == (1, 3)
    status = stage.write(ack_seq=1)
    assert status.result is not None
    assert (status.result.seq, status.queue) == (2, 2)
    assert stage.orders[-1].op == "ack"
    assert stage.orders[-1].seq == 1
    status = stage.write(ENABLE | Control.RESULT_ACK)
    assert status.result is not None
    assert status.result.seq == 3
    status = stage.write(ENABLE, ack_seq=3)
    assert (status.queue, verdict_bits(status)) == (0, 0)
    assert not status.bits & Bit.RESULT_VALID
    assert status.result is not None, "it stays readable"
    assert [order.seq for order in stage.orders] == [1, 2, 3]


def test_an_ack_takes_all_before_it_too() -> None:
    stage = Stage()
    for _ in range(5):
        stage.decide()
    status = stage.write(ack_seq=4)
    assert status.result is not None
    assert (status.result.seq, status.queue) == (5, 1)


def test_an_ack_of_no_result_changes_nothing_and_is_a_bad_command() -> None:
    stage = Stage()
    stage.decide()
    status = stage.write(ack_seq=77)
    assert (status.queue, status.fault) == (1, Fault.BAD_COMMAND)
    status = stage.write(ENABLE | Control.CLEAR_FAULT, ack_seq=1)
    assert (status.queue, status.fault) == (0, Fault.NONE)
    assert stage.write(ENABLE, ack_seq=0).fault is Fault.NONE


def test_the_ninth_unread_result_drops_the_oldest_and_says_so_until_cleared() -> None:
    stage = Stage()
    for _ in range(9):
        stage.decide(deadline_ms=60_000)
    status = stage.status
    assert status.bits & Bit.RESULT_OVERRUN
    assert status.result is not None
    assert (status.result.seq, status.queue) == (2, 8)
    dropped = [note.result for note in stage.notes if note.kind == "spoilt" and note.result]
    assert [result.seq for result in dropped] == [1]
    assert not stage.write(ENABLE | Control.CLEAR_FAULT).bits & Bit.RESULT_OVERRUN


def test_a_pass_that_nobody_takes_within_its_deadline_is_none_any_more() -> None:
    stage = Stage()
    stage.decide(age_ms=20.0, deadline_ms=300)
    assert stage.after(270).bits & Bit.PASS
    status = stage.after(20)
    assert verdict_bits(status) == Bit.INVALID
    assert status.result is not None
    assert (status.result.reason, status.ring[0].verdict) == (Reason.LATE, Verdict.INVALID)
    assert status.counters.passed == 1, "it was one when it came"


def test_without_enable_the_newest_result_is_shown_and_a_pass_ends_with_its_deadline() -> None:
    stage = Stage(enabled=False)
    for number in range(12):
        stage.decide(part_id=number, deadline_ms=300)
    status = stage.status
    assert ids(status) == (0, 11)
    assert (status.queue, bool(status.bits & Bit.RESULT_OVERRUN)) == (1, False)
    after = stage.after(300)
    assert (after.queue, verdict_bits(after)) == (0, 0)
    assert after.ring[0].verdict is Verdict.PASS, "what it was stays in the ring"


def test_results_from_before_enable_do_not_wait_for_the_plc() -> None:
    stage = Stage(enabled=False)
    stage.decide()
    assert stage.write(ENABLE).queue == 0


def test_a_result_that_waits_for_its_ack_too_long_is_a_warning() -> None:
    stage = Stage()
    stage.decide()
    assert not stage.after(950).warn & Warn.UNREAD
    assert stage.after(100).warn & Warn.UNREAD
    assert not stage.write(ack_seq=1) or not stage.after(10).warn & Warn.UNREAD


# -- the station goes away, comes back, or changes


def test_a_silent_station_is_stale_within_350_ms_and_no_verdict_stands() -> None:
    stage = Stage()
    stage.trigger(7, 1001)
    stage.decide(part_id=5)
    stage.decide(trigger_id=7, part_id=1001)
    stage.trigger(8, 1002)
    beat = stage.status.heartbeat
    stage.beating = False
    waited = 0
    while not stage.status.bits & Bit.FEED_STALE:
        stage.after(10)
        waited += 10
    assert waited <= 350
    status = stage.status
    assert verdict_bits(status) == Bit.INVALID
    assert not status.bits & (Bit.RESULT_VALID | Bit.ONLINE | Bit.TRIGGER_READY)
    assert status.fault is Fault.FEED_STALE
    assert Verdict.PASS not in [result.verdict for result in status.ring]
    assert ids(Status(result=status.ring[0])) == (8, 1002), "the part under way has its INVALID"
    stood = status.heartbeat
    assert stage.after(500).heartbeat == stood
    assert (stood - beat) & 0xFFFF <= 4
    stage.beating = True
    back = stage.after(200)
    assert not back.bits & (Bit.FEED_STALE | Bit.PASS)
    assert back.heartbeat != stood


def test_a_pass_that_comes_while_the_station_is_stale_is_not_shown_as_one() -> None:
    stage = Stage()
    stage.beating = False
    stage.after(400)
    stage.decide()
    assert stage.status.ring[0].verdict is Verdict.INVALID
    assert verdict_bits(stage.status) == Bit.INVALID


def test_a_restart_of_the_station_is_seen_and_no_old_pass_survives_it() -> None:
    stage = Stage()
    stage.trigger(7, 1001)
    stage.decide(trigger_id=7, part_id=1001, deadline_ms=60_000)
    stage.trigger(8, 1002)
    tag = stage.status.run_tag
    status = stage.restart_station()
    assert status.run_tag not in (0, tag)
    assert status.fault is Fault.RESTARTED
    assert [(result.part_id, result.verdict) for result in status.ring] == [
        (1002, Verdict.INVALID),
        (1001, Verdict.INVALID),
    ]
    old = stage.decision(run="run-1", trigger_id=8, part_id=1002)
    stage.gate.decided(old, 20.0, stage.now_ns)
    assert len(stage.status.ring) == 2, "what the old run still says is for the record"
    assert stage.trigger(9, 1003).bits & Bit.TRIGGER_ACK, "and the line goes on"
    assert stage.write(ENABLE | Control.CLEAR_FAULT).fault is Fault.NONE


def test_a_restart_of_the_gateway_changes_the_run_tag() -> None:
    one, other = Stage(), Stage()
    other.gate = Gate(identity="gateway-2", now_ns=other.now_ns)
    assert one.status.run_tag != other.after(100).run_tag != 0


def test_lost_decisions_are_invalid_results_where_the_plc_does_not_trigger() -> None:
    stage = Stage(enabled=False)
    stage.decide(part_id=1)
    stage.gate.missed(3, stage.now_ns)
    status = stage.status
    assert [result.verdict for result in status.ring] == [Verdict.INVALID] * 3 + [Verdict.PASS]
    assert status.counters.lost == 3
    assert status.warn & Warn.LOST


def test_lost_decisions_leave_triggered_parts_to_their_deadline() -> None:
    stage = Stage()
    stage.trigger(7, 1001, deadline_ms=200)
    stage.gate.missed(1, stage.now_ns)
    assert stage.status.queue == 0
    status = stage.after(210)
    assert ids(status) == (7, 1001)
    assert verdict_bits(status) == Bit.INVALID


def test_parts_and_pictures_out_of_step_pass_nothing_until_resync() -> None:
    stage = Stage()
    stage.online, stage.state = False, State.ERROR
    stage.event("out_of_step")
    status = stage.decide(part_id=3)
    assert (verdict_bits(status), status.fault) == (Bit.INVALID, Fault.TRIGGER_MISMATCH)
    stage.write(ENABLE | Control.CLEAR_FAULT, ack_seq=1)
    assert stage.status.fault is Fault.TRIGGER_MISMATCH, "clearing is not enough"
    stage.write(ENABLE | Control.RESYNC)
    assert stage.orders[-1].op == "resync"
    assert not stage.status.bits & Bit.CMD_DONE
    stage.online, stage.state = True, State.READY
    status = stage.answer(stage.orders[-1])
    assert status.bits & Bit.CMD_DONE
    assert stage.after(100).fault is Fault.NONE
    assert not stage.write(ENABLE).bits & Bit.CMD_DONE
    assert verdict_bits(stage.decide(part_id=4)) == Bit.PASS


def test_a_schema_that_is_not_known_is_a_fault_and_nothing_is_valid() -> None:
    stage = Stage()
    stage.decide()
    stage.gate.schema_unknown("schema 2 is not 1", stage.now_ns)
    status = stage.status
    assert (status.fault, verdict_bits(status)) == (Fault.SCHEMA_UNKNOWN, Bit.INVALID)


# -- recipes, counters, faults


def test_a_recipe_is_changed_and_recipe_ok_says_when_it_is_in_force() -> None:
    stage = Stage()
    stage.write(ENABLE | Control.LOAD_RECIPE, recipe_request=3)
    order = stage.orders[-1]
    assert (order.op, order.recipe) == ("recipe", 3)
    assert not stage.status.bits & (Bit.RECIPE_OK | Bit.CMD_DONE | Bit.TRIGGER_READY)
    status = stage.answer(order, CommandReply(id=order.id, ok=True, recipe=3, model_digest="ab" * 32))
    assert status.bits & Bit.RECIPE_OK, "at once, not with the next heartbeat"
    assert status.bits & Bit.CMD_DONE
    assert status.recipe == 3
    assert not stage.write(ENABLE).bits & Bit.CMD_DONE


@pytest.mark.parametrize("answer", [NoReply.NO_ANSWER, "no recipe 9"])
def test_a_recipe_that_is_refused_is_done_but_not_ok(answer: NoReply | str) -> None:
    stage = Stage()
    stage.write(ENABLE | Control.LOAD_RECIPE, recipe_request=9)
    order = stage.orders[-1]
    reply = answer if isinstance(answer, NoReply) else CommandReply(id=order.id, ok=False, error=answer)
    status = stage.answer(order, reply)
    assert status.bits & Bit.CMD_DONE
    assert not status.bits & Bit.RECIPE_OK
    assert status.fault is Fault.BAD_COMMAND


def test_recipe_zero_and_a_second_order_before_the_first_is_through_are_bad_commands() -> None:
    stage = Stage()
    assert stage.write(ENABLE | Control.LOAD_RECIPE, recipe_request=0).fault is Fault.BAD_COMMAND
    stage.write(ENABLE | Control.CLEAR_FAULT)
    stage.write(ENABLE | Control.LOAD_RECIPE, recipe_request=2)
    assert stage.write(ENABLE | Control.LOAD_RECIPE | Control.RESYNC).fault is Fault.BAD_COMMAND
    assert [order.op for order in stage.orders] == ["recipe"]


def test_counters_count_and_are_reset_on_request() -> None:
    stage = Stage()
    for verdict in (Verdict.PASS, Verdict.PASS, Verdict.FAIL, Verdict.INVALID):
        stage.decide(verdict)
    counts = stage.status.counters
    assert (counts.total, counts.passed, counts.failed, counts.invalid) == (4, 2, 1, 1)
    assert stage.write(ENABLE | Control.RESET_COUNTERS).counters.total == 0


@pytest.mark.parametrize(
    ("reason", "fault"),
    [
        (Reason.NO_IMAGE, Fault.CAMERA_TIMEOUT),
        (Reason.BLURRED, Fault.IMAGE_UNUSABLE),
        (Reason.LATE, Fault.TOO_SLOW),
    ],
)
def test_three_of_a_kind_in_a_row_are_a_fault_until_a_part_is_judged(reason: Reason, fault: Fault) -> None:
    stage = Stage(enabled=False)
    for _ in range(2):
        assert stage.decide(Verdict.INVALID, reason=reason).fault is Fault.NONE
    assert stage.decide(Verdict.INVALID, reason=reason).fault is fault
    assert stage.decide(Verdict.FAIL).fault is Fault.NONE


def test_a_lost_camera_is_a_fault_while_the_station_is_not_online() -> None:
    stage = Stage()
    stage.event("camera_lost")
    stage.online, stage.state = False, State.ERROR
    assert stage.after(100).fault is Fault.CAMERA_LOST
    stage.online, stage.state = True, State.READY
    assert stage.after(100).fault is Fault.NONE, "also where the event of its end was missed"


def test_a_gateway_that_comes_while_the_camera_is_lost_says_so_too() -> None:
    stage = Stage(enabled=False)
    stage.gate = Gate(identity="gateway-2", now_ns=stage.now_ns)
    stage.online, stage.state = False, State.ERROR
    assert stage.after(100).fault is Fault.CAMERA_LOST


def test_a_plc_that_falls_silent_is_a_fault_and_its_unread_pass_is_none_any_more() -> None:
    stage = Stage()
    stage.decide(deadline_ms=60_000)
    stage.plc_lives = False
    assert stage.after(950).fault is Fault.NONE
    status = stage.after(100)
    assert (status.fault, verdict_bits(status)) == (Fault.PLC_LOST, Bit.INVALID)
    assert not status.bits & Bit.TRIGGER_READY
    stage.plc_lives = True
    assert stage.after(200).fault is Fault.NONE


@pytest.mark.parametrize("bit", range(7, 16))
def test_a_control_word_with_bits_that_mean_nothing_does_nothing(bit: int) -> None:
    stage = Stage()
    status = stage.write(ENABLE | Control.TRIGGER | 1 << bit, trigger_id=7, part_id=1)
    assert status.fault is Fault.BAD_COMMAND
    assert not stage.orders
    assert not status.bits & (Bit.TRIGGER_ACK | Bit.BUSY)


# -- whose verdict is it?


def test_a_verdict_of_another_encoder_is_another_parts_and_nothing_passes_until_resync() -> None:
    stage = Stage()
    stage.trigger(7, 1, encoder=5000)
    status = stage.decide(trigger_id=7, part_id=1, encoder=1000)
    assert verdict_bits(status) == Bit.INVALID
    assert status.result is not None
    assert (status.result.reason, status.result.encoder) == (Reason.MISMATCH, 1000)
    assert status.fault is Fault.TRIGGER_MISMATCH
    assert stage.after(300).fault is Fault.TRIGGER_MISMATCH, "the station does not know of it"
    assert not stage.trigger(8, 2).bits & Bit.TRIGGER_ACK
    stage.write(ENABLE | Control.RESYNC, ack_seq=2)
    assert stage.answer(stage.orders[-1]).fault is Fault.NONE


@pytest.mark.parametrize(
    ("waited_ms", "age_ms", "fits"), [(0, 20, True), (0, 300, False), (380, 20, False), (200, 190, True)]
)
def test_a_part_that_the_station_began_at_another_time_is_another_part(
    waited_ms: int, age_ms: float, fits: bool
) -> None:
    stage = Stage()
    stage.trigger(7, 1)
    stage.after(waited_ms)
    status = stage.decide(age_ms=age_ms, trigger_id=7, part_id=1)
    assert verdict_bits(status) == (Bit.PASS if fits else Bit.INVALID)
    assert fits or (status.result is not None and status.result.reason is Reason.MISMATCH)


def test_the_ack_says_that_the_station_has_taken_the_trigger() -> None:
    stage = Stage()
    assert not stage.write(ENABLE | Control.TRIGGER, trigger_id=7, part_id=1).bits & Bit.TRIGGER_ACK
    assert stage.answer(stage.orders[-1]).bits & Bit.TRIGGER_ACK


def test_a_trigger_that_falls_before_its_ack_is_given_up_and_its_pass_is_not_shown() -> None:
    stage = Stage()
    stage.write(ENABLE | Control.TRIGGER, trigger_id=7, part_id=1)
    status = stage.write(ENABLE)
    assert ids(status) == (7, 1)
    assert verdict_bits(status) == Bit.INVALID
    assert not stage.answer(stage.orders[-1]).bits & Bit.TRIGGER_ACK
    assert len(stage.decide(trigger_id=7, part_id=1).ring) == 1


def test_a_trigger_that_nobody_knows_the_age_of_is_missed() -> None:
    stage = Stage()
    block = CommandBlock(control=ENABLE | Control.TRIGGER, plc_heartbeat=9, trigger_id=7, part_id=1)
    stage.gate.commanded(block, stage.now_ns, of_old=True)
    status = stage.status
    assert not [order for order in stage.orders if order.op == "trigger"]
    assert status.bits & Bit.MISSED_TRIGGER
    assert (ids(status), verdict_bits(status)) == ((7, 1), Bit.INVALID)


def test_resync_does_not_make_old_names_free() -> None:
    stage = Stage()
    stage.trigger(1, 1)
    stage.write(ENABLE | Control.RESYNC)
    stage.answer(stage.orders[-1])
    stage.write(ENABLE, ack_seq=1)
    assert not stage.trigger(1, 1).bits & Bit.TRIGGER_ACK
    assert Verdict.PASS not in [result.verdict for result in stage.decide(trigger_id=1, part_id=1).ring]


def test_a_name_whose_verdict_was_not_read_cannot_be_given_again() -> None:
    stage = Stage()
    stage.trigger(1, 1)
    stage.decide(trigger_id=1, part_id=1)
    status = stage.trigger(1, 1)
    assert status.bits & Bit.MISSED_TRIGGER
    assert not status.bits & Bit.TRIGGER_ACK


def test_a_name_given_twice_costs_both_parts() -> None:
    stage = Stage()
    stage.trigger(0, 0)
    stage.trigger(0, 0)
    stage.decide(trigger_id=0, part_id=0)
    assert [result.verdict for result in stage.status.ring] == [Verdict.INVALID] * 2


def test_a_decision_without_a_name_is_not_that_of_part_zero() -> None:
    stage = Stage()
    stage.trigger(0, 0)
    status = stage.decide()
    assert status.result is None
    assert status.warn & Warn.FOREIGN


def test_what_was_under_way_when_a_plc_begins_anew_is_not_shown_to_it() -> None:
    stage = Stage()
    stage.trigger(1, 1)
    stage.write(0)
    stage.write(ENABLE)
    assert stage.decide(trigger_id=1, part_id=1).queue == 0


def test_no_pass_that_waited_is_shown_after_enable_fell() -> None:
    stage = Stage()
    stage.decide(Verdict.FAIL)
    stage.decide()
    stage.write(0)
    stage.after(5000)
    assert not stage.write(ack_seq=1).bits & Bit.PASS


def test_a_part_judged_by_another_recipe_than_the_plc_asked_for_does_not_pass() -> None:
    stage = Stage(enabled=False)
    stage.write(Control.LOAD_RECIPE, recipe_request=7)
    stage.answer(stage.orders[-1], CommandReply(id=1, ok=False, error="no recipe 7", recipe=1))
    status = stage.decide()
    assert verdict_bits(status) == Bit.INVALID
    stage.write(ENABLE)
    assert not stage.status.bits & (Bit.TRIGGER_READY | Bit.RECIPE_OK)


def test_a_name_that_the_station_never_spoke_of_is_free_again_some_seconds_after_its_deadline() -> None:
    stage = Stage()
    stage.trigger(0, 0, deadline_ms=100)
    stage.after(150)
    stage.write(ENABLE, ack_seq=1)
    stage.after(5200)
    assert stage.trigger(0, 0).bits & Bit.TRIGGER_ACK


# -- states that end


def test_a_station_that_dies_during_a_change_over_leaves_nothing_to_wait_for() -> None:
    stage = Stage()
    stage.write(ENABLE | Control.LOAD_RECIPE, recipe_request=1)
    status = stage.restart_station()
    assert status.bits & Bit.CMD_DONE
    assert status.fault is Fault.BAD_COMMAND
    assert stage.write(ENABLE).bits & Bit.TRIGGER_READY


def test_an_unknown_schema_is_over_when_the_known_one_is_heard() -> None:
    stage = Stage()
    stage.gate.schema_unknown("schema 2 is not 1", stage.now_ns)
    assert stage.after(200).fault is Fault.NONE


def test_a_mismatch_that_the_station_has_got_over_is_over_here_too() -> None:
    stage = Stage()
    stage.event("out_of_step")
    stage.online, stage.state = False, State.ERROR
    assert stage.after(100).fault is Fault.TRIGGER_MISMATCH
    stage.online, stage.state = True, State.READY
    assert stage.after(100).fault is Fault.NONE


def test_a_station_that_takes_no_triggers_is_not_asked_again_before_it_starts_anew() -> None:
    stage = Stage()
    stage.write(ENABLE | Control.TRIGGER, trigger_id=7, part_id=1001)
    refusal = CommandReply(id=stage.orders[-1].id, ok=False, error="this station's trigger is 'free'")
    stage.answer(stage.orders[-1], refusal)
    assert not stage.write(ENABLE, ack_seq=1).bits & Bit.TRIGGER_READY
    assert stage.restart_station().bits & Bit.TRIGGER_READY


def test_without_a_command_socket_no_trigger_is_invited() -> None:
    assert not Stage(can_order=False).status.bits & Bit.TRIGGER_READY


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e306])
def test_numbers_that_are_none_are_no_pass_and_break_nothing(value: float) -> None:
    stage = Stage(enabled=False)
    assert not stage.decide(age_ms=value).bits & Bit.PASS
    status = stage.decide(score=value, threshold=1e-310)
    assert len(status_registers(status)) == 128
    assert status.bits & Bit.INVALID or value == 1e306


def test_result_numbers_begin_where_they_are_told() -> None:
    stage = Stage(first_seq=2**32 - 1)
    stage.decide()
    stage.decide()
    assert [result.seq for result in stage.status.ring] == [1, 2**32 - 1]


# -- wraps


def test_the_heartbeat_wraps_at_16_bits() -> None:
    stage = Stage()
    stage.gate._pulse.word = 0xFFFE
    seen = [stage.after(100).heartbeat for _ in range(4)]
    assert seen == [0xFFFF, 0, 1, 2]


def test_result_numbers_wrap_at_32_bits_leaving_out_zero_and_acks_follow() -> None:
    stage = Stage()
    stage.gate._account.results._seq = 2**32 - 3
    for _ in range(4):
        stage.decide()
    assert [result.seq for result in stage.status.ring] == [2, 1, 2**32 - 1, 2**32 - 2]
    status = stage.write(ack_seq=2**32 - 1)
    assert status.result is not None
    assert (status.result.seq, status.queue, status.fault) == (1, 2, Fault.NONE)
    assert stage.write(ack_seq=2).queue == 0


def test_ids_take_their_whole_range() -> None:
    stage = Stage()
    stage.trigger(0xFFFF, 2**32 - 1, encoder=2**32 - 1)
    status = stage.decide(trigger_id=0xFFFF, part_id=2**32 - 1)
    assert ids(status) == (0xFFFF, 2**32 - 1)
    assert status.result is not None
    assert status.result.encoder == 2**32 - 1
    assert ids(stage.trigger(0, 0)) == (0xFFFF, 2**32 - 1)
    stage.write(ack_seq=1)
    assert ids(stage.decide(trigger_id=0, part_id=0)) == (0, 0)


# -- the last guard


def _passing(**changes: object) -> Status:
    result = Result(seq=1, verdict=Verdict.PASS, reason=Reason.OK, run="r", feed_seq=1)
    values: dict[str, object] = {
        "bits": Bit.ONLINE | Bit.RESULT_VALID | Bit.PASS,
        "fault": Fault.NONE,
        "result": result,
        "run": "r",
    }
    return Status(**(values | changes))  # type: ignore[arg-type]


def test_the_guard_lets_an_honest_pass_through() -> None:
    assert check(_passing()) == _passing()


@pytest.mark.parametrize(
    "changes",
    [
        {"bits": Bit.ONLINE | Bit.RESULT_VALID | Bit.PASS | Bit.FAIL},
        {"bits": Bit.ONLINE | Bit.RESULT_VALID | Bit.PASS | Bit.INVALID},
        {"bits": Bit.ONLINE | Bit.PASS},
        {"bits": Bit.ONLINE | Bit.RESULT_VALID},
        {"bits": Bit.ONLINE | Bit.FAIL},
        {"bits": Bit.ONLINE | Bit.RESULT_VALID | Bit.PASS | Bit.FEED_STALE},
        {"result": None},
        {"result": Result(seq=1, verdict=Verdict.FAIL, reason=Reason.SCORE, run="r", feed_seq=1)},
        {"result": Result(seq=1, verdict=Verdict.PASS, reason=Reason.OK, run="r")},
        {"run": "another"},
    ],
)
def test_the_guard_refuses_whatever_could_be_misread(changes: dict[str, object]) -> None:
    with pytest.raises(Unsafe):
        check(_passing(**changes))


# -- everything at once


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_a_pass_is_shown_only_for_a_part_whose_own_decision_said_so_in_time(seed: int) -> None:
    print(f"seed {seed}")
    dice, stage = random.Random(seed), Stage()
    passes: dict[tuple[int, int], int] = {}
    """Parts for which the station said PASS, and until when that counts."""
    triggered: dict[tuple[int, int], int] = {}
    results: dict[tuple[int, int], int] = {}
    number = 0
    under_way: list[tuple[int, int]] = []
    for _ in range(600):
        what = dice.random()
        if what < 0.25:
            number += 1
            name = (number & 0xFFFF, 1000 + number)
            before = stage.status.bits & Bit.TRIGGER_ACK
            deadline_ms = dice.choice([0, 60, 200])
            triggered[name] = stage.now_ns + (deadline_ms or stage.deadline_ms) * MS
            status = stage.trigger(*name, deadline_ms=deadline_ms)
            if status.bits & Bit.TRIGGER_ACK and not before:
                under_way.append(name)
        elif what < 0.5 and under_way:
            name = under_way.pop(dice.randrange(len(under_way)))
            verdict = dice.choice(list(Verdict))
            age_ms = dice.choice([5.0, 30.0, 400.0, 900.0])
            if verdict is Verdict.PASS:
                passes[name] = min(triggered[name], stage.now_ns + round(max(0.0, stage.deadline_ms - age_ms) * MS))
            stage.decide(verdict, age_ms, trigger_id=name[0], part_id=name[1])
        elif what < 0.6:
            stage.write(ack_seq=dice.choice([stage.gate._account.results._seq, dice.randrange(2**32)]))
        elif what < 0.65:
            stage.write(dice.randrange(0, 256), trigger_id=dice.randrange(3), part_id=dice.randrange(3))
            stage.write(ENABLE)
        elif what < 0.68:
            stage.restart_station()
            if stage.beating:  # else the gate cannot know yet
                passes.clear()
            under_way.clear()
        elif what < 0.72:
            stage.beating = not stage.beating
        elif what < 0.74:
            stage.gate.missed(dice.randrange(1, 30), stage.now_ns)
        elif what < 0.77 and stage.orders and under_way:
            order = stage.orders[-1]
            if (order.trigger_id, order.part_id) == under_way[-1]:
                answers = [NoReply.NOT_SENT, CommandReply(id=order.id, ok=False, error="what?")]
                stage.answer(order, dice.choice(answers))
                under_way.pop()
        elif what < 0.79:
            stage.event(dice.choice(["out_of_step", "resync", "camera_lost", "camera_back"]))
        else:
            stage.after(dice.choice([10, 30, 120, 400]))
        status = stage.status
        if status.bits & Bit.PASS:
            name = ids(status) or (-1, -1)
            assert stage.now_ns < passes.get(name, 0) + 10 * MS, f"{name} is shown as PASS"
    stage.beating = False
    stage.after(2000)
    for note in stage.notes:
        if note.kind == "result" and note.result is not None and note.result.part_id > 1000:
            name = (note.result.trigger_id, note.result.part_id)
            results[name] = results.get(name, 0) + 1
    assert set(results) <= set(triggered)
    assert set(results.values()) <= {1}, "no part has two results"
    assert set(triggered) == set(results), "every part has one"


def test_an_empty_command_block_is_nothing() -> None:
    stage = Stage(enabled=False)
    stage.gate.commanded(CommandBlock(), stage.now_ns)
    assert not stage.status.bits & Bit.FAULT
