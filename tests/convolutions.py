"""A small graph with the input and outputs of a shipped one and all that engines like to fuse, made without torch.

For tests of INT8, whose ranges belong to the tensors between its Convs.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

SIZE_PX = 32
SHAPE = (SIZE_PX, SIZE_PX, 3)
Pictures = list[NDArray[np.uint8]]


def convolving_onnx(
    *, channels: int = 8, gain: float = 1.0, spoil: bool = False, dead: bool = False, batch: int = 1
) -> bytes:
    """Conv, batch norm, Relu, two Convs off one tensor, Add, Resize, Conv: all that optimisers like to fuse.

    `gain` scales the first Conv; `spoil` puts the root of negative numbers before the last one; `dead`: nothing
    passes the Relu.
    """
    rng = np.random.default_rng(7)
    weight = {
        name: (rng.standard_normal((channels, given, 3, 3)) / 5).astype(np.float32)
        for name, given in (("w0", 3), ("w1", channels), ("w2", channels), ("w3", channels))
    }
    weight["w0"] *= np.float32(gain)
    constants = {
        **weight,
        "k": np.full((1, 3, 1, 1), 1 / 64, np.float32),
        "o": np.full((1, 3, 1, 1), -2, np.float32),
        "one": np.ones(channels, np.float32),
        "some": np.linspace(-1, 1, channels).astype(np.float32),
        "low": np.full(channels, -99 if dead else 0.1, np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "axis1": np.array([1], np.int64),
        "axes": np.array([2, 3], np.int64),
        "axes12": np.array([1, 2], np.int64),
    }
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Transpose", ["image"], ["nchw"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["nchw"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "k"], ["scaled"]),
        helper.make_node("Add", ["scaled", "o"], ["normalised"]),
        helper.make_node("Conv", ["normalised", "w0"], ["conv0"], strides=[2, 2], **pads),
        helper.make_node("BatchNormalization", ["conv0", "one", "low", "some", "one"], ["norm0"]),
        helper.make_node("Relu", ["norm0"], ["relu0"]),
        helper.make_node("Conv", ["relu0", "w1"], ["conv1"], **pads),
        helper.make_node("Conv", ["relu0", "w2"], ["conv2"], **pads),
        helper.make_node("Sqrt" if spoil else "Identity", ["conv2"], ["same2"]),
        helper.make_node("Add", ["conv1", "same2"], ["sum"]),
        helper.make_node("Resize", ["sum", "", "scales"], ["large"], mode="nearest"),
        helper.make_node("Conv", ["large", "w3"], ["conv3"], **pads),
        helper.make_node("ReduceMax", ["conv3", "axis1"], ["heatmap"], keepdims=0),
        helper.make_node("ReduceMax", ["heatmap", "axes12"], ["score"], keepdims=0),
        helper.make_node("ReduceMean", ["relu0", "axes"], ["embedding"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "convolving",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, *SHAPE])],
        [
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, [batch, SIZE_PX, SIZE_PX]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, [batch]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, channels]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def pictures(count: int, *, low: int = 60, high: int = 190, seed: int = 0) -> Pictures:
    rng = np.random.default_rng(seed)
    return [rng.integers(low, high, SHAPE).astype(np.uint8) for _ in range(count)]
