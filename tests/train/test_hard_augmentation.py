"""AnoSeg's anomalies: what changes, that the mask says so, and that nothing else does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from sad_runtime.cameras.demo.parts import render
from sad_train.config import AnoSegConfig
from sad_train.data.profile import measured_profile
from sad_train.pixels import Picture
from sad_train.synthesis.hard_augmentation import (
    LEAST_CHANGED_PX,
    HardRecipe,
    hard_anomaly,
    hard_recipe,
    hardened,
    permuted,
    recoloured,
    turned,
)

SEEDS = range(40)
RECIPE = HardRecipe(areas=((0.002, 0.02), (0.02, 0.15)), most_regions=4, tolerance=4.0)


def drawn(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def washer(index: int = 0) -> Picture:
    return render("washer", seed=1, index=index, size_px=96).image


def grey_washer() -> Picture:
    return np.ascontiguousarray(washer()[..., :1])


@pytest.mark.parametrize("good", [washer(), grey_washer()], ids=["colour", "grey"])
def test_the_same_seed_makes_the_same_picture_and_leaves_the_good_one_alone(good: Picture) -> None:
    kept = good.copy()
    for seed in SEEDS:
        one, other = (hard_anomaly(good, RECIPE, drawn(seed)) for _ in range(2))
        assert np.array_equal(one.picture, other.picture)
        assert np.array_equal(one.mask, other.mask)
        assert (one.picture.shape, one.picture.dtype) == (good.shape, good.dtype)
    assert np.array_equal(good, kept)


@pytest.mark.parametrize("good", [washer(), grey_washer()], ids=["colour", "grey"])
def test_nothing_changes_outside_the_mask_and_the_mask_is_where_it_changed(good: Picture) -> None:
    """A mask may hold a few pixels that stayed as they were, as the change is averaged over 5x5."""
    for seed in SEEDS:
        made = hard_anomaly(good, RECIPE, drawn(seed))
        change = np.abs(made.picture.astype(int) - good).mean(axis=2)
        assert made.made
        assert made.mask.sum() >= LEAST_CHANGED_PX
        assert change[~made.mask].max() == 0
        assert (change[made.mask] > 0).mean() > 0.9
        assert change[made.mask].mean() > RECIPE.tolerance


@pytest.mark.parametrize("change", [turned, permuted, recoloured, hardened])
@pytest.mark.parametrize("good", [washer(), grey_washer(), washer()[:80]], ids=["colour", "grey", "not square"])
def test_every_augmentation_changes_something(
    change: Callable[[Picture, np.random.Generator], Picture], good: Picture
) -> None:
    for seed in SEEDS:
        made = change(good, drawn(seed))
        assert (made.shape, made.dtype) == (good.shape, good.dtype)
        assert np.abs(made.astype(int) - good).mean() > 0.5


def test_turning_and_permuting_only_move_pixels() -> None:
    good = washer()
    for change in (turned, permuted):
        for seed in SEEDS:
            made = change(good, drawn(seed))
            assert np.array_equal(np.sort(made.reshape(-1, 3), axis=0), np.sort(good.reshape(-1, 3), axis=0))


def test_recolouring_changes_light_by_more_than_a_line_may() -> None:
    """The weakest change of brightness is above the 10 % that good parts are shown under."""
    even = np.full((32, 32, 1), 100, np.uint8)  # contrast cannot change an even picture
    levels = np.array([recoloured(even, drawn(seed))[0, 0, 0] for seed in range(200)])
    assert np.abs(levels.astype(int) - 100).min() >= 15
    assert np.abs(levels.astype(int) - 100).max() <= 40
    assert {bool(level > 100) for level in levels} == {True, False}


def test_grey_pixels_of_a_colour_picture_stay_grey() -> None:
    made = recoloured(np.repeat(grey_washer(), 3, axis=2), drawn(3)).astype(int)
    assert np.abs(made - made.mean(axis=2, keepdims=True)).max() <= 1


def test_a_picture_on_which_no_paste_shows_stays_clean_and_says_so() -> None:
    black = np.zeros((64, 64, 3), np.uint8)  # turned, permuted or recoloured, black is black
    for seed in SEEDS:
        made = hard_anomaly(black, RECIPE, drawn(seed))
        assert not made.made
        assert np.array_equal(made.picture, black)


def test_regions_keep_to_the_areas_asked_for() -> None:
    one = HardRecipe(areas=((0.02, 0.05),), most_regions=1, tolerance=4.0)
    shares = [hard_anomaly(washer(), one, drawn(seed)).mask.mean() for seed in SEEDS]
    assert max(shares) <= 0.055
    assert max(shares) > 0.03


def test_the_tolerance_is_what_a_blend_that_shows_nothing_changes() -> None:
    profile = measured_profile([washer(index) for index in range(8)])
    recipe = hard_recipe(AnoSegConfig(most_regions=2), profile)
    assert (recipe.tolerance, recipe.most_regions) == (profile.noise_floor, 2)
