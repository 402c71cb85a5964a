"""FP16: only what is safe and was seen to fit, casts only where the kinds meet, inputs and outputs as they were."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto

from sad_export.graph_edit import floats_of
from sad_export.precisions.halved import HEADROOM, LARGEST, half_candidates, halved, pairs_between
from sad_export.precisions.quantised import quantisable, quantised
from sad_export.precisions.rounding import rounded
from sad_runtime.errors import SadError
from unets import amplitudes, picture, ran, unet


def seen(model: ModelProto) -> dict[str, float]:
    made = {name for node in model.graph.node for name in node.output} & floats_of(model)
    return amplitudes(model, *sorted(made - {"heatmap", "score", "embedding"}))


def test_what_squares_divides_or_comes_after_the_last_convolution_stays_in_float() -> None:
    model = unet()
    found = half_candidates(model, seen(model))
    assert {"stem", "relu_a", "down", "double", "concat", "join", "head"} <= set(found)
    assert {"mul", "square", "above_zero", "root", "enlarge", "squeeze", "peak", "pool"}.isdisjoint(found)
    assert "transpose" not in found, "it would be an island between two casts"


def test_a_tensor_that_came_near_the_limit_keeps_all_that_touch_it_in_float() -> None:
    model = unet()
    large = seen(model) | {"down_out": LARGEST / HEADROOM * 1.01}
    assert {"down", "relu_b"}.isdisjoint(half_candidates(model, large))
    unseen = {name: value for name, value in seen(model).items() if name != "down_out"}
    assert {"down", "relu_b"}.isdisjoint(half_candidates(model, unseen)), "what was not measured is not trusted"


def test_a_halved_graph_takes_and_gives_what_it_did_and_stands_near() -> None:
    model = unet()
    nodes = half_candidates(model, seen(model))
    found = halved(model, nodes)
    assert [one.type.tensor_type.elem_type for one in (*found.graph.input, *found.graph.output)] == [
        TensorProto.UINT8,
        *[TensorProto.FLOAT] * 3,
    ]
    casts = [node for node in found.graph.node if node.op_type == "Cast"]
    assert len(casts) == 4, "into the first, the embedding and the distances out, and the picture's own"
    weights = {tensor.name: tensor.data_type for tensor in found.graph.initializer}
    assert weights["w_join_half"] == TensorProto.FLOAT16
    one, other = ran(model, picture())["heatmap"], ran(found, picture())["heatmap"]
    assert 0 < np.abs(one - other).mean() < 1e-3 * np.ptp(one)


def test_the_emulation_stands_as_far_off_as_the_halved_file() -> None:
    model = unet()
    nodes = half_candidates(model, seen(model))
    one, other = ran(halved(model, nodes), picture())["heatmap"], ran(rounded(model, nodes), picture())["heatmap"]
    exact = ran(model, picture())["heatmap"]
    assert np.abs(one - exact).mean() / 3 < np.abs(other - exact).mean() < 3 * np.abs(one - exact).mean()


def test_the_emulation_shows_an_overflow_that_widened_engines_hide() -> None:
    """Where the values were measured too small, the file would give infinities on a GPU."""
    model = unet()
    for tensor in model.graph.initializer:
        if tensor.name == "w_stem":
            scaled = onnx.numpy_helper.to_array(tensor) * np.float32(1e5)
            tensor.CopyFrom(onnx.numpy_helper.from_array(scaled, "w_stem"))
    assert np.isfinite(ran(model, picture())["score"]).all()
    assert np.isinf(ran(rounded(model, ["relu_a"]), picture(), "a")["a"]).any()


def test_int8_with_the_rest_in_half_holds_the_same_codes() -> None:
    model = unet()
    values = seen(model)
    int8 = quantised(model, values, [node.name for node in quantisable(model)])
    nodes = half_candidates(model, values)
    mixed = halved(int8, [*nodes, *pairs_between(int8, nodes)])
    kinds = {tensor.name: tensor.data_type for tensor in mixed.graph.initializer}
    assert kinds["a_scale_half"] == TensorProto.FLOAT16
    assert kinds["w_join_q"] == TensorProto.INT8
    one, other = ran(int8, picture())["heatmap"], ran(mixed, picture())["heatmap"]
    assert np.abs(one - other).mean() < 0.01 * np.ptp(one)


def test_a_pair_that_also_feeds_a_float_layer_keeps_its_scale() -> None:
    model = unet()
    values = seen(model)
    int8 = quantised(model, values, [node.name for node in quantisable(model)])
    assert "a_dq_DequantizeLinear" in pairs_between(int8, ["down"])
    assert "c_dq_DequantizeLinear" not in pairs_between(int8, ["down"])


def test_an_opset_without_half_scales_and_an_output_in_half_are_refused() -> None:
    model = unet()
    int8 = quantised(model, seen(model), ["down"])
    int8.opset_import[0].version = 17
    with pytest.raises(SadError, match="int8_fp16 needs opset 19; opset 17"):
        halved(int8, ["down"])
    with pytest.raises(SadError, match="makes the output heatmap, which is float32"):
        halved(model, ["squeeze"])
