"""A bilinear enlargement as a convolution: the same to rounding, edges included, and only where it is exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import ModelProto, helper
from torch.nn import functional as F

from sad_export.enlarging import kernels_for, pooled_kernel, without_enlargements
from sad_export.graph_edit import rebuilt
from unets import node_named, picture, ran, unet


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_the_kernels_enlarge_as_torch_does(factor: int) -> None:
    small = torch.from_numpy(np.random.default_rng(factor).normal(size=(1, 1, 5, 7)).astype(np.float32))
    padded = F.pad(small, (1, 1, 1, 1), mode="replicate")
    found = F.pixel_shuffle(F.conv2d(padded, torch.from_numpy(kernels_for(factor))), factor)
    expected = F.interpolate(small, scale_factor=float(factor), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_graph_says_the_same_without_its_enlargement() -> None:
    model = unet()
    rewritten = without_enlargements(model)
    kinds = [node.op_type for node in rewritten.graph.node]
    assert kinds.count("Resize") == 1, "the one of eight channels stays"
    assert kinds.count("DepthToSpace") == 1
    for name, values in ran(model, picture()).items():
        np.testing.assert_allclose(ran(rewritten, picture())[name], values, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("option", "value"), [("mode", "nearest"), ("coordinate_transformation_mode", "asymmetric")])
def test_what_is_no_such_enlargement_stays(option: str, value: str) -> None:
    model = unet()
    node = node_named(model, "enlarge")
    kept = [attribute for attribute in node.attribute if attribute.name != option]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(option, value)])
    assert without_enlargements(model) is model


@pytest.mark.parametrize(("factor", "cells", "step"), [(2, 4, 2), (4, 2, 1), (8, 1, 1), (3, 2, 2)])
def test_the_pooled_kernel_averages_what_torch_enlarges(factor: int, cells: int, step: int) -> None:
    small = torch.from_numpy(np.random.default_rng(factor).normal(size=(1, 1, 6, 9)).astype(np.float32))
    padded = F.pad(small, (1, 1, 1, 1), mode="replicate")
    found = F.conv2d(padded, torch.from_numpy(pooled_kernel(factor, cells)), stride=step)
    large = F.interpolate(small, scale_factor=float(factor), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, F.avg_pool2d(large, cells * factor, step * factor), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("side", "step", "left"), [(4, 2, 0), (8, 4, 0), (3, 2, 1), (4, 1, 1)])
def test_windows_of_whole_small_pixels_are_averaged_on_the_small_map(side: int, step: int, left: int) -> None:
    """The others are averaged as they were."""
    model = _pooled(unet(), side, step)
    rewritten = without_enlargements(model)
    assert [node.op_type for node in rewritten.graph.node].count("AveragePool") == left
    for name, values in ran(model, picture()).items():
        np.testing.assert_allclose(ran(rewritten, picture())[name], values, rtol=0, atol=1e-6)


def _pooled(model: ModelProto, side: int, step: int) -> ModelProto:
    """`model` whose score is the largest of averages over windows, as `peak` scores are."""
    pool = helper.make_node(
        "AveragePool", ["large"], ["windows"], name="windows", kernel_shape=[side, side], strides=[step, step]
    )
    squeeze = helper.make_node("Squeeze", ["windows", "axis1"], ["windows_flat"], name="flat")
    nodes = [node for node in model.graph.node if node.name != "peak"]
    peak = helper.make_node("ReduceMax", ["windows_flat", "axes12"], ["score"], name="peak", keepdims=0)
    return rebuilt(model, [*nodes, pool, squeeze, peak])
