"""A convolution of joined maps as a sum of convolutions: the same to rounding, and OpenVINO then agrees in INT8."""

from __future__ import annotations

import numpy as np
import pytest

from sad_export.precisions.quantised import quantisable, quantised
from sad_export.precisions.splitting import without_concatenated_inputs
from sad_runtime.backends.base import Backend
from sad_runtime.backends.onnxruntime import ONNXRuntimeBackend
from sad_runtime.backends.openvino import OpenVINOBackend
from sad_runtime.manifest import InputSpec
from unets import SIDE, amplitudes, node_named, picture, ran, unet

SPEC = InputSpec(height=SIDE, width=SIDE, channels=3)


def test_the_parts_say_what_the_whole_said() -> None:
    model = unet()
    split = without_concatenated_inputs(model)
    assert [node.name for node in quantisable(split)] == ["stem", "down", "join_of_0", "join_of_1", "head"]
    assert not any(node.op_type == "Concat" for node in split.graph.node)
    for name, values in ran(model, picture()).items():
        np.testing.assert_allclose(ran(split, picture())[name], values, rtol=0, atol=1e-5)


def test_a_graph_without_joined_maps_stays_as_it_is() -> None:
    split = without_concatenated_inputs(unet())
    assert without_concatenated_inputs(split) is split


def test_joined_maps_that_others_read_stay() -> None:
    model = unet()
    node_named(model, "pool").input[0] = "joined"
    model.graph.output[2].type.tensor_type.shape.dim[1].dim_value = 16
    assert any(node.op_type == "Concat" for node in without_concatenated_inputs(model).graph.node)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_openvino_and_onnx_runtime_agree_on_the_int8_file(seed: int) -> None:
    split = without_concatenated_inputs(unet(seed=seed))
    seen = amplitudes(split, "normalised", "a", "b_large", "c")
    model = quantised(split, seen, [node.name for node in quantisable(split)]).SerializeToString()
    found = []
    backends: list[Backend] = [ONNXRuntimeBackend(model, SPEC), OpenVINOBackend(model, SPEC)]
    for backend in backends:
        with backend:
            found.append(backend.infer(picture(seed)).heatmap)
    spread = float(np.ptp(found[0]))
    # Where an activation stands between two codes the engines may round apart; one code moves a pixel by 1 % or so.
    assert np.abs(found[0] - found[1]).mean() < 0.005 * spread
