"""Takes a graph from ONNX opset 18 back to 17, which TensorRT 8.x reads; torch's exporter makes nothing older than 18.

onnx's own converter knows no way back for Pad. Of the ops that our graphs may hold (onnx_graph.ALLOWED) opset 18
changed four: reductions take their axes as an input; Resize and Pad got options, which we leave at what 17 does.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx
from onnx import NodeProto, helper, numpy_helper

from sad_runtime.errors import SadError

REDUCTIONS = frozenset({"ReduceMax", "ReduceMean"})
DEFAULTS = {"noop_with_empty_axes": 0, "antialias": 0, "keep_aspect_ratio_policy": b"stretch"}
"""Options that 17 does not have, and the value at which it does the same."""


def at_opset_17(model: onnx.ModelProto) -> onnx.ModelProto:
    """Changes `model` (opset 18) in place. Raises SadError naming a node that 17 cannot say."""
    constants = {constant.name: constant for constant in model.graph.initializer}
    for node in model.graph.node:
        _drop_new_options(node)
        if node.op_type in REDUCTIONS:
            _axes_as_attribute(node, constants)
        elif node.op_type == "Pad" and len(node.input) > 3:
            raise SadError(f"{node.name}: opset 17 pads all axes, not some")
    used = {name for node in model.graph.node for name in node.input}
    _keep(model, used)
    model.opset_import[0].version = 17
    return model


def _drop_new_options(node: NodeProto) -> None:
    kept = []
    for attribute in node.attribute:
        if attribute.name not in DEFAULTS:
            kept.append(attribute)
        elif helper.get_attribute_value(attribute) != DEFAULTS[attribute.name]:
            raise SadError(f"{node.name}: opset 17 has no {attribute.name}")
    del node.attribute[:]
    node.attribute.extend(kept)


def _axes_as_attribute(node: NodeProto, constants: dict[str, onnx.TensorProto]) -> None:
    if len(node.input) < 2:
        return
    if node.input[1] not in constants:
        raise SadError(f"{node.name}: opset 17 reduces over fixed axes only")
    axes = numpy_helper.to_array(constants[node.input[1]]).tolist()
    del node.input[1:]
    node.attribute.append(helper.make_attribute("axes", axes))


def _keep(model: onnx.ModelProto, used: Collection[str]) -> None:
    kept = [constant for constant in model.graph.initializer if constant.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
