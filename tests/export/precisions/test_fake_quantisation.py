"""INT8 played in torch: the numbers of the Q/DQ file, gradients straight through, ranges as the exporter sees them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from sad_calibration.int8.ranges import ranges_of
from sad_export.onnx_graph import onnx_from_graph
from sad_export.precisions.fake_quantisation import FakeQuantisation, amplitudes_of
from sad_export.precisions.folding import folded
from sad_export.precisions.quantised import int8_weights, quantisable, quantised
from sad_export.precisions.splitting import without_concatenated_inputs
from sad_runtime.backends.onnxruntime import ONNXRuntimeBackend
from sad_train.graph import InspectionGraph
from small_graphs import pictures, small_graph


def split_file(graph: InspectionGraph) -> onnx.ModelProto:
    return without_concatenated_inputs(onnx.load_from_string(onnx_from_graph(graph)))


def tensors_of(model: onnx.ModelProto) -> list[str]:
    """What the quantisable convolutions read, in order: the maps by their numbers."""
    return list(dict.fromkeys(node.input[0] for node in quantisable(model)))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("method", ["max", "entropy"])
@torch.no_grad()
def test_it_computes_what_the_exported_file_computes(channels: int, method: str) -> None:
    graph = folded(small_graph(channels))
    amplitudes = amplitudes_of(graph, pictures(12, channels))[method]
    model = split_file(graph)
    tensors = tensors_of(model)
    assert len(tensors) == len(amplitudes)
    layers = [node.name for node in quantisable(model)]
    file = quantised(model, dict(zip(tensors, amplitudes, strict=True)), layers).SerializeToString()
    fresh = pictures(4, channels, seed=1)
    with FakeQuantisation(amplitudes):
        played = graph(torch.from_numpy(fresh))
    exact = graph(torch.from_numpy(fresh))
    with ONNXRuntimeBackend(file, graph.spec) as backend:
        said = [backend.infer(picture[None]) for picture in fresh]
    for name, one, without in zip(("heatmap", "score", "embedding"), played, exact, strict=True):
        there = np.concatenate([getattr(outputs, name) for outputs in said])
        assert np.abs(one.numpy() - there).max() < 1e-4
        assert np.abs(without.numpy() - there).max() > 3e-4, "INT8 must show, or equal would mean nothing"


def test_ranges_are_those_that_the_exporter_measures() -> None:
    graph = folded(small_graph())
    goods = pictures(12)
    model = split_file(graph)
    tensors = tensors_of(model)
    measured = ranges_of(model.SerializeToString(), list(goods), tensors=tensors)
    for method, amplitudes in amplitudes_of(graph, goods).items():
        of_file = [measured.of(method)[name] for name in tensors]
        assert np.allclose(amplitudes, of_file, rtol=2e-3), method


def test_weights_are_rounded_as_in_the_file() -> None:
    weights = (
        torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))
        * torch.logspace(-3, 3, 6)[:, None, None, None]
    )
    codes, scales = int8_weights(weights.numpy())
    found = FakeQuantisation([]).weights(weights).numpy()
    assert np.allclose(found, codes * scales.reshape(-1, 1, 1, 1), rtol=1e-6)


def gradients(values: list[float], amplitude: float) -> Tensor:
    x = torch.tensor(values).reshape(1, 1, 1, -1).expand(1, 3, 1, -1).clone().requires_grad_()
    with FakeQuantisation([amplitude]):
        F.conv2d(x, torch.ones(1, 3, 1, 1)).sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    return x.grad[0, 0, 0]


def test_gradients_flow_straight_through_inside_the_range_and_stop_outside() -> None:
    inside = [-0.999, -0.5004, 0.0, 0.0013, 0.7, 0.999]
    assert torch.allclose(gradients(inside, 1.0), torch.ones(len(inside)), rtol=1e-3)
    assert gradients([-1.1, 1.1, 40.0, -7.0], 1.0).tolist() == [0.0] * 4


def test_gradients_reach_every_weight() -> None:
    graph = folded(small_graph()).requires_grad_(True)
    with FakeQuantisation(amplitudes_of(graph, pictures(8))["max"]):
        heatmap, score, embedding = graph(torch.from_numpy(pictures(4)))
    (heatmap.sum() + score.sum() + embedding.sum()).backward()
    for name, weights in graph.named_parameters():
        assert weights.grad is not None, name
        assert float(weights.grad.abs().max()) > 0, name


def test_a_map_that_several_convolutions_read_has_one_number_and_narrow_ones_stay_in_float() -> None:
    graph = folded(small_graph())
    assert len(amplitudes_of(graph, pictures(8))["max"]) == 4, "picture, stem, enlarged, join; not the two channels"


def test_the_picture_goes_from_black_to_white_by_every_method() -> None:
    graph = folded(small_graph())
    dull = np.clip(pictures(8), 100, 140)
    extremes = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1).expand(2, *graph.spec.shape)
    for amplitudes in amplitudes_of(graph, dull).values():
        assert amplitudes[0] == pytest.approx(float(graph.prepared(extremes).abs().max()))
