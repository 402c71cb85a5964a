"""What every rewrite of an ONNX graph needs: its shapes and types by name, and a new model from changed nodes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

Shape = tuple[int, ...]


def shapes_of(model: ModelProto) -> dict[str, Shape]:
    """The static shapes of all values, by name; those that are not static are left out."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(side.HasField("dim_value") for side in kind.shape.dim):
            shapes[value.name] = tuple(side.dim_value for side in kind.shape.dim)
    return shapes


def floats_of(model: ModelProto) -> set[str]:
    """Names of all float32 values: inputs, constants and what nodes make."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    named = {tensor.name: tensor.data_type for tensor in graph.initializer}
    named |= {
        value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)
    }
    return {name for name, kind in named.items() if kind == TensorProto.FLOAT}


def constants_of(model: ModelProto) -> dict[str, NDArray[np.generic]]:
    """The numbers in the file, by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def rebuilt(model: ModelProto, nodes: Iterable[NodeProto], added: Iterable[TensorProto] = ()) -> ModelProto:
    """`model` with these nodes instead of its own and the constants that they still use, checked.

    `added`: new constants; one of a name that is there already replaces it.
    """
    changed = ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    nodes = [_copied(node) for node in nodes]
    used = {name for node in nodes for name in node.input} | {output.name for output in graph.output}
    tensors = {tensor.name: tensor for tensor in (*model.graph.initializer, *added)}
    for field in (graph.node, graph.initializer, graph.value_info):
        del field[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensor for name, tensor in tensors.items() if name in used)
    onnx.checker.check_model(changed, full_check=True)
    return changed


def _copied(node: NodeProto) -> NodeProto:
    """Nodes belong to the model that they are in; emptying its list would take them along."""
    copy = NodeProto()
    copy.CopyFrom(node)
    return copy
