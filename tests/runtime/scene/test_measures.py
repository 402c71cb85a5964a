"""Each measure moves with its own fault, and stays put under the others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sad_runtime.errors import DataError
from sad_runtime.scene.measures import Measures, measured
from sad_runtime.scene.position import Reference, thumbnail_of
from scenes import SIDE_PX, exposed, part

REFERENCE = Reference(thumbnail_of(part()))


def seen(picture: np.ndarray) -> Measures:
    return measured(picture, REFERENCE)


def test_brightness_and_contrast_are_those_of_the_grey_levels() -> None:
    picture = part(1)
    found = seen(picture)
    assert found.brightness == pytest.approx(picture.mean(), abs=1.0)
    assert found.contrast == pytest.approx(picture.std(), abs=1.0)
    assert found.highlights == pytest.approx(np.quantile(picture, 0.99), abs=2)


def test_shares_of_dark_and_saturated_are_counted() -> None:
    picture = np.full((64, 64, 1), 100, np.uint8)
    picture[:, :16] = 3
    picture[:, 16:24] = 255
    found = measured(picture)
    assert (found.dark, found.saturated) == (0.25, 0.125)


def test_a_red_at_its_end_is_saturated_even_if_its_grey_is_not() -> None:
    picture = np.full((64, 64, 3), 40, np.uint8)
    picture[..., 2] = 255
    assert measured(picture).saturated == pytest.approx(1 / 3)


def test_focus_does_not_know_how_bright_it_is() -> None:
    usual = seen(part()).focus
    assert seen(exposed(part(), 0.6)).focus == pytest.approx(usual, rel=0.05)
    assert seen(exposed(part(), 1.25)).focus == pytest.approx(usual, rel=0.05)


def test_focus_falls_with_every_pixel_of_blur_though_the_noise_stays_sharp() -> None:
    values = [seen(part(blur_px=blur)).focus for blur in (0.0, 1.0, 2.0, 4.0)]
    assert values == sorted(values, reverse=True)
    assert values[2] < 0.8 * values[0]


@pytest.mark.parametrize("x", [-9.0, -4.0, 2.5, 6.0, 12.0])
def test_a_shift_is_found_to_half_a_pixel(x: float) -> None:
    shift = REFERENCE.shift_of(thumbnail_of(part(3, x=x)), SIDE_PX, SIDE_PX)
    assert shift.x_px == pytest.approx(x, abs=0.5)
    assert shift.y_px == pytest.approx(0, abs=0.5)


def test_a_shift_is_told_in_the_pixels_of_its_own_axis() -> None:
    thumbnail = thumbnail_of(part(3, x=8.0))
    assert REFERENCE.shift_of(thumbnail, 64, 256).x_px == pytest.approx(16, abs=1)


def test_light_moves_nothing() -> None:
    found = seen(exposed(part(4), 0.5))
    assert found.shift < 0.5
    assert found.likeness > 0.95


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_flat_picture_is_like_nothing_and_has_no_focus(level: int) -> None:
    found = seen(np.full((SIDE_PX, SIDE_PX, 3), level, np.uint8))
    assert (found.likeness, found.shift, found.focus, found.contrast) == (0.0, 0.0, 0.0, 0.0)


def test_colour_is_told_against_green_and_a_stain_does_not_move_it() -> None:
    picture = part(5)
    usual = seen(picture)
    assert usual.blue == pytest.approx(0.9, abs=0.02)
    assert usual.red == pytest.approx(1.1, abs=0.02)
    warm = picture.copy()
    warm[..., 2] = exposed(picture[..., 2], 1.15)
    assert seen(warm).red / usual.red == pytest.approx(1.15, abs=0.03)
    picture[20:60, 20:60] = (0, 0, 200)
    assert seen(picture).red == pytest.approx(usual.red, abs=0.03)


def test_a_grey_picture_has_no_colour() -> None:
    found = measured(part(channels=1))
    assert (found.blue, found.red) == (1.0, 1.0)


@pytest.mark.parametrize("fill", [0, 128])
@pytest.mark.parametrize("rows", [slice(64, None), slice(0, 48), slice(40, 90)])
def test_rows_that_never_came_are_a_run_of_equal_ones(rows: slice, fill: int) -> None:
    picture = part(6)
    picture[rows] = fill
    missing = len(range(*rows.indices(SIDE_PX))) / SIDE_PX
    assert measured(picture).repeated == pytest.approx(missing, abs=0.01)
    assert measured(np.ascontiguousarray(picture.swapaxes(0, 1))).repeated == pytest.approx(missing, abs=0.01)


def test_a_row_that_is_sent_again_and_again_is_one_too() -> None:
    picture = part(6)
    picture[64:] = picture[63]
    assert measured(picture).repeated == pytest.approx(65 / 128)


def test_noise_and_a_white_background_are_not_an_incomplete_picture() -> None:
    picture = part(7)
    assert measured(picture).repeated == 0.0
    picture[64:] = 255
    assert measured(picture).repeated == 0.0


def test_a_reference_of_another_size_is_refused() -> None:
    with pytest.raises(DataError, match="64x64"):
        Reference(np.zeros((32, 64), np.uint8))


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.uint8,
        st.tuples(st.integers(16, 80), st.integers(16, 80), st.sampled_from([1, 3])),
        elements=st.sampled_from([0, 1, 7, 128, 250, 255]),
        fill=st.sampled_from([0, 128, 255]),
    )
)
def test_whatever_is_in_it_a_picture_is_measured_in_finite_numbers(picture: np.ndarray) -> None:
    found = seen(picture)
    assert all(np.isfinite(value) for value in vars(found).values()), found
    for share in (found.dark, found.saturated, found.likeness, found.repeated):
        assert 0 <= share <= 1
