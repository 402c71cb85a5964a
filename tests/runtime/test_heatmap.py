"""Heatmaps on their one fixed scale."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sad_runtime.decide import Thresholds
from sad_runtime.heatmap import encode_jpeg, levels, overlay, scale_of

CUTS = Thresholds(score=4.0, pixel=3.0, heatmap_low=1.0)


@given(st.floats(-50, 50), st.floats(0.01, 50), st.integers(1, 254))
def test_a_level_and_its_scale_give_the_value_back(low: float, span: float, level: int) -> None:
    cuts = Thresholds(score=0.0, pixel=low + span, heatmap_low=low)
    scale, offset = scale_of(cuts)
    value = offset + scale * level
    assert levels(np.array([[value]], np.float32), cuts)[0, 0] == pytest.approx(level, abs=1)


def test_cold_threshold_and_hot_stand_where_the_scale_says() -> None:
    heatmap = np.array([[-9.0, 1.0, 3.0, 5.0, 99.0]], np.float32)
    assert levels(heatmap, CUTS)[0].tolist() in ([0, 0, 127, 255, 255], [0, 0, 128, 255, 255])


def test_the_scale_is_the_same_for_every_picture() -> None:
    cold = np.full((8, 8), 1.1, np.float32)
    hot = cold.copy()
    hot[0, 0] = 50.0
    assert np.array_equal(levels(cold, CUTS)[1:], levels(hot, CUTS)[1:])


def test_what_is_no_number_is_shown_as_hot_as_can_be() -> None:
    heatmap = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    assert levels(heatmap, CUTS)[0].tolist() == [255, 255, 0]


def test_a_threshold_at_or_below_the_cold_end_still_has_a_scale() -> None:
    for low in (3.0, 4.0):
        scale, _ = scale_of(Thresholds(score=0.0, pixel=3.0, heatmap_low=low))
        assert scale > 0
        assert levels(np.zeros((2, 2), np.float32), Thresholds(0.0, 3.0, low)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("channels", [1, 3])
def test_an_overlay_outlines_what_is_above_the_threshold(channels: int) -> None:
    picture = np.full((32, 32, channels), 100, np.uint8)
    heatmap = np.full((32, 32), 1.0, np.float32)
    cold = overlay(picture, heatmap, CUTS)
    assert cold.shape == (32, 32, 3)
    assert np.array_equal(cold, np.full((32, 32, 3), 100, np.uint8))
    heatmap[10:20, 10:20] = 5.0
    hot = overlay(picture, heatmap, CUTS)
    assert hot[10, 10].tolist() == [255, 255, 255]
    assert hot[15, 15].tolist() != [100, 100, 100]
    assert hot[0, 0].tolist() == [100, 100, 100]
    assert picture.max() == 100


def test_a_jpeg_opens_again() -> None:
    picture = np.full((32, 48, 3), 77, np.uint8)
    again = cv2.imdecode(np.frombuffer(encode_jpeg(picture), np.uint8), cv2.IMREAD_COLOR)
    assert again is not None
    assert np.abs(again.astype(int) - 77).max() <= 2
