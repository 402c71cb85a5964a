from __future__ import annotations

import pytest

from sad_runtime.plc.simulator.tracking import Queue, Tracked, travelled


def a_part(start: int = 0, *, good: bool = True, number: int = 1) -> Tracked:
    return Tracked(number, number, start, judged=good, good=good)


@pytest.mark.parametrize(
    ("since", "now", "counts"),
    [(0, 5, 5), (2**32 - 3, 2, 5), (5, 0, -5), (2, 2**32 - 3, -5), (2**31 - 2, 2**31 + 3, 5)],
)
def test_a_way_is_right_across_the_wrap(since: int, now: int, counts: int) -> None:
    assert travelled(since, now) == counts


@pytest.mark.parametrize("start", [0, 2**32 - 950, 2**32 - 1050, 2**31 - 1000])
def test_the_gate_is_open_for_a_good_part_in_its_window_only(start: int) -> None:
    queue = Queue(1000, 20)
    queue.add(a_part(start))
    open_at = [way for way in range(900, 1100) if queue.lets_pass((start + way) % 2**32)]
    assert open_at == list(range(980, 1021))


def test_the_gate_stays_shut_when_a_bad_part_stands_in_the_window_too() -> None:
    queue = Queue(1000, 20)
    queue.add(a_part(0))
    queue.add(a_part(30, good=False, number=2))
    assert queue.lets_pass(985)
    assert not queue.lets_pass(1015)


def test_a_part_without_a_result_is_rejected_as_it_enters_the_gate() -> None:
    queue, part = Queue(1000, 20), a_part(good=False)
    queue.add(part)
    assert not queue.lets_pass(985)
    assert (part.judged, part.good, part.told) == (True, False, "no result")


def test_bad_news_turns_the_gate_back() -> None:
    queue, part = Queue(1000, 20), a_part()
    queue.add(part)
    assert queue.lets_pass(990)
    part.reject("INVALID late")
    assert not queue.lets_pass(991)


def test_parts_leave_behind_the_window_and_one_that_no_scan_saw_there_was_rejected() -> None:
    queue, seen, unseen = Queue(1000, 20), a_part(0), a_part(100, number=2)
    queue.add(seen)
    queue.add(unseen)
    assert queue.lets_pass(1000)
    assert queue.leave(1020) == []
    assert queue.leave(2000) == [seen, unseen]
    assert (seen.good, unseen.good, unseen.told) == (True, False, "not followed")
    assert len(queue) == 0


def test_a_rejected_part_keeps_its_first_reason() -> None:
    part = a_part(good=False)
    part.reject("FAIL score")
    part.reject("silence")
    assert part.told == "FAIL score"
