"""Seamless cloning, held against OpenCV's and against the equation it solves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import fft

from sad_runtime.cameras.demo.parts import render
from sad_train.synthesis.poisson import poisson_blend, sine_matrix

Picture = NDArray[np.uint8]
ERODED_PX = 3
"""What seamlessClone takes off the mask on every side, inside the mask's own bounding box."""


def clouds(seed: int, shape: tuple[int, ...] = (128, 128, 3)) -> Picture:
    """Smooth blotches between grey levels 30 and 220."""
    noise = np.random.default_rng(seed).random(shape)
    blurred = cv2.GaussianBlur(noise, (0, 0), 6).reshape(shape)
    low, high = float(blurred.min()), float(blurred.max())
    return np.asarray(30 + 190 * (blurred - low) / (high - low), dtype=np.uint8)


def pair(kind: str) -> tuple[Picture, Picture]:
    if kind == "clouds":
        return clouds(1), clouds(2)
    return render(kind, seed=1, index=0, size_px=128).image, render(kind, seed=1, index=1, size_px=128).image


def within(shape: tuple[int, ...], rim: int) -> NDArray[np.bool_]:
    mask = np.zeros(shape[:2], bool)
    mask[rim : shape[0] - rim, rim : shape[1] - rim] = True
    return mask


def laplacian(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the interior: (H - 2, W - 2, C)."""
    middle = picture[1:-1, 1:-1]
    around = picture[:-2, 1:-1] + picture[2:, 1:-1] + picture[1:-1, :-2] + picture[1:-1, 2:]
    return np.asarray(around - 4 * middle)


@pytest.mark.parametrize("kind", ["clouds", "washer", "board", "fabric"])
@pytest.mark.parametrize("size", [(24, 24), (48, 48), (31, 57)])
def test_a_clone_is_seamless_clones_to_within_rounding(kind: str, size: tuple[int, int]) -> None:
    picture, other = pair(kind)
    height, width = size
    here = (slice(40, 40 + height), slice(30, 30 + width))
    source = other[20 : 20 + height, 60 : 60 + width]
    inner = np.zeros(size, np.uint8)
    inner[1:-1, 1:-1] = 255
    centre = (30 + width // 2, 40 + height // 2)
    theirs = cv2.seamlessClone(source, picture, inner, centre, cv2.NORMAL_CLONE)[here]
    ours = picture[here].copy()
    mask = within((height - 2, width - 2), ERODED_PX)
    ours[1:-1, 1:-1] = poisson_blend(ours[1:-1, 1:-1], source[1:-1, 1:-1], mask, mixed=False)
    apart = np.abs(theirs.astype(int) - ours.astype(int))
    assert apart.mean() < 1
    assert apart.max() <= 1, "OpenCV cuts grey levels off where we round them"


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("size", [(5, 5), (33, 20)])
def test_the_solution_satisfies_the_discrete_poisson_equation(mixed: bool, size: tuple[int, int]) -> None:
    """Chosen so that no grey level is clipped; what rounding to grey levels leaves is at most half a level a term."""
    rng = np.random.default_rng(3)
    destination = rng.integers(110, 140, (*size, 3)).astype(np.uint8)
    source = rng.integers(110, 140, (*size, 3)).astype(np.uint8)
    mask = within(size, 1)
    blended = poisson_blend(destination, source, mask, mixed=mixed).astype(float)
    assert np.array_equal(blended[~within(size, 1)], destination[~within(size, 1)])
    target, guide = destination.astype(float), source.astype(float)
    parts = []
    for axis in (0, 1):
        edges = mask[:-1] if axis == 0 else mask[:, :-1]
        of_target, of_guide = np.diff(target, axis=axis), np.diff(guide, axis=axis)
        taken = edges[..., np.newaxis] & ((np.abs(of_guide) > np.abs(of_target)) | (not mixed))
        parts.append(np.diff(np.where(taken, of_guide, of_target), axis=axis))
    wanted = parts[0][:, 1:-1] + parts[1][1:-1]
    residual = laplacian(blended) - wanted
    assert np.abs(residual).max() <= 4
    assert abs(residual.mean()) < 0.5


def test_a_picture_cloned_into_itself_stays_as_it_is() -> None:
    picture = clouds(4, (40, 30, 3))
    for mixed in (False, True):
        assert np.array_equal(poisson_blend(picture, picture, within(picture.shape, 4), mixed=mixed), picture)


def test_a_source_that_is_only_brighter_leaves_nothing_to_see() -> None:
    picture = clouds(5, (40, 40, 3))
    brighter = np.asarray(picture + 20, dtype=np.uint8)
    assert (
        np.abs(poisson_blend(picture, brighter, within(picture.shape, 4), mixed=False) - picture.astype(int)).max() <= 1
    )


def test_mixed_keeps_the_destinations_edges_under_an_even_source() -> None:
    destination = np.full((32, 32, 1), 60, np.uint8)
    destination[:, 16:] = 180
    even = np.full((32, 32, 1), 100, np.uint8)
    mask = within((32, 32), 4)
    assert np.array_equal(poisson_blend(destination, even, mask, mixed=True), destination)
    washed = poisson_blend(destination, even, mask, mixed=False)
    assert np.ptp(washed[16, 10:22].astype(int)) < 100


@pytest.mark.parametrize("length", [1, 5, 64, 300])
def test_a_sine_matrix_is_its_own_inverse_and_the_type_1_transform(length: int) -> None:
    matrix = sine_matrix(length)
    assert matrix @ matrix == pytest.approx(np.eye(length), abs=1e-4)
    values = np.random.default_rng(0).standard_normal(length).astype(np.float32)
    assert matrix @ values == pytest.approx(fft.dst(values, type=1, norm="ortho"), abs=1e-3)


def test_an_empty_mask_changes_nothing() -> None:
    destination, source = clouds(6, (9, 9, 3)), clouds(7, (9, 9, 3))
    assert np.array_equal(poisson_blend(destination, source, np.zeros((9, 9), bool), mixed=False), destination)


def test_constant_pictures_stay_constant() -> None:
    black, white = np.zeros((16, 24, 3), np.uint8), np.full((16, 24, 3), 255, np.uint8)
    for mixed in (False, True):
        assert np.array_equal(poisson_blend(black, white, within(black.shape, 1), mixed=mixed), black)


def test_a_grey_picture_is_cloned_as_each_channel_of_a_colour_one() -> None:
    destination, source = clouds(8, (20, 27, 3)), clouds(9, (20, 27, 3))
    mask = within((20, 27), 3)
    colour = poisson_blend(destination, source, mask, mixed=True)
    for channel in range(3):
        alone = slice(channel, channel + 1)
        grey = poisson_blend(destination[..., alone], source[..., alone], mask, mixed=True)
        assert grey.shape == (20, 27, 1)
        assert np.array_equal(grey, colour[..., alone])


def test_the_inputs_are_left_as_they_were() -> None:
    destination, source = clouds(10, (12, 12, 3)), clouds(11, (12, 12, 3))
    kept = destination.copy(), source.copy()
    poisson_blend(destination, source, within((12, 12), 1), mixed=False)
    assert np.array_equal(destination, kept[0])
    assert np.array_equal(source, kept[1])
