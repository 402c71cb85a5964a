"""The form that engines run: the same numbers, no batch norm left, and the same convolutions as in the file."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from sad_export.onnx_graph import onnx_from_graph
from sad_export.precisions.folding import folded
from sad_export.precisions.quantised import quantisable
from sad_runtime.manifest import InputSpec
from sad_runtime.schema import parse
from sad_train.config import TrainConfig
from sad_train.graph import InspectionGraph
from sad_train.networks.coordconv import CoordConv2d
from sad_train.networks.nsa_resnet18 import NsaResNet18
from sad_train.networks.small_unet import SmallUNet
from small_graphs import pictures, small_graph

SIDE = 64


def graph_of(network: nn.Module) -> InspectionGraph:
    """With batch norms as training leaves them."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                assert values is not None
                values.uniform_(0.5, 1.5)
    config = parse(TrainConfig, {"size_px": SIDE}, "test")
    return InspectionGraph(network, InputSpec(height=SIDE, width=SIDE, channels=3), config).eval()


@pytest.mark.parametrize("network", [SmallUNet, NsaResNet18])
@pytest.mark.parametrize("coordinates", [False, True])
@torch.no_grad()
def test_a_folded_network_says_the_same(network: type[SmallUNet] | type[NsaResNet18], coordinates: bool) -> None:
    torch.manual_seed(0)
    graph = graph_of(network(3, coordinates=coordinates))
    made = folded(graph)
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.uint8))
    for one, other in zip(made(image), graph(image), strict=True):
        assert float((one - other).abs().max()) < 1e-4 * max(1.0, float(other.abs().max()))
    left = (nn.BatchNorm2d, nn.ConvTranspose2d, CoordConv2d)
    assert not any(isinstance(module, left) for module in made.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in graph.modules()), "the graph itself is left alone"


def test_it_exports_to_the_same_operations() -> None:
    graph = small_graph()
    before, after = (onnx.load_from_string(onnx_from_graph(one)) for one in (graph, folded(graph)))
    assert [node.op_type for node in before.graph.node] == [node.op_type for node in after.graph.node]
    assert len(quantisable(before)) == len(quantisable(after)) == 5


@torch.no_grad()
def test_a_batch_norm_of_any_name_is_folded() -> None:
    graph = small_graph()
    made = folded(graph)
    image = torch.from_numpy(pictures(2))
    assert float((made(image)[0] - graph(image)[0]).abs().max()) < 1e-4
    assert not any(isinstance(module, nn.BatchNorm2d) for module in made.modules())
