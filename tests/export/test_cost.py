"""Parameters and multiply-accumulates of an ONNX graph, by hand and against the networks' known figures."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from bundles import tiny_onnx
from sad_export.cost import Cost, cost_of
from sad_export.onnx_graph import onnx_from_graph
from sad_runtime.bundle import read_bundle
from sad_runtime.manifest import InputSpec
from sad_train.config import TrainConfig
from sad_train.graph import InspectionGraph
from sad_train.networks.nsa_resnet18 import NsaResNet18
from sad_train.networks.small_unet import SmallUNet


def model_of(
    nodes: list[onnx.NodeProto], given: list[int | str], weights: dict[str, NDArray[np.float32]], batch: int = 1
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "counted",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *given])],
        [helper.make_empty_tensor_value_info(nodes[-1].output[0])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]).SerializeToString())


def ones(*shape: int) -> NDArray[np.float32]:
    return np.ones(shape, np.float32)


def test_a_convolution_is_its_outputs_times_its_window() -> None:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1], strides=[2, 2])
    found = cost_of(model_of([node], [3, 16, 20], {"w": ones(8, 3, 3, 3), "b": ones(8)}))
    assert found.parameters == 8 * 3 * 3 * 3 + 8
    assert found.gmac == pytest.approx(8 * 8 * 10 * (3 * 3 * 3) / 1e9)


def test_groups_divide_the_work() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=4, pads=[1, 1, 1, 1])
    found = cost_of(model_of([node], [4, 8, 8], {"w": ones(4, 1, 3, 3)}))
    assert found == Cost(4 * 9, 4 * 8 * 8 * 9 / 1e9)


def test_a_transposed_convolution_spreads_each_input() -> None:
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2])
    found = cost_of(model_of([node], [4, 8, 8], {"w": ones(4, 6, 2, 2)}))
    assert found == Cost(4 * 6 * 4, 4 * 8 * 8 * 6 * 4 / 1e9)


def test_products_count_a_picture_not_a_batch_and_a_shared_matrix_once() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Gemm", ["y", "w", "b"], ["z"], transB=1),
    ]
    found = cost_of(model_of(nodes, [5], {"w": ones(5, 5), "b": ones(5)}, batch=3))
    assert found == Cost(25 + 5, 2 * 25 / 1e9)


def test_weights_behind_a_transpose_are_still_weights() -> None:
    nodes = [
        helper.make_node("Transpose", ["w"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "turned"], ["y"]),
    ]
    assert cost_of(model_of(nodes, [5], {"w": ones(7, 5)})) == Cost(35, 35 / 1e9)


def test_where_a_side_is_not_known_the_products_are_not_guessed() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    assert cost_of(model_of([node], [3, "height", 8], {"w": ones(8, 3, 1, 1)})) == Cost(24, None)


def test_a_graph_without_products_costs_nothing() -> None:
    assert cost_of(tiny_onnx()) == Cost(0, 0.0)


def test_a_bundle_says_what_it_cost(washer_bundle: Path) -> None:
    bundle = read_bundle(washer_bundle)
    training = bundle.manifest.training
    assert (training.parameters, training.gmac) == astuple(cost_of(bundle.model("fp32")))
    assert training.minutes is not None
    assert 0 < training.minutes < 5


@pytest.mark.slow
@pytest.mark.parametrize(("network", "gmac"), [(SmallUNet, 0.4), (NsaResNet18, 2.5)])
def test_the_networks_cost_what_is_known_of_them(network: type[SmallUNet | NsaResNet18], gmac: float) -> None:
    graph = InspectionGraph(network(3), InputSpec(height=256, width=256, channels=3), TrainConfig())
    assert cost_of(onnx_from_graph(graph.eval())).gmac == pytest.approx(gmac, rel=0.05)
