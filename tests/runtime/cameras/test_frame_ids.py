"""Frame ids of cameras as a count without false gaps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sad_runtime.cameras.frame_ids import RING, FrameCount


def counts(ids: list[int | None], *, sixteen_bits: bool) -> list[int]:
    count = FrameCount(sixteen_bits=sixteen_bits)
    return [count.of(frame_id) for frame_id in ids]


def test_sixteen_bits_wrap_from_65535_to_1_without_a_gap() -> None:
    assert counts([65533, 65534, 65535, 1, 2], sixteen_bits=True) == [0, 1, 2, 3, 4]


def test_a_picture_lost_at_the_wrap_is_a_hole_of_one() -> None:
    assert counts([65534, 1], sixteen_bits=True) == [0, 2]
    assert counts([65535, 2], sixteen_bits=True) == [0, 2]


@given(start=st.integers(1, RING), steps=st.lists(st.integers(1, RING // 2), max_size=30))
def test_every_gap_of_up_to_half_the_ring_is_counted_as_it_was(start: int, steps: list[int]) -> None:
    ids = [start]
    for step in steps:
        ids.append((ids[-1] - 1 + step) % RING + 1)
    whole = [sum(steps[:n]) for n in range(len(ids))]
    assert counts(list(ids), sixteen_bits=True) == whole


def test_ids_of_64_bits_are_taken_as_they_are_also_across_65535() -> None:
    assert counts([0, 1, 65535, 65536, 65540], sixteen_bits=False) == [0, 1, 65535, 65536, 65540]


def test_an_id_above_16_bits_is_believed_wherever_it_comes_from() -> None:
    assert counts([65534, 65535, 65536, 65537], sixteen_bits=True) == [0, 1, 2, 3]


def test_an_id_that_stands_still_is_the_same_picture_again() -> None:
    assert counts([7, 7, 8], sixteen_bits=True) == [0, 0, 1]
    assert counts([7, 7, 8], sixteen_bits=False) == [0, 0, 1]


def test_a_camera_that_counts_anew_goes_on_by_one() -> None:
    assert counts([500, 1, 2], sixteen_bits=False) == [0, 1, 2]
    assert counts([500, 1, 2], sixteen_bits=True) == [0, 1, 2]


def test_a_picture_without_a_believable_id_stands_for_one_and_is_not_counted_twice() -> None:
    assert counts([5, None, 7, 8], sixteen_bits=True) == [0, 1, 2, 3]
    assert counts([65534, None, 1], sixteen_bits=True) == [0, 1, 2]
    assert counts([None, None, 40, 41], sixteen_bits=False) == [0, 1, 2, 3]


def test_a_camera_without_ids_is_counted_with_what_it_says_it_skipped() -> None:
    count = FrameCount(sixteen_bits=False)
    assert [count.of(None), count.of(None, skipped=3), count.of(None)] == [0, 4, 5]
