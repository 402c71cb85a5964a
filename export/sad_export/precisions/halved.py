"""FP16: parts of a graph in half precision, everything else left in float32, with casts only where the two meet.

Which parts those may be is said by `half_candidates`: what lies before a convolution, in operations that are safe in
half precision, with values that the pictures never drove near its limits. Distances, exponentials and the score are
float32 in every file: they square, they divide by small numbers, and they cost nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from sad_export.graph_edit import constants_of, floats_of, rebuilt
from sad_export.precisions.quantised import quantisable
from sad_runtime.errors import SadError

LARGEST = 65504.0
HEADROOM = 8.0
"""How far above the largest value seen half precision must still reach: pictures to come are other pictures."""
SAFE = frozenset(
    {
        "Add",
        "AveragePool",
        "Concat",
        "Conv",
        "DepthToSpace",
        "DequantizeLinear",
        "Gather",
        "MaxPool",
        "Pad",
        "QuantizeLinear",
        "Relu",
        "Resize",
        "Slice",
        "Transpose",
    }
)
"""Operations that neither square nor divide nor sum over a whole picture."""
QUANTISED_SCALES = 19
"""The opset from which Q/DQ pairs take scales in half precision."""


def half_candidates(model: ModelProto, amplitudes: Mapping[str, float]) -> list[str]:
    """Names of the nodes that may run in half precision, in the order in which they run.

    `amplitudes`: the largest absolute value seen of every float tensor.
    """
    ahead = _ahead_of_convolutions(model)
    floats, constants = floats_of(model), constants_of(model)
    largest = {name: float(np.abs(values).max(initial=0)) for name, values in constants.items() if name in floats}
    seen = with_concatenations(model, {**largest, **amplitudes})

    def fits(node: NodeProto) -> bool:
        touched = [name for name in (*node.input, *node.output) if name in floats]
        return bool(touched) and all(seen.get(name, np.inf) <= LARGEST / HEADROOM for name in touched)

    fitting = {node.name for node in model.graph.node if node.op_type in SAFE and node.name in ahead and fits(node)}
    worth_it = _without_islands(model, fitting, floats - constants.keys())
    return [node.name for node in model.graph.node if node.name in worth_it]


def with_concatenations(model: ModelProto, amplitudes: Mapping[str, float]) -> dict[str, float]:
    """`amplitudes` and those of concatenated tensors, which the file that ranges are measured on may not have."""
    seen = dict(amplitudes)
    for node in model.graph.node:
        if node.op_type == "Concat" and node.output[0] not in seen and set(node.input) <= seen.keys():
            seen[node.output[0]] = max(seen[name] for name in node.input)
    return seen


def pairs_between(model: ModelProto, nodes: Collection[str]) -> list[str]:
    """Names of the Q/DQ nodes of `model` whose scales may be in half precision: those that feed only `nodes`."""
    pairs: list[str] = []
    serving = set(nodes)
    for node in reversed(model.graph.node):
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        readers = {reader.name for reader in model.graph.node if node.output[0] in reader.input}
        if readers <= serving:
            serving.add(node.name)
            pairs.append(node.name)
    return pairs


def halved(model: ModelProto, nodes: Collection[str]) -> ModelProto:
    """`model` with the named nodes in half precision. Inputs and outputs of the model keep their types."""
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node) and _opset(model) < QUANTISED_SCALES:
        raise SadError(f"int8_fp16 needs opset {QUANTISED_SCALES}; opset {_opset(model)} has no scales in fp16")
    casts = _Casts(model)
    for node in model.graph.node:
        casts.take(node, half=node.name in nodes)
    return rebuilt(model, casts.nodes, casts.added)


class _Casts:
    """The nodes written so far, and what is in half precision after them. Nothing is cast twice."""

    def __init__(self, model: ModelProto) -> None:
        self.nodes: list[NodeProto] = []
        self.added: list[TensorProto] = []
        self._floats = floats_of(model)
        self._constants = constants_of(model)
        self._outputs = {output.name for output in model.graph.output}
        self._half: set[str] = set()
        self._made: set[str] = set()

    def take(self, node: NodeProto, *, half: bool) -> None:
        taken = NodeProto()
        taken.CopyFrom(node)
        for place, name in enumerate(node.input):
            if name in self._floats and not (node.op_type == "Resize" and place):  # Resize's factors are float32 always
                taken.input[place] = self._as_half(name) if half else self._as_float(name)
        for place, name in enumerate(node.output):
            if not half or name not in self._floats:
                continue
            if name in self._outputs:
                raise SadError(f"{node.name}: makes the output {name}, which is float32")
            taken.output[place] = name
            self._half.add(name)
        self.nodes.append(taken)

    def _as_half(self, name: str) -> str:
        if name in self._half:
            return name
        result = f"{name}_half"
        if result not in self._made:
            self._made.add(result)
            if name in self._constants:
                values = self._constants[name].astype(np.float16)
                self.added.append(numpy_helper.from_array(values, result))
            else:
                self._cast(name, result, TensorProto.FLOAT16)
        return result

    def _as_float(self, name: str) -> str:
        if name not in self._half:
            return name
        result = f"{name}_float"
        if result not in self._made:
            self._made.add(result)
            self._cast(name, result, TensorProto.FLOAT)
        return result

    def _cast(self, name: str, result: str, kind: int) -> None:
        self.nodes.append(helper.make_node("Cast", [name], [result], name=f"{result}_Cast", to=kind))


def _ahead_of_convolutions(model: ModelProto) -> set[str]:
    """Nodes from which a path leads to a learnt convolution, those included; the heatmap's enlargement is none."""
    learnt = {node.name for node in quantisable(model)}
    ahead: set[str] = set()
    wanted: set[str] = set()
    for node in reversed(model.graph.node):
        if node.name in learnt or wanted & set(node.output):
            ahead.add(node.name)
            wanted.update(node.input)
    return ahead


def _without_islands(model: ModelProto, nodes: set[str], floats: Collection[str]) -> set[str]:
    """Only convolutions are worth a cast in and a cast out; others are halved where the cast is there already.

    `floats`: the float values that are no constants.
    """
    kept = set(nodes)
    while True:
        made_in_half = {name for node in model.graph.node if node.name in kept for name in node.output}
        read_in_float = {name for node in model.graph.node if node.name not in kept for name in node.input}
        alone = {
            node.name
            for node in model.graph.node
            if node.name in kept
            and node.op_type != "Conv"
            and not {name for name in node.input if name in floats} <= made_in_half
            and read_in_float & set(node.output)
        }
        if not alone:
            return kept
        kept -= alone


def _opset(model: ModelProto) -> int:
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
