"""The judge: whose doing it was that a part passed or did not."""

from __future__ import annotations

from typing import Any

import pytest

from sad_runtime.messages import Decision
from sad_runtime.plc.simulator.belt import Passing
from sad_runtime.plc.simulator.score import Score, Truth
from sad_runtime.plc.simulator.tracking import Tracked
from sad_runtime.verdict import Reason, Verdict

BOOT = "this boot"
LEFT_NS = 1_000_000_000
ASKED_NS, GONE_NS = 10**18, 10**18 + 300_000_000
"""By the wall clock: TRIGGER, and when the part was out of sight."""


def a_decision(verdict: Verdict = Verdict.PASS, **changes: Any) -> Decision:
    values: dict[str, Any] = {
        "run": "run-1",
        "station": "line1",
        "seq": 1,
        "trigger_id": 3,
        "part_id": 7,
        "frame_id": 4,
        "encoder": 500,
    }
    values |= {"mono_ns": LEFT_NS - 1, "boot_id": BOOT, "verdict": verdict, "reason": Reason.OK, "age_ms": 20.0}
    return Decision(**(values | changes))


def judged(*decisions: Decision, passed: bool, followed: bool = True, bad: bool = False, feed: bool = True) -> Score:
    """One part, with picture 4, that came and left."""
    score = Score(lambda frame_id: bad and frame_id == 4, BOOT, judged=feed)
    score.entered(Passing(0, 500))
    for decision in decisions:
        score.decided(decision)
    if followed:
        tracked = Tracked(7, 3, 500, asked_ms=0, asked_ns=ASKED_NS, result_ms=30, taken=True, judged=True, good=passed)
        tracked.told = "said"
        score.followed(tracked)
    score.out_of_sight(0, GONE_NS)
    score.left(Passing(0, 1500), passed=passed, at_ns=LEFT_NS)
    score.settle()
    assert score.counts.settled == 1
    assert (score.unaccounted, score.on_belt) == (0, 0)
    return score


def test_a_good_part_with_its_own_pass_passes() -> None:
    assert judged(a_decision(), passed=True).counts.passed["good"] == 1


def test_a_bad_part_that_the_model_took_for_good_is_the_models_escape() -> None:
    counts = judged(a_decision(), passed=True, bad=True).counts
    assert (counts.passed["bad"], counts.passed_by_system) == (1, 0)


@pytest.mark.parametrize(
    ("decisions", "word"),
    [
        ([], "without a decision"),
        ([a_decision(part_id=8)], "without a decision"),
        ([a_decision(trigger_id=4)], "without a decision"),
        ([a_decision(Verdict.FAIL)], "FAIL"),
        ([a_decision(Verdict.INVALID)], "INVALID"),
        ([a_decision(Verdict.FAIL), a_decision(seq=2)], "FAIL"),
        ([a_decision(encoder=400)], "without a decision"),
        ([a_decision(encoder=None)], "without a decision"),
        ([a_decision(age_ms=1200.0)], "deadline"),
        ([a_decision(mono_ns=LEFT_NS + 1)], "after the part had passed"),
        ([a_decision(captured_ns=ASKED_NS - 1_000_000)], "1 ms before its TRIGGER"),
        ([a_decision(captured_ns=GONE_NS + 2_000_000)], "2 ms after it was out of sight"),
    ],
)
def test_a_part_that_passed_without_a_sound_pass_is_the_systems_doing(decisions: list[Decision], word: str) -> None:
    score = judged(*decisions, passed=True)
    assert score.counts.passed_by_system == 1
    assert word in score.escapes[0]


def test_a_part_that_passed_and_that_the_plc_never_knew_is_the_systems_doing() -> None:
    assert judged(a_decision(), passed=True, followed=False).counts.passed_by_system == 1


def test_publishing_times_of_another_computer_are_not_compared() -> None:
    assert judged(a_decision(mono_ns=LEFT_NS * 9, boot_id="another"), passed=True).counts.passed["good"] == 1


def test_a_picture_taken_while_the_part_was_in_sight_is_its_own() -> None:
    for taken_ns in (ASKED_NS, GONE_NS):
        counts = judged(a_decision(captured_ns=taken_ns), passed=True).counts
        assert (counts.passed["good"], counts.wrong_picture) == (1, 0)
    other = a_decision(captured_ns=ASKED_NS - 1, boot_id="another", mono_ns=0)
    assert judged(other, passed=True).counts.wrong_picture == 0, "two computers, two clocks"


def test_a_wrong_picture_is_counted_where_the_part_was_rejected_too() -> None:
    counts = judged(a_decision(captured_ns=ASKED_NS - 1), passed=False).counts
    assert (counts.wrong_picture, counts.passed_by_system) == (1, 0)


@pytest.mark.parametrize("bad", [True, False])
def test_a_rejected_part_is_the_models_where_it_said_fail_and_else_the_systems(bad: bool) -> None:
    truth: Truth = "bad" if bad else "good"
    assert judged(a_decision(Verdict.FAIL), passed=False, bad=bad).counts.rejected_by_model[truth] == 1
    assert judged(a_decision(Verdict.PASS), passed=False, bad=bad).counts.rejected_by_system[truth] == 1
    assert judged(a_decision(Verdict.INVALID), passed=False, bad=bad).counts.rejected_by_system[truth] == 1


def test_of_a_part_without_a_picture_nobody_knows_the_truth() -> None:
    decision = a_decision(Verdict.INVALID, frame_id=None)
    assert judged(decision, passed=False, bad=True).counts.rejected_by_system["unknown"] == 1
    assert judged(passed=False, followed=False).counts.rejected_by_system["unknown"] == 1


def test_without_a_feed_the_plcs_own_word_is_all_there_is() -> None:
    assert judged(passed=True, feed=False).counts.passed["unknown"] == 1


def test_a_part_that_leaves_twice_or_never_is_lost_count_of() -> None:
    score = judged(a_decision(), passed=True)
    score.left(Passing(0, 1500), passed=False, at_ns=LEFT_NS)
    assert score.unaccounted == 1
    score = Score(None, BOOT)
    score.entered(Passing(0, 500))
    assert (score.unaccounted, score.on_belt) == (0, 1)


def test_lost_late_and_double_decisions_are_counted() -> None:
    score = Score(None, BOOT)
    score.entered(Passing(0, 500))
    score.entered(Passing(1, 600))
    score.followed(Tracked(7, 3, 500, asked_ms=0.0, taken=True, judged=True, told="no result"))
    score.followed(Tracked(8, 4, 600, asked_ms=0.0, result_ms=900.0, taken=True, judged=True, late=True, told="late"))
    for seq in (1, 2):
        score.decided(a_decision(seq=seq, trigger_id=4, part_id=8, encoder=600))
    score.decided(a_decision(part_id=99))
    score.decided(a_decision(trigger_id=4, part_id=8, encoder=700))
    for number in (0, 1):
        score.left(Passing(number, 1500), passed=False, at_ns=LEFT_NS)
    score.settle()
    counts = score.counts
    assert (counts.lost, counts.late, counts.decided_twice, counts.foreign) == (1, 1, 1, 2)
    assert counts.rejected_because == {"no result": 1, "late": 1}


def test_a_part_is_settled_some_seconds_after_it_left_when_the_feed_has_told_all() -> None:
    score = Score(None, BOOT)
    score.entered(Passing(0, 500))
    score.followed(Tracked(7, 3, 500, judged=True, good=True))
    score.left(Passing(0, 1500), passed=True, at_ns=LEFT_NS)
    score.settle(LEFT_NS + 4_900_000_000)
    assert (score.counts.settled, score.unaccounted) == (0, 0)
    score.decided(a_decision())
    score.settle(LEFT_NS + 5_100_000_000)
    assert score.counts.passed["unknown"] == 1


def test_decisions_on_parts_that_are_still_on_the_belt_at_the_end_are_not_foreign() -> None:
    score = Score(None, BOOT)
    score.entered(Passing(0, 500))
    score.followed(Tracked(7, 3, 500, judged=True, good=True))
    score.decided(a_decision())
    score.settle()
    assert (score.counts.foreign, score.on_belt, score.unaccounted) == (0, 1, 0)
