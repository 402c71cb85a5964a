"""Order and holes, without sockets: whatever a feed drops, repeats or restarts, the record stays whole."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from feeds import a_decision
from sad_runtime.feed.ordering import Gap, Hole, Ordering
from sad_runtime.messages import Decision, SnapshotReply

PAGE = 4


def out_of(ordering: Ordering) -> list[int | Gap]:
    """Sequence numbers and gaps delivered since the last call."""
    items = [item.seq if isinstance(item, Decision) else item for item in ordering.ready]
    ordering.ready.clear()
    return items


def pages(*decisions: Decision, next_seq: int | None = None) -> SnapshotReply:
    return SnapshotReply(items=list(decisions), next_seq=next_seq)


def test_without_history_the_first_live_decision_is_the_first() -> None:
    ordering = Ordering()
    ordering.saw(a_decision(7))
    ordering.saw(a_decision(8))
    assert out_of(ordering) == [7, 8]
    assert ordering.hole is None


def test_without_history_what_a_first_heartbeat_tells_of_is_not_missing() -> None:
    ordering = Ordering()
    ordering.saw_last("run-1", 6)
    assert ordering.hole is None
    ordering.saw(a_decision(8))
    assert ordering.hole == Hole("run-1", 7, 7), "but what came after it is"


def test_with_history_everything_before_is_missing() -> None:
    ordering = Ordering(history=True)
    ordering.saw_last("run-1", 3)
    assert ordering.hole == Hole("run-1", 1, 3)
    ordering.fill(pages(a_decision(1), a_decision(2), a_decision(3)))
    assert out_of(ordering) == [1, 2, 3]


def test_with_history_a_run_without_decisions_has_no_hole() -> None:
    ordering = Ordering(history=True)
    ordering.saw_last("run-1", 0)
    assert ordering.hole is None


def test_later_decisions_wait_until_the_hole_is_filled() -> None:
    ordering = Ordering()
    for seq in (1, 4, 5):
        ordering.saw(a_decision(seq))
    assert out_of(ordering) == [1]
    ordering.fill(pages(a_decision(2), a_decision(3)))
    assert out_of(ordering) == [2, 3, 4, 5]


def test_a_hole_larger_than_a_page_is_asked_for_on() -> None:
    ordering = Ordering()
    ordering.saw(a_decision(1))
    ordering.saw(a_decision(6))
    ordering.fill(pages(a_decision(2), a_decision(3), next_seq=4))
    assert ordering.hole == Hole("run-1", 4, 5)
    ordering.fill(pages(a_decision(4), a_decision(5)))
    assert out_of(ordering) == [1, 2, 3, 4, 5, 6]


def test_a_page_that_leads_nowhere_ends_the_asking() -> None:
    ordering = Ordering()
    ordering.saw(a_decision(1))
    ordering.saw(a_decision(6))
    ordering.fill(pages(next_seq=2))
    assert out_of(ordering) == [1, Gap("run-1", 2, 5), 6]


def test_what_the_journal_no_longer_has_is_a_gap_in_its_place() -> None:
    ordering = Ordering(history=True)
    ordering.saw_last("run-1", 6)
    ordering.fill(pages(a_decision(3), a_decision(5)))
    assert out_of(ordering) == [Gap("run-1", 1, 2), 3, Gap("run-1", 4, 4), 5, Gap("run-1", 6, 6)]


def test_a_journal_that_never_answers_leaves_a_gap() -> None:
    ordering = Ordering()
    ordering.saw(a_decision(1))
    ordering.saw(a_decision(4))
    ordering.give_up()
    assert out_of(ordering) == [1, Gap("run-1", 2, 3), 4]
    assert Gap("run-1", 2, 3).count == 2


def test_repeated_decisions_are_delivered_once() -> None:
    ordering = Ordering()
    for seq in (1, 2, 2, 1, 3):
        ordering.saw(a_decision(seq))
    assert out_of(ordering) == [1, 2, 3]


def test_decisions_of_another_run_do_not_fill_a_hole() -> None:
    ordering = Ordering()
    ordering.saw(a_decision(1))
    ordering.saw(a_decision(3))
    ordering.fill(pages(a_decision(2, run="run-0")))
    assert out_of(ordering) == [1, Gap("run-1", 2, 2), 3]


def test_a_heartbeat_reveals_that_the_last_decisions_are_missing() -> None:
    ordering = Ordering()
    ordering.saw(a_decision(1))
    ordering.saw_last("run-1", 1)
    assert ordering.hole is None
    ordering.saw_last("run-1", 3)
    assert ordering.hole == Hole("run-1", 2, 3)


def test_after_a_restart_the_end_of_the_old_run_is_asked_for_then_the_new_one_starts_at_its_first() -> None:
    ordering = Ordering()
    ordering.saw(a_decision(5))
    ordering.saw(a_decision(2, run="run-2"))
    assert ordering.hole == Hole("run-1", 6, None)
    ordering.fill(pages(a_decision(6), a_decision(7)))
    assert ordering.hole == Hole("run-2", 1, 1)
    ordering.fill(pages(a_decision(1, run="run-2")))
    assert out_of(ordering) == [5, 6, 7, 1, 2]
    assert ordering.run == "run-2"


def test_an_old_run_that_left_nothing_behind_is_no_gap() -> None:
    ordering = Ordering()
    ordering.saw(a_decision(5))
    ordering.saw_last("run-2", 0)
    ordering.fill(pages())
    ordering.saw_last("run-2", 0)
    ordering.saw(a_decision(1, run="run-2"))
    assert out_of(ordering) == [5, 1]


def test_a_restart_while_a_hole_is_open_waits_for_it() -> None:
    ordering = Ordering()
    ordering.saw(a_decision(1))
    ordering.saw(a_decision(3))
    ordering.saw_run("run-2")
    ordering.saw_last("run-2", 0)
    ordering.saw(a_decision(1, run="run-2"))
    assert ordering.hole == Hole("run-1", 2, 2)
    ordering.give_up()
    assert ordering.hole == Hole("run-1", 4, None)
    ordering.give_up()
    assert out_of(ordering) == [1, Gap("run-1", 2, 2), 3, 1]


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 25), min_size=1, max_size=3),
    fates=st.lists(st.sampled_from(["arrives", "arrives", "lost", "twice", "heartbeat", "hello"]), max_size=75),
    kept=st.lists(st.booleans(), max_size=75),
    history=st.booleans(),
)
def test_every_decision_is_delivered_once_in_order_or_told_to_be_lost(
    lengths: list[int], fates: list[str], kept: list[bool], history: bool
) -> None:
    """`fates` by publication: what becomes of it on the way; `kept`: whether the journal still has it."""
    ordering = Ordering(history=history)
    journal: list[Decision] = []
    number = 0
    for index, length in enumerate(lengths):
        run = f"run-{index}"
        for seq in range(1, length + 1):
            decision = a_decision(seq, run=run)
            fate = fates[number] if number < len(fates) else "arrives"
            if number >= len(kept) or kept[number]:
                journal.append(decision)
            number += 1
            for _ in range({"arrives": 1, "twice": 2}.get(fate, 0)):
                ordering.saw(decision)
            if fate == "hello":
                ordering.saw_run(run)
            if fate == "heartbeat":
                ordering.saw_last(run, seq)
            while ordering.hole is not None:
                ordering.fill(_replayed(journal, ordering.hole))
        ordering.saw_last(run, length)
        while ordering.hole is not None:
            ordering.fill(_replayed(journal, ordering.hole))
        ordering.saw_last(run, length)
        while ordering.hole is not None:
            ordering.fill(_replayed(journal, ordering.hole))
    covered: dict[str, list[int]] = {f"run-{index}": [] for index in range(len(lengths))}
    for item in ordering.ready:
        if isinstance(item, Gap):
            covered[item.run] += range(item.from_seq, item.to_seq + 1)
        else:
            covered[item.run].append(item.seq)
    for index, length in enumerate(lengths):
        seqs = covered[f"run-{index}"]
        whole_from = 1 if index > 0 or history else (seqs[0] if seqs else length + 1)
        assert seqs == list(range(whole_from, length + 1))


def _replayed(journal: list[Decision], hole: Hole) -> SnapshotReply:
    found = [
        row
        for row in journal
        if row.run == hole.run and row.seq >= hole.from_seq and (hole.to_seq is None or row.seq <= hole.to_seq)
    ]
    return SnapshotReply(items=found[:PAGE], next_seq=found[PAGE].seq if len(found) > PAGE else None)
