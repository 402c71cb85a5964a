"""Announced parts and the camera's pictures: in order while nothing is missing, and out of step at the first doubt."""

from __future__ import annotations

import time

import pytest

from bundles import good_picture
from sad_runtime.cameras.base import Frame, frame_now
from sad_runtime.station.pairing import Pairing
from sad_runtime.station.part import Part


def part(number: int, started_ns: int | None = None) -> Part:
    return Part(started_ns or time.monotonic_ns(), 500, part_id=number)


def frame(number: int) -> Frame:
    return frame_now(good_picture(), number, "camera")


EARLY_MS, LATE_MS = 100, 200


def pairing_of(most: int = 8) -> Pairing:
    return Pairing(most, announce_within_ms=EARLY_MS, picture_within_ms=LATE_MS)


def announced(*numbers: int, most: int = 8) -> Pairing:
    pairing = pairing_of(most)
    for number in numbers:
        assert pairing.put(part(number))
    return pairing


def paired(pairing: Pairing, *ids: int) -> list[int | None]:
    parts = [pairing.pair(frame(number)) for number in ids]
    return [None if one is None else one.part_id for one in parts]


def test_the_nth_picture_is_of_the_nth_part() -> None:
    assert paired(announced(7, 8, 9), 100, 101, 102) == [7, 8, 9]


def test_a_picture_before_its_announcement_waits_and_nothing_is_wrong_yet() -> None:
    pairing = pairing_of()
    early = frame(0)
    assert pairing.pair(early) is None
    assert not pairing.out_of_step
    pairing.put(part(1))
    assert pairing.pair(early) is not None


def test_a_hole_in_the_cameras_numbers_is_out_of_step() -> None:
    pairing = announced(1, 2, 3)
    assert paired(pairing, 5, 7, 8) == [1, None, None]
    assert "pictures 6 to 6 of the camera never came" in pairing.out_of_step


def test_a_part_that_was_answered_without_its_picture_is_out_of_step() -> None:
    """Else the picture that comes late would be taken for the next part's."""
    pairing = pairing_of()
    first = part(1)
    pairing.put(first)
    pairing.put(part(2))
    first.answered = True
    assert pairing.pair(frame(0)) is None
    assert "part 1 got no picture in time" in pairing.out_of_step


def test_a_lost_trigger_pulse_is_seen_without_another_picture() -> None:
    pairing = pairing_of()
    lonely = part(3)
    pairing.put(lonely)
    pairing.look()
    assert not pairing.out_of_step
    lonely.answered = True
    pairing.look()
    assert "part 3 got no picture" in pairing.out_of_step


def test_a_picture_older_than_its_part_can_be_is_out_of_step() -> None:
    pairing = pairing_of()
    old = frame(0)
    pairing.put(part(1, old.mono_ns + 2 * EARLY_MS * 1_000_000))
    assert pairing.pair(old) is None
    assert "was announced 200 ms after the picture" in pairing.out_of_step


def test_a_picture_a_little_older_than_its_announcement_is_in_step() -> None:
    pairing = pairing_of()
    first = frame(0)
    pairing.put(part(1, first.mono_ns + EARLY_MS * 500_000))
    assert pairing.pair(first) is not None


def test_more_parts_than_may_wait_are_out_of_step() -> None:
    pairing = announced(1, 2, most=2)
    assert not pairing.put(part(3))
    assert "more parts announced" in pairing.out_of_step


def test_the_first_reason_is_kept_until_resync_and_then_numbers_begin_anew() -> None:
    pairing = announced(1)
    pairing.lose("first")
    pairing.lose("second")
    assert pairing.out_of_step == "first"
    assert paired(pairing, 0) == [None]
    pairing.empty()
    pairing.resync()
    pairing.put(part(5))
    assert paired(pairing, 40) == [5]


def test_the_picture_of_the_next_part_is_not_taken_for_one_that_was_lost() -> None:
    """Parts come every 300 ms, with a deadline that is far away: else each would get the next one's from then on."""
    pairing = pairing_of()
    before_ns = time.monotonic_ns() - 300_000_000
    pairing.put(part(1, before_ns))
    pairing.put(part(2))
    assert pairing.pair(frame(0)) is None
    assert "a picture came 300 ms after part 1, and may be the next one's" in pairing.out_of_step


def test_a_picture_that_does_not_come_is_seen_before_the_deadline_passes() -> None:
    pairing = pairing_of()
    pairing.put(part(1, time.monotonic_ns() - 2 * LATE_MS * 1_000_000))
    pairing.look()
    assert "part 1 got no picture" in pairing.out_of_step


def test_after_resync_the_numbers_go_on_from_the_last_picture_that_came() -> None:
    """Else the first picture after it could be lost without a trace."""
    pairing = announced(1)
    pairing.lose("a test")
    pairing.saw(frame(7))
    pairing.empty()
    pairing.resync()
    pairing.put(part(2))
    assert pairing.pair(frame(9)) is None
    assert "pictures 8 to 8" in pairing.out_of_step


def test_what_is_announced_after_resync_was_answered_is_not_thrown_away() -> None:
    pairing = pairing_of()
    pairing.lose("a test")
    pairing.put(part(5))
    pairing.resync()
    assert paired(pairing, 0) == [5]


@pytest.mark.parametrize("waits", [True, False])
def test_parts_that_are_refused_leave_their_pictures_on_the_way(waits: bool) -> None:
    pairing = announced(1) if waits else pairing_of()
    assert len(pairing.empty()) == waits
    assert bool(pairing.out_of_step) == waits


def test_a_camera_that_was_opened_again_may_count_from_anywhere() -> None:
    pairing = announced(1, 2)
    assert paired(pairing, 500) == [1]
    pairing.begin_anew()
    assert paired(pairing, 0) == [2]
    assert not pairing.out_of_step
