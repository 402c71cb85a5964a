"""The exported graph: allowed ops, static shapes, the opset asked for, and the trained model's own numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from sad_export.onnx_graph import ALLOWED, onnx_from_graph
from sad_runtime.backends.table import backend_for, installed_backends
from sad_runtime.errors import SadError
from sad_runtime.manifest import InputSpec
from sad_runtime.schema import parse
from sad_train.config import TrainConfig
from sad_train.data.profile import measured_profile
from sad_train.graph import NEVER, InspectionGraph
from sad_train.networks.segmenters import segmenter_for
from sad_train.networks.small_unet import SmallUNet

SIZE = 64
KINDS: dict[str, dict[str, object]] = {
    "small_unet": {"network": "small_unet"},
    "nsa_resnet18": {"network": "nsa_resnet18", "crop_px": 32, "score": "mean"},
}


def graph_of(kind: str, channels: int = 3) -> InspectionGraph:
    """Untrained, but with batch norms that do something."""
    torch.manual_seed(0)
    config = parse(TrainConfig, {"size_px": SIZE, **KINDS[kind]}, "test")
    network = segmenter_for(config, measured_profile([np.zeros((SIZE, SIZE, channels), np.uint8)]), channels)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    return InspectionGraph(network, InputSpec(height=SIZE, width=SIZE, channels=channels), config).eval()


def pictures(count: int = 1, channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, channels)).astype(np.uint8)


def shapes(values: object) -> dict[str, list[int]]:
    return {value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in values}  # type: ignore[attr-defined]


@torch.no_grad()
def in_torch(graph: InspectionGraph, image: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    return [output.numpy() for output in graph(torch.from_numpy(image))]


@pytest.fixture(scope="module")
def mask() -> NDArray[np.uint8]:
    ignored = np.zeros((SIZE, SIZE), np.uint8)
    ignored[20:40, 20:32] = 255
    return ignored


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("small_unet", 17), id="small_unet 17"),
        pytest.param(("small_unet", 20), id="small_unet 20", marks=pytest.mark.slow),
        pytest.param(("nsa_resnet18", 17), id="nsa_resnet18 17", marks=pytest.mark.slow),
        pytest.param(("nsa_resnet18", 20), id="nsa_resnet18 20"),
    ],
)
def exported(request: pytest.FixtureRequest, mask: NDArray[np.uint8]) -> tuple[InspectionGraph, bytes, int]:
    kind, opset = request.param
    graph = graph_of(kind)
    graph.ignore(mask)
    return graph, onnx_from_graph(graph, opset=opset), opset


def test_the_file_holds_only_ops_that_engines_take(exported: tuple[InspectionGraph, bytes, int]) -> None:
    model = onnx.load_from_string(exported[1])
    assert {node.op_type for node in model.graph.node} <= ALLOWED
    assert not {"ConvTranspose", "GridSample", "BatchNormalization", "If", "Loop"} & {
        n.op_type for n in model.graph.node
    }
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions


def test_the_file_is_of_the_opset_asked_for(exported: tuple[InspectionGraph, bytes, int]) -> None:
    """And in a file format no newer than that opset needs: TensorRT 8.x reads opset 17 in format 8."""
    _, data, opset = exported
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", opset)]
    assert model.ir_version == {17: 8, 20: 9}[opset]


def test_every_shape_is_static(exported: tuple[InspectionGraph, bytes, int]) -> None:
    graph = onnx.shape_inference.infer_shapes(onnx.load_from_string(exported[1]), strict_mode=True).graph
    embedding = 128 if exported[0].crop_px is None else 512
    assert shapes(graph.input) == {"image": [1, SIZE, SIZE, 3]}
    assert shapes(graph.output) == {"heatmap": [1, SIZE, SIZE], "score": [1], "embedding": [1, embedding]}
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert {output.type.tensor_type.elem_type for output in graph.output} == {onnx.TensorProto.FLOAT}
    assert all(all(side > 0 for side in shape) for shape in shapes(graph.value_info).values())


def test_nothing_of_the_machine_that_exported_is_in_the_file(exported: tuple[InspectionGraph, bytes, int]) -> None:
    for trace in (str(Path(torch.__file__).parent), str(Path(__file__).parents[2]), ".py", "stack_trace"):
        assert trace.encode() not in exported[1]


@pytest.mark.parametrize("engine", installed_backends())
def test_every_engine_gives_the_trained_models_numbers(
    exported: tuple[InspectionGraph, bytes, int], engine: str, mask: NDArray[np.uint8]
) -> None:
    """Within 1e-3 logits: float32 sums in another order."""
    graph, data, _ = exported
    expected = in_torch(graph, pictures())
    with backend_for(engine, data, graph.spec) as backend:
        found = backend.infer(pictures())
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() < 1e-3
    assert (found.heatmap[0, mask > 0] == NEVER).all()


@pytest.mark.slow
def test_the_same_weights_give_the_same_bytes() -> None:
    assert onnx_from_graph(graph_of("small_unet")) == onnx_from_graph(graph_of("small_unet"))


def test_a_grey_graph_and_a_batch_of_two() -> None:
    graph = graph_of("small_unet", channels=1)
    data = onnx_from_graph(graph, batch=2)
    assert shapes(onnx.load_from_string(data).graph.input) == {"image": [2, SIZE, SIZE, 1]}
    with backend_for("onnxruntime", data, graph.spec) as backend:
        found = backend.infer(pictures(2, channels=1))
    for one, other in zip(found, in_torch(graph, pictures(2, channels=1)), strict=True):
        assert np.abs(one - other).max() < 1e-3


def test_an_op_that_engines_may_not_take_is_refused_by_name() -> None:
    graph = graph_of("small_unet")
    assert isinstance(graph.network, SmallUNet)
    graph.network.stem.append(nn.Softplus())
    with pytest.raises(SadError, match=r"the graph holds .*Softplus.* \(.+\), which engines may not take"):
        onnx_from_graph(graph)
