"""Rewrites a convolution of concatenated maps exactly as a sum of convolutions, one for each map.

For INT8 files only: each map then has a scale of its own, and the pair that OpenVINO gets wrong is gone. (2026.4.1
moves the quantisation behind a Concat before it and forgets its scale: values are rounded to whole numbers. ONNX
Runtime is right.) The parts run as fast as the whole.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sad_export.graph_edit import Shape, constants_of, rebuilt, shapes_of
from sad_export.precisions.quantised import quantisable


def without_concatenated_inputs(model: ModelProto) -> ModelProto:
    """`model` in which no quantisable convolution is fed by a Concat of channels. Grouped convolutions stay."""
    shapes, constants = shapes_of(model), constants_of(model)
    joined = {node.output[0]: node for node in model.graph.node if node.op_type == "Concat" and _axis(node) == 1}
    wanted = {node.name for node in quantisable(model) if node.input[0] in joined and _groups(node) == 1}
    nodes: list[NodeProto] = []
    added: list[TensorProto] = []
    for node in model.graph.node:
        if node.name not in wanted:
            nodes.append(node)
            continue
        parts, weights = _parts(node, joined[node.input[0]], shapes, constants[node.input[1]])
        nodes += parts
        added += weights
    return rebuilt(model, _still_used(model, nodes), added) if wanted else model


def _parts(
    node: NodeProto, join: NodeProto, shapes: dict[str, Shape], weights: NDArray[np.generic]
) -> tuple[list[NodeProto], list[TensorProto]]:
    """The convolutions and the sum of their results; the first takes the bias."""
    nodes: list[NodeProto] = []
    added: list[TensorProto] = []
    first, result = 0, ""
    for number, name in enumerate(join.input):
        channels = shapes[name][1]
        own = f"{node.input[1]}_of_{number}"
        added.append(numpy_helper.from_array(np.ascontiguousarray(weights[:, first : first + channels]), own))
        first += channels
        bias = list(node.input[2:]) if number == 0 else []
        part = helper.make_node(
            "Conv", [name, own, *bias], [f"{node.output[0]}_of_{number}"], name=f"{node.name}_of_{number}"
        )
        part.attribute.extend(node.attribute)
        nodes.append(part)
        if number == 0:
            result = part.output[0]
            continue
        last = number == len(join.input) - 1
        total = node.output[0] if last else f"{node.output[0]}_to_{number}"
        nodes.append(helper.make_node("Add", [result, part.output[0]], [total], name=f"{node.name}_to_{number}"))
        result = total
    return nodes, added


def _still_used(model: ModelProto, nodes: list[NodeProto]) -> list[NodeProto]:
    """Without the Concats that nothing reads any more."""
    read = {name for node in nodes for name in node.input} | {output.name for output in model.graph.output}
    return [node for node in nodes if node.op_type != "Concat" or node.output[0] in read]


def _axis(node: NodeProto) -> int:
    return int(next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 0))


def _groups(node: NodeProto) -> int:
    return int(next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1))
