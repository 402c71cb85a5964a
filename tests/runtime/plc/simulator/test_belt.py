from __future__ import annotations

import itertools

import pytest

from sad_runtime.plc.simulator.belt import COUNTS_PER_MM, ENCODER_AT_START, U32, Belt, BeltPlan, Passing
from sad_runtime.plc.simulator.tracking import travelled


def run(plan: BeltPlan, seconds: float = 60.0, step_s: float = 0.01) -> tuple[list[Passing], list[Passing], Belt]:
    belt = Belt(plan)
    came: list[Passing] = []
    left: list[Passing] = []
    for _ in range(int(seconds / step_s)):
        moved = belt.advance(step_s)
        came += moved.at_camera
        left += moved.at_gate
    return came, left, belt


def test_every_part_comes_and_leaves_once_and_in_order() -> None:
    came, left, belt = run(BeltPlan(parts=50))
    assert [part.number for part in came] == [part.number for part in left] == list(range(50))
    assert belt.over
    assert belt.position_mm > 50 * 100 * 0.7


def test_the_way_to_the_gate_is_the_same_for_all_and_holds_across_the_wrap_of_the_encoder() -> None:
    came, left, _ = run(BeltPlan(parts=50, camera_to_gate_mm=600))
    ways = {travelled(start.encoder, end.encoder) for start, end in zip(came, left, strict=True)}
    assert ways <= {600 * COUNTS_PER_MM - 1, 600 * COUNTS_PER_MM, 600 * COUNTS_PER_MM + 1}
    assert came[0].encoder > ENCODER_AT_START
    assert left[-1].encoder < ENCODER_AT_START


def test_the_same_seed_gives_the_same_gaps_within_their_scatter_and_another_seed_others() -> None:
    first, again, other = (run(BeltPlan(parts=50, seed=seed))[0] for seed in (1, 1, 2))
    assert first == again
    assert first != other
    gaps_mm = [(b.encoder - a.encoder) % U32 / COUNTS_PER_MM for a, b in itertools.pairwise(first)]
    assert min(gaps_mm) >= 69.9
    assert max(gaps_mm) <= 130.1
    assert max(gaps_mm) - min(gaps_mm) > 20


def test_the_speed_swings_around_its_mean() -> None:
    belt, ways_mm = Belt(BeltPlan(speed_mm_s=200, swing=0.1)), []
    for _ in range(700):
        before = belt.position_mm
        belt.advance(0.01)
        ways_mm.append(belt.position_mm - before)
    assert min(ways_mm) == pytest.approx(1.8, abs=0.01)
    assert max(ways_mm) == pytest.approx(2.2, abs=0.01)
    assert sum(ways_mm) == pytest.approx(1400, abs=1)


def test_a_belt_without_end_never_is_over() -> None:
    assert not run(BeltPlan(parts=0), seconds=5)[2].over


def test_a_part_is_out_of_sight_where_the_next_one_may_stand() -> None:
    belt = Belt(BeltPlan(parts=50, seed=3))
    came: dict[int, float] = {}
    gone: dict[int, float] = {}
    for _ in range(100_000):
        moved = belt.advance(0.005)
        came.update((part.number, belt.position_mm) for part in moved.at_camera)
        gone.update((number, belt.position_mm) for number in moved.out_of_sight)
        if belt.over:
            break
    assert list(gone) == list(range(50))
    assert all(abs(gone[number] - came[number] - belt.plan.narrowest_mm) < 2 for number in gone)
    assert all(gone[number] <= came[number + 1] + 2 for number in range(49))
