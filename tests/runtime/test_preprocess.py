"""The two steps before the graph, held bit for bit against the plain OpenCV calls."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sad_runtime.errors import DataError
from sad_runtime.manifest import InputSpec, Roi
from sad_runtime.preprocess import model_picture

FRAME = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
GREY = FRAME[..., 1].copy()
COLOUR_SPEC = InputSpec(height=64, width=48, channels=3)
GREY_SPEC = InputSpec(height=64, width=48, channels=1)


@pytest.mark.parametrize("spec", [COLOUR_SPEC, GREY_SPEC])
@pytest.mark.parametrize("picture", [FRAME, GREY, GREY[..., np.newaxis]])
def test_whatever_comes_in_the_shape_is_the_graphs(picture: NDArray[np.uint8], spec: InputSpec) -> None:
    found = model_picture(picture, spec)
    assert found.shape == spec.shape
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous


def test_shrinking_is_the_plain_area_resize() -> None:
    assert np.array_equal(model_picture(FRAME, COLOUR_SPEC), cv2.resize(FRAME, (48, 64), interpolation=cv2.INTER_AREA))


@pytest.mark.parametrize(("height", "width"), [(200, 300), (200, 64), (64, 300), (120, 161)])
def test_growing_on_either_side_is_the_plain_linear_resize(height: int, width: int) -> None:
    spec = InputSpec(height=height, width=width, channels=3)
    expected = cv2.resize(FRAME, (width, height), interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(model_picture(FRAME, spec), expected)


@pytest.mark.parametrize(("height", "width"), [(120, 64), (64, 160), (120, 160)])
def test_a_side_that_fits_already_counts_as_shrinking(height: int, width: int) -> None:
    spec = InputSpec(height=height, width=width, channels=3)
    expected = cv2.resize(FRAME, (width, height), interpolation=cv2.INTER_AREA)
    assert np.array_equal(model_picture(FRAME, spec), expected)


def test_a_picture_at_model_size_is_passed_through_untouched() -> None:
    spec = InputSpec(height=120, width=160, channels=3)
    assert np.array_equal(model_picture(FRAME, spec), FRAME)
    assert np.array_equal(
        model_picture(model_picture(FRAME, COLOUR_SPEC), COLOUR_SPEC), model_picture(FRAME, COLOUR_SPEC)
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 140), st.integers(0, 100), st.integers(1, 160), st.integers(1, 120), st.sampled_from([1, 3]))
def test_the_roi_is_a_plain_crop(x: int, y: int, width: int, height: int, channels: int) -> None:
    spec = InputSpec(height=40, width=40, channels=channels)
    roi = Roi(x=x, y=y, width=width, height=height)
    if x + width > 160 or y + height > 120:
        with pytest.raises(DataError, match=rf"ROI {width}x{height}\+{x}\+{y} leaves the picture, which is 160x120"):
            model_picture(FRAME, spec, roi)
        return
    crop = np.ascontiguousarray(FRAME[y : y + height, x : x + width])
    assert np.array_equal(model_picture(FRAME, spec, roi), model_picture(crop, spec))


def test_colour_for_a_grey_graph_is_converted_once_before_resizing() -> None:
    grey = cv2.cvtColor(FRAME, cv2.COLOR_BGR2GRAY)
    expected = cv2.resize(grey, (48, 64), interpolation=cv2.INTER_AREA)[..., np.newaxis]
    assert np.array_equal(model_picture(FRAME, GREY_SPEC), expected)


def test_grey_for_a_colour_graph_is_repeated() -> None:
    found = model_picture(GREY, COLOUR_SPEC)
    assert np.array_equal(found[..., 0], cv2.resize(GREY, (48, 64), interpolation=cv2.INTER_AREA))
    assert np.array_equal(found[..., 0], found[..., 2])
    assert np.array_equal(model_picture(GREY[..., np.newaxis], COLOUR_SPEC), found)


def test_views_give_what_their_copies_give() -> None:
    for view in (FRAME[:, ::-1], FRAME[::2], FRAME[..., ::-1], FRAME.transpose(1, 0, 2)):
        for spec in (COLOUR_SPEC, GREY_SPEC):
            assert np.array_equal(model_picture(view, spec), model_picture(np.ascontiguousarray(view), spec))


@pytest.mark.parametrize(("picture", "channels"), [(FRAME, 3), (GREY, 1), (GREY, 3), (FRAME, 1)])
def test_the_result_is_never_a_view_of_the_cameras_buffer(picture: NDArray[np.uint8], channels: int) -> None:
    found = model_picture(picture, InputSpec(height=120, width=160, channels=channels))
    assert not np.shares_memory(found, picture)
    cropped = model_picture(
        picture, InputSpec(height=32, width=32, channels=channels), Roi(x=1, y=1, width=32, height=32)
    )
    assert not np.shares_memory(cropped, picture)


@pytest.mark.parametrize(
    "picture",
    [
        FRAME.astype(np.uint16),
        FRAME.astype(np.float32),
        np.zeros((0, 0, 3), np.uint8),
        np.zeros((0, 10), np.uint8),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 2), np.uint8),
        np.zeros(100, np.uint8),
        np.zeros((1, 10, 10, 3), np.uint8),
    ],
)
def test_what_is_no_8_bit_grey_or_bgr_picture_is_refused(picture: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError):
        model_picture(picture, COLOUR_SPEC)


def test_a_line_of_pixels_is_stretched_not_crashed_on() -> None:
    assert model_picture(FRAME[:1], COLOUR_SPEC).shape == (64, 48, 3)
    assert model_picture(FRAME[:1, :1], COLOUR_SPEC).shape == (64, 48, 3)
