"""CoordConv on the line: one convolution and one constant, the same numbers, no ramps left."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from sad_export.coordinates import PlacedConvolution, without_coordinates
from sad_export.onnx_graph import onnx_from_graph
from sad_runtime.backends.table import backend_for
from sad_runtime.manifest import InputSpec
from sad_runtime.schema import parse
from sad_train.config import TrainConfig
from sad_train.data.profile import measured_profile
from sad_train.graph import InspectionGraph
from sad_train.networks.coordconv import CoordConv2d
from sad_train.networks.segmenters import segmenter_for

SIZE = 64
KINDS: dict[str, dict[str, object]] = {"small_unet": {}, "nsa_resnet18": {"crop_px": 32}}


def graph_of(network: str, coords: str = "on") -> InspectionGraph:
    """Untrained, but with batch norms that do something."""
    torch.manual_seed(0)
    settings = {"size_px": SIZE, "network": network, "coords": coords, **KINDS[network]}
    config = parse(TrainConfig, settings, "test")
    segmenter = segmenter_for(config, measured_profile([np.zeros((SIZE, SIZE, 3), np.uint8)]), 3)
    for module in segmenter.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                assert values is not None
                values.uniform_(0.5, 1.5)
    return InspectionGraph(segmenter, InputSpec(height=SIZE, width=SIZE, channels=3), config).eval()


def picture() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3)).astype(np.uint8)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("radius", [True, False])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(1, 1, 0), (3, 1, 1), (7, 4, 3), (5, 2, 0)])
@torch.no_grad()
def test_a_layer_is_rewritten_exactly(kernel: int, stride: int, padding: int, radius: bool, bias: bool) -> None:
    torch.manual_seed(1)
    given = nn.Sequential(CoordConv2d(3, 5, kernel, stride, padding, bias=bias, radius=radius), nn.ReLU())
    x = torch.randn(2, 3, 20, 17)
    made = without_coordinates(given, x)
    assert isinstance(made[0], PlacedConvolution)
    assert isinstance(given[0], CoordConv2d)
    assert float((made(x) - given(x)).abs().max()) < 1e-5


@pytest.mark.parametrize("network", KINDS)
@torch.no_grad()
def test_a_whole_graph_keeps_its_numbers_also_with_a_crop(network: str) -> None:
    graph = graph_of(network)
    image = torch.from_numpy(picture())
    made = without_coordinates(graph, image)
    assert not any(isinstance(module, CoordConv2d) for module in made.modules())
    for one, other in zip(made(image), graph(image), strict=True):
        assert float((one - other).abs().max()) < 1e-5 * max(1.0, float(other.abs().max()))


@pytest.fixture(scope="module", params=["small_unet", pytest.param("nsa_resnet18", marks=pytest.mark.slow)])
def exported(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    """The network's name and its file with coordinates."""
    return request.param, onnx_from_graph(graph_of(request.param))


def test_the_file_holds_one_addition_more_than_without_coordinates_and_no_ramps(exported: tuple[str, bytes]) -> None:
    network, data = exported
    files = (data, onnx_from_graph(graph_of(network, "off")))
    on, off = ([node.op_type for node in onnx.load_from_string(file).graph.node] for file in files)
    for op in {*on, *off}:
        assert on.count(op) - off.count(op) == (op == "Add"), op


def test_an_engine_gives_the_trained_models_numbers(exported: tuple[str, bytes]) -> None:
    """Within 1e-3 logits, as for every graph: float32 sums in another order."""
    network, data = exported
    graph = graph_of(network)
    with torch.no_grad():
        expected = [output.numpy() for output in graph(torch.from_numpy(picture()))]
    with backend_for("onnxruntime", data, graph.spec) as backend:
        found = backend.infer(picture())
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() < 1e-3


def test_the_constant_has_the_size_of_the_crop() -> None:
    made = without_coordinates(graph_of("nsa_resnet18"), torch.from_numpy(picture()))
    (layer,) = [module for module in made.modules() if isinstance(module, PlacedConvolution)]
    assert isinstance(layer.constant, torch.Tensor)
    assert layer.constant.shape == (1, 64, 16, 16)
