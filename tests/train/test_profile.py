"""What a good set is measured to be: object or texture, aligned or not, how noisy."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from sad_runtime.cameras.demo.parts import render
from sad_train.config import NsaConfig
from sad_train.data.profile import Profile, measured_profile
from sad_train.pixels import Picture
from sad_train.synthesis.nsa import nsa_anomaly
from sad_train.synthesis.nsa_recipe import recipe_for

SIDE = 128


def rendered(part: str, count: int = 8) -> list[Picture]:
    return [render(part, seed=1, index=index, size_px=SIDE).image for index in range(count)]


def discs(ground: int, inside: int, *, wander_px: int = 0, channels: int = 3) -> list[Picture]:
    """Discs of radius 40 with some noise, up to `wander_px` off the centre."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(8):
        x, y = (SIDE // 2 + rng.integers(-wander_px, wander_px + 1, 2)).tolist()
        picture = np.full((SIDE, SIDE), ground, np.uint8)
        cv2.circle(picture, (x, y), 40, inside, -1)
        noisy = picture[..., np.newaxis] + rng.normal(0, 2, (SIDE, SIDE, channels))
        pictures.append(np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8))
    return pictures


@pytest.mark.parametrize(("part", "kind"), [("washer", "object"), ("board", "object"), ("fabric", "texture")])
def test_rendered_parts_are_told_from_rendered_textures(part: str, kind: str) -> None:
    assert measured_profile(rendered(part)).kind == kind


@pytest.mark.parametrize(("ground", "inside"), [(250, 90), (10, 120), (128, 30)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_disc_on_an_even_ground_is_found_with_its_box(ground: int, inside: int, channels: int) -> None:
    profile = measured_profile(discs(ground, inside, channels=channels))
    assert profile.kind == "object"
    assert profile.background is not None
    assert profile.background.level == pytest.approx(ground, abs=3)
    assert profile.background.tolerance < abs(ground - inside)
    assert profile.foreground_share == pytest.approx(math.pi * 40**2 / SIDE**2, rel=0.05)
    assert profile.foreground_box == pytest.approx((24 / 128, 24 / 128, 105 / 128, 105 / 128), abs=0.02)


def test_a_part_as_dark_as_its_background_is_not_reduced_to_its_bright_spots() -> None:
    """A circuit board: by grey level only pads and letters stand out, and patches kept to them would miss the board."""
    profile = measured_profile(rendered("board"))
    assert profile.background is None
    assert profile.foreground_share == 1
    assert profile.foreground_box[2] - profile.foreground_box[0] < 0.9


@pytest.mark.parametrize("part", ["washer", "board", "fabric"])
def test_the_measured_recipe_finds_places_for_its_patches(part: str) -> None:
    pictures = rendered(part)
    recipe = recipe_for(NsaConfig(), measured_profile(pictures))
    made = [
        nsa_anomaly(pictures[seed % 8], pictures[(seed + 1) % 8], recipe, np.random.default_rng(seed))
        for seed in range(40)
    ]
    assert sum(one.patches == 0 for one in made) <= 2
    assert sum(bool((one.label > 0.5).any()) for one in made) >= 30


def test_parts_that_always_lie_alike_are_aligned_and_wandering_ones_are_not() -> None:
    assert measured_profile(discs(250, 90)).aligned
    assert measured_profile(discs(250, 90)).alignment > 0.95
    assert measured_profile(rendered("washer")).aligned
    assert not measured_profile(discs(250, 90, wander_px=40)).aligned
    assert not measured_profile(rendered("fabric")).aligned


@pytest.mark.parametrize("level", [0, 128, 255])
@pytest.mark.parametrize("side", [32, 64])
def test_constant_pictures_are_a_texture_without_noise(level: int, side: int) -> None:
    profile = measured_profile([np.full((side, side, 3), level, np.uint8)] * 3)
    assert profile.kind == "texture"
    assert profile.noise_floor == 3.0, "the least"
    assert profile.foreground_share == 1


def test_one_picture_is_enough_to_measure() -> None:
    profile = measured_profile(rendered("washer", 1))
    assert profile.kind == "object"
    assert not profile.aligned, "one picture says nothing of alignment"


def test_noisier_pictures_have_a_higher_floor_and_a_gentler_logistic() -> None:
    rng = np.random.default_rng(1)
    quiet, loud = (
        measured_profile([np.clip(rng.normal(120, noise, (96, 96, 1)), 0, 255).astype(np.uint8) for _ in range(4)])
        for noise in (3, 20)
    )
    assert quiet.noise_floor < loud.noise_floor
    assert quiet.logistic[0] > loud.logistic[0]


@pytest.mark.parametrize("floor", [3.0, 7.5, 30.0])
def test_three_times_the_noise_floor_is_labelled_nine_tenths(floor: float) -> None:
    profile: Profile = measured_profile([np.zeros((32, 32, 1), np.uint8)]).model_copy(update={"noise_floor": floor})
    k, x0 = profile.logistic
    assert x0 == floor
    assert 1 / (1 + math.exp(-k * (3 * x0 - x0))) == pytest.approx(0.9)


def test_a_large_set_is_sampled_all_through() -> None:
    """Half the set has another background; measuring the first pictures only would not see it."""
    dark, light = discs(10, 120), discs(250, 120)
    assert measured_profile(dark * 8 + light * 8).background is None
