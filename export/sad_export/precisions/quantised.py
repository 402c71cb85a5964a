"""INT8 as Q/DQ pairs in the one layout that TensorRT builds and OpenVINO runs fast.

Only what feeds a convolution is quantised: its input as a whole, its weights by output channel. Both are symmetric
(every zero point is 0), biases stay in float, weights are stored as int8. Pairs behind a convolution would come between
it and its ReLU, which costs accuracy and TensorRT's fusion; int32 biases and zero points other than 0 TensorRT refuses.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from sad_export.graph_edit import constants_of, rebuilt

LEVELS = 127
"""-128 is left out, so that a value and its opposite have opposite codes."""
FEWEST_CHANNELS = 3
"""Convolutions of fewer input channels stay in float: they cost little, and the enlargement of the heatmap is one."""
LEAST_SCALE = 2.0**-14
"""The smallest normal number of half precision, in which int8_fp16 files hold the same scales."""


def quantisable(model: ModelProto) -> list[NodeProto]:
    """The convolutions that have an INT8 form, in the order in which they run."""
    constants = constants_of(model)
    return [
        node
        for node in model.graph.node
        if node.op_type == "Conv"
        and node.input[1] in constants
        and constants[node.input[1]].shape[1] >= FEWEST_CHANNELS
    ]


def quantised(model: ModelProto, amplitudes: Mapping[str, float], layers: Collection[str]) -> ModelProto:
    """`model` (fp32) with the convolutions named in `layers` in INT8.

    `amplitudes`: for every tensor that feeds one of them, the absolute value that becomes 127.
    """
    pairs = _Pairs(constants_of(model))
    wanted = {node.name for node in quantisable(model)} & set(layers)
    for node in model.graph.node:
        if node.name not in wanted:
            pairs.nodes.append(node)
            continue
        data, weights, *bias = node.input
        inputs = [pairs.data(data, amplitudes[data]), pairs.weights(weights), *bias]
        quantised_node = helper.make_node("Conv", inputs, list(node.output), name=node.name)
        quantised_node.attribute.extend(node.attribute)
        pairs.nodes.append(quantised_node)
    added = [numpy_helper.from_array(values, name) for name, values in pairs.added.items()]
    return rebuilt(model, pairs.nodes, added)


def int8_weights(weights: NDArray[np.generic]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(out, ...) -> codes of the same shape and scales (out,)."""
    values = weights.astype(np.float64)
    scales = scale_for(np.abs(values).reshape(len(values), -1).max(axis=1))
    codes = np.rint(values / scales.reshape(-1, *(1,) * (values.ndim - 1)))
    return np.clip(codes, -LEVELS, LEVELS).astype(np.int8), scales


def scale_for(amplitude: NDArray[np.float64] | float) -> NDArray[np.float32]:
    """The step between two codes, never too small for `amplitude`; half precision holds it exactly where it can."""
    wanted = np.maximum(np.asarray(amplitude, np.float64) / LEVELS, LEAST_SCALE)
    with np.errstate(over="ignore"):
        half = wanted.astype(np.float16)
    half = np.where(half < wanted, np.nextafter(half, np.float16(np.inf)), half)
    return np.where(np.isfinite(half), half, wanted).astype(np.float32)


class _Pairs:
    """The nodes written so far. A tensor that feeds several convolutions is quantised once."""

    def __init__(self, constants: Mapping[str, NDArray[np.generic]]) -> None:
        self.nodes: list[NodeProto] = []
        self.added: dict[str, NDArray[np.generic]] = {}
        self._constants = constants
        self._done: set[str] = set()

    def data(self, name: str, amplitude: float) -> str:
        result, scale, zero = f"{name}_dq", f"{name}_scale", f"{name}_zero"
        if name not in self._done:
            self._done.add(name)
            self.added[scale] = scale_for(amplitude)
            self.added[zero] = np.array(0, np.int8)
            self._node("QuantizeLinear", [name, scale, zero], f"{name}_q")
            self._node("DequantizeLinear", [f"{name}_q", scale, zero], result)
        return result

    def weights(self, name: str) -> str:
        result, scale, zero = f"{name}_dq", f"{name}_scale", f"{name}_zero"
        if name not in self._done:
            self._done.add(name)
            codes, scales = int8_weights(self._constants[name])
            self.added |= {f"{name}_q": codes, scale: scales, zero: np.zeros(len(scales), np.int8)}
            self._node("DequantizeLinear", [f"{name}_q", scale, zero], result)
            self.nodes[-1].attribute.append(helper.make_attribute("axis", 0))
        return result

    def _node(self, kind: str, inputs: list[str], output: str) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"{output}_{kind}"))
