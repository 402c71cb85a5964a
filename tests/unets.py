"""A small U-shaped graph with the input and outputs of a shipped one, every node named, made without torch.

For tests of what export does to graphs: quantising, halving, splitting, enlarging.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

SIDE = 32
Values = dict[str, NDArray[np.float32]]


def unet(*, channels: int = 8, seed: int = 7) -> ModelProto:
    """Stem (stride 2), down (stride 2), doubled and joined with the skip, a map of one channel enlarged four times...

    ... whose root of squares is taken, as distances do it. Convolutions: stem, down, join, head.
    """
    rng = np.random.default_rng(seed)

    def weights(out: int, given: int) -> NDArray[np.float32]:
        return (rng.standard_normal((out, given, 3, 3)) / np.sqrt(4.5 * given)).astype(np.float32)

    constants: dict[str, NDArray[np.generic]] = {
        "w_stem": weights(channels, 3),
        "w_down": weights(channels, channels),
        "w_join": weights(channels, 2 * channels),
        "w_head": weights(1, channels),
        "b_stem": rng.standard_normal(channels).astype(np.float32) / 10,
        "b_join": rng.standard_normal(channels).astype(np.float32) / 10,
        "scale": np.full((1, 3, 1, 1), 1 / 64, np.float32),
        "shift": np.full((1, 3, 1, 1), -2, np.float32),
        "tiny": np.float32(1e-9),
        "twice": np.array([1, 1, 2, 2], np.float32),
        "axis1": np.array([1], np.int64),
        "axes12": np.array([1, 2], np.int64),
        "axes23": np.array([2, 3], np.int64),
    }
    nodes = [
        _node("Cast", "cast", ["image"], "float", to=TensorProto.FLOAT),
        _node("Transpose", "transpose", ["float"], "planes", perm=[0, 3, 1, 2]),
        _node("Mul", "mul", ["planes", "scale"], "scaled"),
        _node("Add", "add", ["scaled", "shift"], "normalised"),
        _node("Conv", "stem", ["normalised", "w_stem", "b_stem"], "stem_out", strides=[2, 2], pads=[1, 1, 1, 1]),
        _node("Relu", "relu_a", ["stem_out"], "a"),
        _node("Conv", "down", ["a", "w_down"], "down_out", strides=[2, 2], pads=[1, 1, 1, 1]),
        _node("Relu", "relu_b", ["down_out"], "b"),
        _node("Resize", "double", ["b", "", "twice"], "b_large", mode="linear"),
        _node("Concat", "concat", ["b_large", "a"], "joined", axis=1),
        _node("Conv", "join", ["joined", "w_join", "b_join"], "join_out", pads=[1, 1, 1, 1]),
        _node("Relu", "relu_c", ["join_out"], "c"),
        _node("Conv", "head", ["c", "w_head"], "small", pads=[1, 1, 1, 1]),
        _node("Mul", "square", ["small", "small"], "squares"),
        _node("Add", "above_zero", ["squares", "tiny"], "positive"),
        _node("Sqrt", "root", ["positive"], "distance"),
        _node("Resize", "enlarge", ["distance", "", "twice"], "large", mode="linear"),
        _node("Squeeze", "squeeze", ["large", "axis1"], "heatmap"),
        _node("ReduceMax", "peak", ["heatmap", "axes12"], "score", keepdims=0),
        _node("ReduceMean", "pool", ["b", "axes23"], "embedding", keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "unet",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, SIDE, SIDE, 3])],
        [
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, [1, SIDE, SIDE]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, channels]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


def picture(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (1, SIDE, SIDE, 3)).astype(np.uint8)


def ran(model: ModelProto, image: NDArray[np.uint8], *more: str) -> Values:
    """Heatmap, score, embedding and the named tensors, by ONNX Runtime with nothing optimised away."""
    shown = ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in more)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = ["heatmap", "score", "embedding", *more]
    return dict(zip(names, session.run(names, {"image": image}), strict=True))


def amplitudes(model: ModelProto, *names: str) -> dict[str, float]:
    """Of the named tensors, over three pictures."""
    seen = [ran(model, picture(seed), *names) for seed in range(3)]
    return {name: max(float(np.abs(values[name]).max()) for values in seen) for name in names}


def node_named(model: ModelProto, name: str) -> NodeProto:
    return next(node for node in model.graph.node if node.name == name)


def _node(kind: str, name: str, inputs: list[str], output: str, **options: object) -> NodeProto:
    return helper.make_node(kind, inputs, [output], name=name, **options)  # type: ignore[arg-type]
