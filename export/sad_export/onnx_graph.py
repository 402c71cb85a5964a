"""From the trained torch graph to one ONNX file with static shapes, in ops that TensorRT takes without a plugin."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings

import onnx
import onnxscript  # noqa: F401  torch's exporter needs it, and says so only half-way through
import torch

from sad_export.coordinates import without_coordinates
from sad_export.enlarging import without_enlargements
from sad_export.opset17 import at_opset_17
from sad_export.subpixel import without_transposed_convolutions
from sad_runtime.backends.base import OUTPUTS
from sad_runtime.errors import SadError
from sad_train.graph import InspectionGraph

OPSET = 20
OLDEST_OF_TORCH = 18
"""Asked for an older opset, torch's exporter gives this one instead, with a warning only."""
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
        "Exp",
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
        "Sqrt",
        "Squeeze",
        "Sub",
        "Tanh",
        "Transpose",
        "Unsqueeze",
    }
)
"""ONNX ops that the shipped graphs may hold; each one is in TensorRT's operator table."""


def onnx_from_graph(graph: InspectionGraph, *, batch: int = 1, opset: int = OPSET) -> bytes:
    """The ONNX file, the same bytes for the same weights. Raises SadError naming any op that is not ALLOWED."""
    image = torch.zeros((batch, *graph.spec.shape), dtype=torch.uint8)
    plain = without_coordinates(without_transposed_convolutions(graph), image).eval()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for chatty in ("torch.onnx", "onnxscript", "onnx_ir"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        program = torch.onnx.export(
            plain,
            (image,),
            opset_version=max(opset, OLDEST_OF_TORCH),
            input_names=["image"],
            output_names=list(OUTPUTS),
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise SadError("torch exported no ONNX program")
    model = without_enlargements(_at_opset(_without_notes(program.model_proto), opset))
    onnx.checker.check_model(model, full_check=True)
    strangers = sorted({node.op_type for node in model.graph.node} - ALLOWED)
    if strangers:
        named = [node.name for node in model.graph.node if node.op_type in strangers][:4]
        raise SadError(f"the graph holds {', '.join(strangers)} ({', '.join(named)}), which engines may not take")
    return bytes(model.SerializeToString())


def _without_notes(model: onnx.ModelProto) -> onnx.ModelProto:
    """Torch notes source lines, with paths of the machine that exports, on every node; no engine reads them."""
    graph = model.graph
    for noted in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    return model


def _at_opset(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """`model` in the words of `opset`, in the oldest file format that has them."""
    if opset < OLDEST_OF_TORCH:
        model = at_opset_17(model)
    if (found := model.opset_import[0].version) != opset:
        raise SadError(f"torch exported opset {found}, not {opset}")
    model.ir_version = onnx.helper.find_min_ir_version_for(list(model.opset_import))
    return model
