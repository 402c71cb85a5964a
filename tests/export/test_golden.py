"""Which pictures are golden: clear of the threshold, of both kinds, spread over the scores, 8 to 32."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sad_export.golden import CLEAR, golden_indices
from sad_export.parity_set import ParityPicture
from sad_runtime.errors import GateFailed


def set_of(goods: int, bads: int) -> list[ParityPicture]:
    blank = np.zeros((16, 16, 1), np.uint8)
    kinds = ["good"] * goods + ["synthetic"] * (bads - bads // 3) + ["defect"] * (bads // 3)
    return [ParityPicture(f"{kind} {index}", kind, blank) for index, kind in enumerate(kinds)]


def scores_of(goods: int, bads: int) -> NDArray[np.float64]:
    return np.concatenate([np.linspace(-5, 0, goods), np.linspace(0.5, 9, bads)])


def test_up_to_sixteen_of_each_kind_are_chosen_and_each_once() -> None:
    pictures, scores = set_of(100, 100), scores_of(100, 100)
    chosen = golden_indices(pictures, scores, 0.0, 1e-5)
    assert chosen == sorted(set(chosen))
    assert sum(pictures[index].is_good for index in chosen) == 16
    assert len(chosen) == 32


def test_they_are_spread_from_the_lowest_to_the_highest_score() -> None:
    pictures, scores = set_of(100, 100), scores_of(100, 100)
    good = [scores[index] for index in golden_indices(pictures, scores, 0.0, 1e-5) if pictures[index].is_good]
    assert good[0] == -5
    assert good[-1] > -0.1
    assert np.diff(good).max() < 0.5


@pytest.mark.parametrize("noise", [1e-6, 0.05, 0.5])
def test_none_stands_nearer_to_the_threshold_than_three_times_the_noise(noise: float) -> None:
    scores = scores_of(50, 50)
    chosen = golden_indices(set_of(50, 50), scores, 0.0, noise)
    assert np.abs(scores[chosen]).min() >= CLEAR * noise


def test_few_pictures_are_all_taken() -> None:
    assert golden_indices(set_of(5, 24), scores_of(5, 24), 0.25, 1e-5)[:5] == [0, 1, 2, 3, 4]


def test_pictures_of_one_kind_are_enough() -> None:
    assert len(golden_indices(set_of(20, 0), scores_of(20, 0), 5.0, 1e-5)) == 16


def test_fewer_than_eight_clear_pictures_fail_the_gate_and_say_what_to_do() -> None:
    scores = np.concatenate([np.linspace(-5, -4, 7), np.zeros(20)])
    with pytest.raises(
        GateFailed, match=r"only 7 pictures score clear of the threshold .* 8 are needed.* Train longer"
    ):
        golden_indices(set_of(7, 20), scores, 0.0, 0.01)
