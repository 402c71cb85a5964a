"""What INT8 is measured on and chosen by: good parts and anomalies of both kinds, the two shares apart."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from sad_export.precisions.material import MOST_FOR_CHOICE, MOST_FOR_RANGES, Material, material_from
from sad_runtime.cameras.demo.parts import render
from sad_train.config import NsaConfig
from sad_train.data.profile import measured_profile
from sad_train.synthesis.nsa_recipe import recipe_for

PICTURES = 30


@pytest.fixture(scope="module")
def training() -> NDArray[np.uint8]:
    return np.stack([render("washer", seed=1, index=index, size_px=64).image for index in range(PICTURES)])


@pytest.fixture(scope="module")
def made(training: NDArray[np.uint8]) -> Material:
    return material_from(training, recipe_for(NsaConfig(), measured_profile(list(training[:8]))), seed=3)


def within(one: NDArray[np.uint8], others: NDArray[np.uint8] | list[NDArray[np.uint8]]) -> bool:
    return any(np.array_equal(one, other) for other in others)


def test_anomalies_are_as_many_as_good_parts_and_none_is_a_good_part(
    made: Material, training: NDArray[np.uint8]
) -> None:
    assert len(made.goods) == min(MOST_FOR_RANGES, PICTURES)
    assert 0.8 * len(made.goods) <= len(made.odd) <= len(made.goods)
    assert not any(within(anomaly, training) for anomaly in made.odd)
    assert all(anomaly.dtype == np.uint8 and anomaly.shape == (64, 64, 3) for anomaly in made.odd)


def test_anomalies_reach_further_than_good_parts(made: Material) -> None:
    """Else activations that carry a defect would be clipped."""
    middle = made.goods.mean(axis=0)
    good = [np.abs(one - middle).mean() for one in made.goods]
    odd = [np.abs(one - middle).mean() for one in made.odd]
    assert max(odd) > max(good)


def test_choices_are_made_on_a_share_of_its_own_with_anomalies(made: Material, training: NDArray[np.uint8]) -> None:
    goods = [one.picture for one in made.trial if one.is_good]
    assert len(goods) == min(MOST_FOR_CHOICE, PICTURES // 3)
    assert all(within(good, training) for good in goods)
    assert sum(not one.is_good for one in made.trial) >= len(goods)


def test_ranges_and_choices_do_not_share_pictures_when_there_are_enough(training: NDArray[np.uint8]) -> None:
    many = np.concatenate([training] * 4)
    for index, picture in enumerate(many):
        picture[0, 0] = (index, 0, 0)  # so that each is told apart
    made = material_from(many, recipe_for(NsaConfig(), measured_profile(list(training[:8]))), seed=3)
    assert len(made.goods) == MOST_FOR_RANGES
    chosen_by = [one.picture for one in made.trial if one.is_good]
    assert len(chosen_by) == MOST_FOR_CHOICE
    assert not any(within(one, made.goods) for one in chosen_by)


def test_the_users_own_pictures_are_taken_as_they_are(training: NDArray[np.uint8]) -> None:
    given = training[:9] // 2
    made = material_from(training, recipe_for(NsaConfig(), measured_profile(list(training[:8]))), 3, given)
    assert np.array_equal(made.goods, given)
    assert made.odd == []
    assert made.trial
    assert np.array_equal(made.lessons, given)


def test_the_same_seed_gives_the_same_pictures(made: Material, training: NDArray[np.uint8]) -> None:
    again = material_from(training, recipe_for(NsaConfig(), measured_profile(list(training[:8]))), seed=3)
    assert all(np.array_equal(a, b) for a, b in zip(made.odd, again.odd, strict=True))
    assert np.array_equal(made.goods, again.goods)
