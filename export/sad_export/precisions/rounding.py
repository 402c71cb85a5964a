"""What half precision does to scores, shown on a CPU: every value of the halved nodes rounded to fp16, in float32.

No CPU engine runs a graph in fp16 (they widen it), so their figures for such a file prove nothing about a GPU. Here
each result is rounded to half precision and back, so that what would overflow does, and what would vanish does. A GPU
fuses layers and rounds less often.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sad_export.graph_edit import constants_of, floats_of, rebuilt


def rounded(model: ModelProto, nodes: Collection[str]) -> ModelProto:
    """`model` (fp32 or Q/DQ) in which what the named nodes give is rounded to half precision, their constants, and what
    convolutions and quantisations take."""
    floats, constants = floats_of(model), constants_of(model)
    written: list[NodeProto] = []
    added: dict[str, TensorProto] = {}
    for node in model.graph.node:
        taken = NodeProto()
        taken.CopyFrom(node)
        if node.name in nodes:
            for place, name in enumerate(node.input):
                if name in constants and name in floats and not (node.op_type == "Resize" and place):
                    taken.input[place] = f"{name}_rounded"
                    with np.errstate(over="ignore"):  # an infinity shows itself in the scores
                        values = constants[name].astype(np.float16).astype(np.float32)
                    added[f"{name}_rounded"] = numpy_helper.from_array(values, f"{name}_rounded")
                elif name in floats and node.op_type in ("Conv", "QuantizeLinear") and place == 0:
                    taken.input[place] = _rounded_input(name, node, written)
        written.append(taken)
        if node.name in nodes:
            for place, name in enumerate(node.output):
                if name in floats:
                    taken.output[place] = f"{name}_exact"
                    written += _pair(f"{name}_exact", name)
    return rebuilt(model, written, added.values())


def _rounded_input(name: str, node: NodeProto, written: list[NodeProto]) -> str:
    result = f"{name}_into_{node.name}"
    written += _pair(name, result)
    return result


def _pair(source: str, result: str) -> list[NodeProto]:
    """Down to half precision and up again."""
    return [
        helper.make_node("Cast", [source], [f"{result}_half"], name=f"{result}_down", to=TensorProto.FLOAT16),
        helper.make_node("Cast", [f"{result}_half"], [result], name=f"{result}_up", to=TensorProto.FLOAT),
    ]
