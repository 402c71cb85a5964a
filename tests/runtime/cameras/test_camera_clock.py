"""A camera's clock put onto ours."""

from __future__ import annotations

import pytest

from sad_runtime.cameras.camera_clock import CameraClock

MS, S = 1_000_000, 1_000_000_000


def test_what_exceeds_the_shortest_way_seen_is_how_long_the_picture_was_on_its_way() -> None:
    clock = CameraClock()
    clock.taken_ns(1000 * S, 50 * S + 8 * MS)
    clock.taken_ns(1001 * S, 51 * S + 3 * MS)
    assert clock.taken_ns(1002 * S, 52 * S + 40 * MS) == 52 * S + 3 * MS


def test_a_picture_is_never_taken_after_it_arrived() -> None:
    clock = CameraClock()
    for number, late_ms in enumerate([9, 4, 6, 1, 7]):
        arrived_ns = (50 + number) * S + late_ms * MS
        assert clock.taken_ns((7 + number) * S, arrived_ns) <= arrived_ns


@pytest.mark.parametrize("ppm", [100, -100])
def test_a_drifting_clock_is_followed_for_days(ppm: int) -> None:
    clock, worst_ns = CameraClock(), 0
    for second in range(2, 2 * 86_400):
        taken_ns = second * S
        stamp_ns = taken_ns + taken_ns * ppm // 1_000_000
        worst_ns = max(worst_ns, abs(clock.taken_ns(stamp_ns, taken_ns + 2 * MS) - taken_ns))
    assert worst_ns < 5 * MS


def test_a_camera_without_a_clock_gives_the_arrival() -> None:
    assert CameraClock().taken_ns(0, 77 * S) == 77 * S


def test_a_camera_whose_clock_was_set_back_is_believed_again_after_the_windows() -> None:
    clock = CameraClock()
    clock.taken_ns(1000 * S, 50 * S)
    for second in range(51, 90):
        taken_ns = clock.taken_ns((second - 40) * S, second * S)
    assert taken_ns == 89 * S
