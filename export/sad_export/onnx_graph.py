"""From the trained torch graph to one ONNX file with static shapes, in ops that TensorRT takes without a plugin."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings

import onnx
import torch

from sad_export.subpixel import without_transposed_convolutions
from sad_runtime.backends.base import OUTPUTS
from sad_runtime.errors import SadError
from sad_train.graph import InspectionGraph

OPSET = 20
ALLOWED = frozenset(
    {
        "Add",
        "AveragePool",
        "Cast",
        "Clip",
        "Concat",
        "Constant",
        "Conv",
        "DepthToSpace",
        "Div",
        "Gather",
        "Gemm",
        "Identity",
        "Log",
        "MatMul",
        "MaxPool",
        "Mul",
        "Pad",
        "ReduceMax",
        "ReduceMean",
        "Relu",
        "Reshape",
        "Resize",
        "Sigmoid",
        "Slice",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
    }
)
"""ONNX ops that the shipped graphs may hold; each one is in TensorRT's operator table."""


def onnx_from_graph(graph: InspectionGraph, *, batch: int = 1, opset: int = OPSET) -> bytes:
    """The ONNX file. Raises SadError naming any op that is not ALLOWED."""
    plain = without_transposed_convolutions(graph).eval()
    image = torch.zeros((batch, *graph.spec.shape), dtype=torch.uint8)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for chatty in ("torch.onnx", "onnxscript", "onnx_ir"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        program = torch.onnx.export(
            plain,
            (image,),
            opset_version=opset,
            input_names=["image"],
            output_names=list(OUTPUTS),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise SadError("torch exported no ONNX program")
    model = program.model_proto
    onnx.checker.check_model(model)
    strangers = sorted({node.op_type for node in model.graph.node} - ALLOWED)
    if strangers:
        named = [node.name for node in model.graph.node if node.op_type in strangers][:4]
        raise SadError(f"the graph holds {', '.join(strangers)} ({', '.join(named)}), which engines may not take")
    return bytes(model.SerializeToString())
