"""A live camera never gives the same picture twice."""

from __future__ import annotations

import numpy as np
import pytest

from sad_runtime.scene.frozen import Frozen, fingerprint
from scenes import part


def test_the_second_equal_picture_is_frozen_and_the_next_other_one_is_not() -> None:
    frozen = Frozen(2)
    first, second = part(1), part(2)
    assert [frozen.saw(picture) for picture in (first, first.copy(), first, second, first)] == [
        False,
        True,
        True,
        False,
        False,
    ]


def test_more_repeats_can_be_allowed_and_none_at_all_looked_for() -> None:
    picture = part(1)
    patient, off = Frozen(4), Frozen(0)
    assert [patient.saw(picture) for _ in range(5)] == [False, False, False, True, True]
    assert not any(off.saw(picture) for _ in range(9))


@pytest.mark.parametrize("shape", [(7, 5), (480, 640, 3), (2048, 2448), (1, 1)])
def test_one_pixel_anywhere_makes_another_picture(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, shape).astype(np.uint8)
    same = fingerprint(picture)
    assert fingerprint(picture.copy()) == same
    for place in rng.integers(0, picture.size, 8):
        changed = picture.copy()
        changed.reshape(-1)[place] += 1
        assert fingerprint(changed) != same


def test_a_view_of_a_larger_buffer_counts_as_what_it_shows() -> None:
    buffer = np.random.default_rng(0).integers(0, 255, (64, 80)).astype(np.uint8)
    assert fingerprint(buffer[:, :64]) == fingerprint(buffer[:, :64].copy())


def test_two_sizes_are_two_pictures_and_an_empty_one_is_no_accident() -> None:
    assert fingerprint(np.zeros((4, 8), np.uint8)) != fingerprint(np.zeros((8, 4), np.uint8))
    assert fingerprint(np.zeros((0, 4), np.uint8)) == fingerprint(np.zeros((0, 4), np.uint8))
