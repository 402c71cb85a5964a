"""A small real bundle, made without torch: an ONNX graph whose heatmap is how far a pixel's grey is from 0.5.

For tests of everything that reads bundles. `tests/conftest.py` offers it as the fixture `tiny_bundle`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sad_runtime.bundle import sha256_hex, write_bundle
from sad_runtime.manifest import DecisionPolicy, Golden, InputSpec, Manifest, Precision, Training
from sad_runtime.pictures import encode_png

SIZE_PX = 64
SPEC = InputSpec(height=SIZE_PX, width=SIZE_PX, channels=3)
THRESHOLD = 4.0
GAIN = 10.0


def tiny_onnx(gain: float = GAIN, side_px: int = SIZE_PX) -> bytes:
    """heatmap = gain * |mean over BGR / 255 - 0.5|, score = its maximum, embedding = mean colour."""
    nodes = [
        helper.make_node("Cast", ["image"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["x", "k255"], ["unit"]),
        helper.make_node("ReduceMean", ["unit", "axis3"], ["grey"], keepdims=0),
        helper.make_node("Sub", ["grey", "half"], ["centred"]),
        helper.make_node("Abs", ["centred"], ["distance"]),
        helper.make_node("Mul", ["distance", "ten"], ["heatmap"]),
        helper.make_node("ReduceMax", ["heatmap", "axes12"], ["score"], keepdims=0),
        helper.make_node("ReduceMean", ["unit", "axes12"], ["embedding"], keepdims=0),
    ]
    constants = {
        "k255": np.float32(255),
        "half": np.float32(0.5),
        "ten": np.float32(gain),
        "axis3": np.array([3], np.int64),
        "axes12": np.array([1, 2], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, side_px, side_px, 3])],
        [
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, [1, side_px, side_px]),
            helper.make_tensor_value_info("score", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 3]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def good_picture(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(108, 148, (SIZE_PX, SIZE_PX, 3)).astype(np.uint8)


def bad_picture(seed: int = 0) -> np.ndarray:
    picture = good_picture(seed)
    picture[20:30, 24:40] = 255
    return picture


def write_tiny_bundle(path: Path, gain: float = GAIN) -> Path:
    """With another `gain` it is another version: its scores and thresholds are so many times as high."""
    model = tiny_onnx(gain)
    threshold, scale = THRESHOLD * gain / GAIN, gain / GAIN
    goods = [good_picture(seed) for seed in range(9)]
    manifest = Manifest(
        part="tiny",
        method="tiny",
        created="2026-01-01T00:00:00+00:00",
        input=SPEC,
        precisions={
            "fp32": Precision(
                file="model/fp32.onnx",
                sha256=sha256_hex(model),
                score_threshold=threshold,
                pixel_threshold=threshold,
                heatmap_low=0.5,
            )
        },
        decision=DecisionPolicy(target_false_reject=None, guaranteed_false_reject=0.1, method="split-conformal", n=9),
        golden=[
            Golden(file="golden/good.png", score={"fp32": scale * _score(goods[0])}, verdict={"fp32": "PASS"}),
            Golden(file="golden/bad.png", score={"fp32": scale * 5.0}, verdict={"fp32": "FAIL"}),
        ],
        training=Training(method="tiny", preset="none", seed=0, data_digest="0" * 64, pictures=9, versions={}),
    )
    files = {
        "model/fp32.onnx": model,
        "golden/good.png": encode_png(goods[0]),
        "golden/bad.png": encode_png(bad_picture()),
    }
    files |= {f"calibration/{index:04}.png": encode_png(good) for index, good in enumerate(goods)}
    write_bundle(path, manifest, files)
    return path


def _score(picture: np.ndarray) -> float:
    return float(10 * np.abs(picture.astype(np.float32).mean(axis=2) / 255 - 0.5).max())
