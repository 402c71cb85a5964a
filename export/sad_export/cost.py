"""What a model costs to run, counted on its ONNX graph: learnt numbers, and multiply-accumulates of one picture.

Counted are convolutions and matrix products, as the literature does; resizing, pooling and sums are left out. Count on
the fp32 file: the others hold the same products between casts and Q/DQ pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import onnx

from sad_export.graph_edit import Shape, shapes_of


@dataclass(frozen=True)
class Cost:
    parameters: int
    """Numbers in the file that a convolution or a matrix product takes: weights, biases, matrices of densities."""
    gmac: float | None
    """Billions of multiply-accumulates a picture; None when some shape in the graph is not static."""


def cost_of(model: bytes) -> Cost:
    parsed = onnx.load_from_string(model)
    shapes, fixed = shapes_of(parsed), _fixed(parsed.graph)
    products = [node for node in parsed.graph.node if node.op_type in MACS]
    learnt = {name for node in products for name in node.input if name in fixed}
    parameters = sum(math.prod(shapes[name]) for name in learnt if name in shapes)
    batch = shapes.get(parsed.graph.input[0].name, (1,))[0]
    try:
        macs = sum(macs_by_node(parsed).values())
    except KeyError:  # a shape that is not static
        return Cost(parameters, None)
    return Cost(parameters, macs / batch / 1e9)


def macs_by_node(model: onnx.ModelProto) -> dict[str, int]:
    """Multiply-accumulates of each convolution and matrix product. Raises KeyError where a shape is not static."""
    shapes = shapes_of(model)
    return {
        node.name or node.output[0]: MACS[node.op_type](
            node, *(shapes[name] for name in (*node.input[:2], *node.output))
        )
        for node in model.graph.node
        if node.op_type in MACS
    }


def _fixed(graph: Any) -> set[str]:
    """Values that no picture changes: what is in the file, and what is made of nothing else."""
    fixed = {tensor.name for tensor in graph.initializer}
    for node in graph.node:  # in the order in which they run
        if all(name in fixed for name in node.input if name):
            fixed.update(node.output)
    return fixed


def _convolution(node: Any, given: Shape, weights: Shape, out: Shape) -> int:
    """Each output value is one product over (channels / groups, height, width) of the weights."""
    return math.prod(out) * math.prod(weights[1:])


def _transposed(node: Any, given: Shape, weights: Shape, out: Shape) -> int:
    """Each input value is spread over (channels / groups, height, width) of the weights."""
    return math.prod(given) * math.prod(weights[1:])


def _matmul(node: Any, given: Shape, weights: Shape, out: Shape) -> int:
    return math.prod(out) * given[-1]


def _gemm(node: Any, given: Shape, weights: Shape, out: Shape) -> int:
    across = any(one.name == "transA" and one.i for one in node.attribute)
    return math.prod(out) * given[0 if across else 1]


MACS = {"Conv": _convolution, "ConvTranspose": _transposed, "MatMul": _matmul, "Gemm": _gemm}
