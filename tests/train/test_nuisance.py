"""Nuisance light and pose: nothing when switched off, bounded when on, the same for the same draws."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sad_runtime.cameras.demo.parts import render
from sad_train.config import NuisanceConfig
from sad_train.nuisance import NOISE_ROLL, drawn_pose, relit
from sad_train.pixels import Picture

OFF = NuisanceConfig(gain=0, gamma=0, white_balance=0, vignette=0, blur_px=0, noise=0, shift=0, rotation_deg=0)
SEEDS = range(40)


def washer(channels: int = 3) -> Picture:
    return np.ascontiguousarray(render("washer", seed=1, index=0, size_px=96).image[..., :channels])


def even(level: int) -> Picture:
    return np.full((64, 64, 3), level, np.uint8)


def lit(picture: Picture, seed: int, **on: float) -> NDArray[np.float64]:
    return relit(picture, OFF.model_copy(update=on), np.random.default_rng(seed)).astype(float)


@pytest.mark.parametrize("channels", [1, 3])
def test_switched_off_nothing_changes(channels: int) -> None:
    picture = washer(channels)
    rng = np.random.default_rng(0)
    for _ in range(5):
        assert np.array_equal(relit(picture, OFF, rng), picture)
        assert np.array_equal(drawn_pose(picture.shape, OFF, 0.0, rng).moved(picture), picture)


@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_type_stay_and_the_input_is_left_alone(channels: int) -> None:
    picture = washer(channels)
    kept = picture.copy()
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        moved = drawn_pose(picture.shape, NuisanceConfig(), 5.0, rng).moved(picture)
        for changed in (moved, relit(moved, NuisanceConfig(), rng)):
            assert changed.shape == picture.shape
            assert changed.dtype == np.uint8
    assert np.array_equal(picture, kept)


def test_the_same_draws_give_the_same_picture() -> None:
    first, again, other = (relit(washer(), NuisanceConfig(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_gain_stays_within_its_share_and_uses_it() -> None:
    levels = [lit(even(100), seed, gain=0.2)[0, 0, 0] for seed in SEEDS]
    assert 80 <= min(levels) < 88
    assert 112 < max(levels) <= 120


def test_gamma_moves_the_middle_and_keeps_black_and_white() -> None:
    assert {float(lit(even(level), seed, gamma=0.5).mean()) for level in (0, 255) for seed in SEEDS} == {0.0, 255.0}
    levels = [lit(even(100), seed, gamma=0.2)[0, 0, 0] for seed in SEEDS]
    assert 255 * (100 / 255) ** np.exp(0.2) - 1 <= min(levels) < 96
    assert 104 < max(levels) <= 255 * (100 / 255) ** np.exp(-0.2) + 1


def test_white_balance_tints_colour_by_no_more_than_its_share() -> None:
    for seed in SEEDS:
        channels = lit(even(100), seed, white_balance=0.1)[0, 0]
        assert channels.min() >= 90
        assert channels.max() <= 110
    assert any(np.ptp(lit(even(100), seed, white_balance=0.1)[0, 0]) > 5 for seed in SEEDS)


def test_a_vignette_changes_slowly_across_the_picture() -> None:
    for seed in SEEDS:
        field = lit(even(100), seed, vignette=0.2)
        assert np.abs(np.diff(field, axis=0)).max() <= 1
        assert field.min() >= 100 * (1 - 2.2 * 0.2), "falloff and slope together"
        assert field.max() <= 100 * (1 + 1.1 * 0.2), "the slope alone"


def test_noise_is_no_stronger_than_asked_for() -> None:
    strengths = [float(lit(even(128), seed, noise=4.0).std()) for seed in SEEDS]
    assert max(strengths) <= 4.2
    assert max(strengths) > 3
    assert all(abs(lit(even(128), seed, noise=4.0).mean() - 128) < 0.3 for seed in SEEDS)


def test_noise_differs_from_picture_to_picture_and_has_no_pattern() -> None:
    first, second = (lit(even(128), seed, noise=8.0) - 128 for seed in (1, 2))
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(first[:, :-1].ravel(), first[:, 1:].ravel())[0, 1]) < 0.05
    assert abs(np.corrcoef(first[:-1].ravel(), first[1:].ravel())[0, 1]) < 0.05


def test_a_picture_larger_than_the_roll_of_noise_is_noisy_all_over() -> None:
    wide = np.full((700, 800, 3), 128, np.uint8)
    assert wide.size > NOISE_ROLL
    strengths = [block.std() for block in np.array_split(lit(wide, 3, noise=8.0), 7)]
    assert min(strengths) > 0.9 * max(strengths) > 0.5


def test_a_moved_picture_is_warped_as_opencv_warps_it() -> None:
    picture = washer()
    pose = drawn_pose(picture.shape, NuisanceConfig(), 5.0, np.random.default_rng(4))
    plain = cv2.warpAffine(picture, pose.matrix, (96, 96), borderMode=cv2.BORDER_REFLECT_101)
    assert np.array_equal(pose.moved(picture), plain)


def test_blur_softens_some_pictures_and_leaves_the_others() -> None:
    sharp = washer().astype(float)
    changed = [not np.array_equal(lit(washer(), seed, blur_px=2.0), sharp) for seed in SEEDS]
    assert 0.1 < np.mean(changed) < 0.6
    softened = lit(washer(), changed.index(True), blur_px=2.0)
    assert np.abs(np.diff(softened, axis=0)).mean() < np.abs(np.diff(sharp, axis=0)).mean()


def test_a_shift_stays_within_its_share_of_the_side() -> None:
    config = OFF.model_copy(update={"shift": 0.05})
    shifts = np.array(
        [drawn_pose((100, 200, 3), config, 0.0, np.random.default_rng(seed)).matrix[:, 2] for seed in SEEDS]
    )
    assert np.abs(shifts[:, 0]).max() <= 0.05 * 200
    assert np.abs(shifts[:, 1]).max() <= 0.05 * 100
    assert np.abs(shifts).max(axis=0) == pytest.approx([10, 5], rel=0.25)


def test_a_turn_stays_within_its_angle_and_about_the_centre() -> None:
    centre = np.array([31.5, 31.5, 1])
    for seed in SEEDS:
        matrix = drawn_pose((64, 64, 3), OFF, 5.0, np.random.default_rng(seed)).matrix
        assert abs(np.degrees(np.arctan2(matrix[0, 1], matrix[0, 0]))) <= 5
        assert matrix @ centre == pytest.approx(centre[:2])


def test_what_moves_in_from_outside_is_a_mirror_image_not_black() -> None:
    config = OFF.model_copy(update={"shift": 0.2})
    for seed in SEEDS:
        assert drawn_pose((64, 64, 3), config, 20.0, np.random.default_rng(seed)).moved(even(90)).min() == 90
