"""The one INT8 layout: symmetric, only what feeds a convolution, floats where they were asked to stay."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

from sad_export.graph_edit import constants_of
from sad_export.precisions.quantised import LEAST_SCALE, int8_weights, quantisable, quantised, scale_for
from unets import amplitudes, node_named, picture, ran, unet

INPUTS = ("normalised", "a", "joined", "c")


def names(model: ModelProto) -> list[str]:
    return [node.name for node in quantisable(model)]


def test_every_convolution_of_three_channels_or_more_can_be_quantised() -> None:
    assert names(unet()) == ["stem", "down", "join", "head"]


def test_only_what_feeds_a_convolution_is_quantised_and_every_zero_point_is_zero() -> None:
    model = unet()
    found = quantised(model, amplitudes(model, *INPUTS), names(model))
    pairs = [node for node in found.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert sum(node.op_type == "QuantizeLinear" for node in pairs) == 4
    constants = constants_of(found)
    for node in pairs:
        zero = constants[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
    readers = {reader.op_type for pair in pairs for reader in found.graph.node if pair.output[0] in reader.input}
    assert readers == {"Conv", "DequantizeLinear"}
    assert "b_stem" in constants
    assert constants["b_stem"].dtype == np.float32, "biases stay in float"


def test_a_quantised_graph_computes_what_its_codes_say() -> None:
    model = unet()
    seen = amplitudes(model, *INPUTS)
    found = quantised(model, seen, ["down"])
    values = ran(model, picture(), "a")["a"]
    scale = float(scale_for(seen["a"]))
    codes, scales = int8_weights(numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == "w_down")))
    rounded_in = np.clip(np.rint(values / scale), -128, 127) * scale
    assert np.allclose(ran(found, picture(), "a_dq")["a_dq"], rounded_in, atol=1e-6)
    expected = codes * scales.reshape(-1, 1, 1, 1)
    assert np.array_equal(ran(found, picture(), "w_down_dq")["w_down_dq"], expected.astype(np.float32))


def test_layers_left_out_stay_in_float() -> None:
    model = unet()
    found = quantised(model, amplitudes(model, *INPUTS), ["down", "join"])
    assert list(node_named(found, "stem").input) == list(node_named(model, "stem").input)
    assert node_named(found, "down").input[0] == "a_dq"
    assert {"w_down", "w_join"}.isdisjoint(constants_of(found)), "the float weights of INT8 layers are gone"


def test_a_tensor_that_feeds_two_convolutions_is_quantised_once() -> None:
    model = unet()
    node_named(model, "join").input[0] = "b_large"
    node_named(model, "join").input[1] = "w_down"
    node_named(model, "head").input[0] = "b_large"
    seen = amplitudes(model, "normalised", "a", "b_large")
    found = quantised(model, seen, names(model))
    assert sum(node.op_type == "QuantizeLinear" for node in found.graph.node) == 3
    assert sum(node.output[0] == "w_down_dq" for node in found.graph.node) == 1


def test_int8_stands_near_the_original() -> None:
    model = unet()
    found = quantised(model, amplitudes(model, *INPUTS), names(model))
    one, other = ran(model, picture(9))["heatmap"], ran(found, picture(9))["heatmap"]
    assert 0 < np.abs(one - other).mean() < 0.02 * np.ptp(one)


@pytest.mark.parametrize("amplitude", [0.0, 1e-9, 0.3, 1.0, 127.0, 5000.0, 8e6, 1e9])
def test_a_scale_reaches_its_amplitude_and_half_precision_holds_it(amplitude: float) -> None:
    scale = float(scale_for(amplitude))
    assert scale * 127 >= amplitude * (1 - 1e-7)
    assert scale >= LEAST_SCALE
    if amplitude / 127 < 65504:
        assert float(np.float16(scale)) == scale
        assert scale <= max(LEAST_SCALE, amplitude / 127 * 1.001)
