"""Corrected biases: every INT8 convolution says on average what it says in fp32, and nothing else is touched."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto

from sad_calibration.int8.activations import channel_means
from sad_export.graph_edit import constants_of
from sad_export.precisions.bias_correction import with_corrected_biases
from sad_export.precisions.quantised import quantised
from sad_runtime.errors import BackendError
from unets import amplitudes, node_named, picture, ran, unet

LAYERS = ("stem", "down", "join", "head")
OUTPUTS = ["stem_out", "down_out", "join_out", "small"]
PICTURES = [picture(seed)[0] for seed in range(6)]


def rough(layers: tuple[str, ...] = LAYERS) -> ModelProto:
    """INT8 with ranges so narrow that every mean shifts."""
    model = unet()
    seen = amplitudes(model, "normalised", "a", "joined", "c")
    return quantised(model, {name: value / 3 for name, value in seen.items()}, layers)


def test_means_are_those_of_fp32() -> None:
    fp32, int8 = unet(), rough()
    wanted = channel_means(fp32.SerializeToString(), OUTPUTS, PICTURES)
    before = channel_means(int8.SerializeToString(), OUTPUTS, PICTURES)
    after = channel_means(with_corrected_biases(fp32, int8, PICTURES).SerializeToString(), OUTPUTS, PICTURES)
    for name in OUTPUTS:
        assert np.abs(before[name] - wanted[name]).max() > 0.01, name
        np.testing.assert_allclose(after[name], wanted[name], atol=1e-5, err_msg=name)


def test_convolutions_in_float_and_the_model_given_stay_as_they_are() -> None:
    int8 = rough(("stem", "join"))
    given = int8.SerializeToString()
    corrected = with_corrected_biases(unet(), int8, PICTURES)
    assert int8.SerializeToString() == given
    for name in ("down", "head"):
        assert node_named(corrected, name) == node_named(int8, name)
    for name in ("stem", "join"):
        weights = node_named(corrected, name).input[1]
        assert weights == node_named(int8, name).input[1]


def test_a_convolution_without_a_bias_gets_one() -> None:
    assert len(node_named(rough(), "head").input) == 2
    corrected = with_corrected_biases(unet(), rough(), PICTURES)
    assert constants_of(corrected)[node_named(corrected, "head").input[2]].shape == (1,)


def test_without_int8_nothing_changes() -> None:
    fp32 = unet()
    corrected = with_corrected_biases(fp32, quantised(fp32, {}, ()), PICTURES)
    for name, values in ran(fp32, picture()).items():
        np.testing.assert_array_equal(ran(corrected, picture())[name], values)


def test_means_are_over_pictures_and_places_by_channel() -> None:
    model = unet()
    found = channel_means(model.SerializeToString(), ["normalised"], PICTURES)["normalised"]
    expected = np.stack(PICTURES).mean(axis=(0, 1, 2)) / 64 - 2
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with pytest.raises(BackendError, match="no float tensor called nothing"):
        channel_means(model.SerializeToString(), ["nothing"], PICTURES)
