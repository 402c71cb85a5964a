"""Runs a graph over calibration pictures and keeps a histogram or means of each tensor asked for, never the tensors.

ONNX Runtime gives the values out as extra outputs of the graph; what is an output it neither drops nor renames,
however much it optimises the rest.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sad_calibration.int8.histogram import Histogram
from sad_runtime.backends.base import INPUT
from sad_runtime.backends.engines import onnxruntime_alone
from sad_runtime.cli.progress import Progress
from sad_runtime.errors import BackendError, DataError, MissingExtra

WHY = "INT8 calibration"
EXTRA = "export"
LEARNT = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def observed(
    model: bytes,
    tensors: Sequence[str],
    pictures: Iterable[NDArray[np.uint8]],
    *,
    threads: int = 0,
    label: str = "INT8 calibration",
) -> dict[str, Histogram]:
    """A histogram of each of `tensors` over all `pictures`, each (H, W, C) uint8 at model size.

    `model`: the fp32 ONNX file, batch 1. `threads`: 0 leaves the choice to the engine. `label` names the progress,
    which is shown where `pictures` has a length. Memory does not grow with the number of pictures, which may come
    from a generator. Raises BackendError for a tensor that the graph has not, or that holds NaN; DataError for a
    picture that does not fit, or when there is none.
    """
    histograms = {name: Histogram(name) for name in tensors}
    shape = picture_shape(model)
    session = _session(_giving_out(model, list(histograms)), threads)
    number = 0
    for number, picture in enumerate(_with_progress(pictures, label), start=1):
        if picture.dtype != np.uint8 or picture.shape != shape:
            raise DataError(f"picture {number}: {picture.dtype} {picture.shape}, the model takes uint8 {shape}")
        try:
            for name, values in zip(histograms, _values(session, list(histograms), picture), strict=True):
                histograms[name].add(values)
        except BackendError as error:
            raise BackendError(f"picture {number}: {error}") from None
    if not number:
        raise DataError("there is no picture to calibrate INT8 with")
    return histograms


def channel_means(
    model: bytes, tensors: Sequence[str], pictures: Sequence[NDArray[np.uint8]]
) -> dict[str, NDArray[np.float64]]:
    """The mean of each channel (C,) of each of `tensors`, (N, C, H, W) as convolutions make them, over all `pictures`.

    `model`: an ONNX file of batch 1 and any precision. Raises BackendError for a tensor that it does not make,
    DataError without a picture.
    """
    if not pictures:
        raise DataError("there is no picture to take means of")
    session = _session(_giving_out(model, list(tensors)), 0, as_it_is=True)
    sums: dict[str, NDArray[np.float64]] = {}
    for picture in pictures:
        for name, values in zip(tensors, _values(session, list(tensors), picture), strict=True):
            sums[name] = sums.get(name, np.zeros(values.shape[1])) + values.mean(axis=(0, 2, 3), dtype=np.float64)
    return {name: total / len(pictures) for name, total in sums.items()}


def conv_inputs(model: bytes) -> list[str]:
    """The tensors that a Conv takes its data from, in graph order, each once: those that INT8 rounds."""
    graph = _parsed(model).graph
    constants = {tensor.name for tensor in graph.initializer}
    fed = [node.input[0] for node in graph.node if node.op_type == "Conv"]
    return [name for name in dict.fromkeys(fed) if name not in constants]


def picture_tensors(model: bytes) -> list[str]:
    """Float tensors that are the picture itself, cast and scaled: no Conv or matrix stands before them."""
    parsed = _parsed(model)
    learnt: set[str] = set()
    for node in parsed.graph.node:
        if node.op_type in LEARNT or learnt.intersection(node.input):
            learnt.update(node.output)
    return [name for name in all_tensors(model) if name not in learnt]


def all_tensors(model: bytes) -> list[str]:
    """Every float tensor that a node makes, in graph order; TensorRT's own calibration wants a range for each."""
    parsed = _parsed(model)
    types = _types(parsed)
    made = [name for node in parsed.graph.node if node.op_type != "Constant" for name in node.output]
    return [name for name in made if types.get(name) == _onnx().TensorProto.FLOAT]


def picture_shape(model: bytes) -> tuple[int, int, int]:
    """(H, W, C) of the graph's input. Raises BackendError for a graph that is not ours, or not of batch 1."""
    parsed = _parsed(model)
    inputs = {value.name: value.type.tensor_type for value in parsed.graph.input}
    if list(inputs) != [INPUT] or inputs[INPUT].elem_type != _onnx().TensorProto.UINT8:
        raise BackendError(f"{WHY}: the graph takes {', '.join(inputs) or 'nothing'}, not {INPUT} (uint8); is it ours?")
    sizes = tuple(axis.dim_value for axis in inputs[INPUT].shape.dim)
    if len(sizes) != 4 or sizes[0] != 1 or 0 in sizes:
        raise BackendError(f"{WHY}: the graph takes pictures of shape {sizes}; it wants the graph of batch 1")
    return sizes[1], sizes[2], sizes[3]


def _giving_out(model: bytes, tensors: list[str]) -> bytes:
    """The graph with `tensors` as its outputs, and no others."""
    parsed = _parsed(model)
    if not tensors:
        raise BackendError(f"{WHY}: the graph has no Conv, so there is nothing that INT8 would make faster")
    known = set(all_tensors(model))
    strangers = [name for name in tensors if name not in known]
    if strangers:
        raise BackendError(f"{WHY}: the graph makes no float tensor called {', '.join(strangers[:4])}")
    del parsed.graph.output[:]
    make = _onnx().helper.make_tensor_value_info
    parsed.graph.output.extend(make(name, _onnx().TensorProto.FLOAT, None) for name in tensors)
    return bytes(parsed.SerializeToString())


def _session(model: bytes, threads: int, *, as_it_is: bool = False) -> Any:
    """`as_it_is`: nothing fused; onnxruntime 1.24 loses outputs that lie between Q/DQ pairs it fuses."""
    try:
        onnxruntime = onnxruntime_alone()
    except ImportError:
        raise MissingExtra("onnxruntime", EXTRA, WHY) from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # the outputs leave it, so it would only grow
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if as_it_is:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if threads:
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001  its errors share no base class
        raise BackendError(f"{WHY}: onnxruntime cannot open this model: {error}") from None


def _values(session: Any, tensors: list[str], picture: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    try:
        values: list[NDArray[np.float32]] = session.run(tensors, {INPUT: picture[None]})
    except Exception as error:  # noqa: BLE001  its errors share no base class
        raise BackendError(f"{WHY}: inference failed: {error}") from None
    return values


def _with_progress(pictures: Iterable[NDArray[np.uint8]], label: str) -> Iterator[NDArray[np.uint8]]:
    progress = Progress(label, len(pictures)) if isinstance(pictures, Collection) else None
    for done, picture in enumerate(pictures, start=1):
        yield picture
        if progress is not None:
            progress.step(done)


def _types(parsed: Any) -> dict[str, int]:
    """Element types by tensor: as noted in the file, else as inferred, which takes four times the file's memory."""
    graph = parsed.graph
    noted = {value.name for value in (*graph.value_info, *graph.output)}
    if any(name not in noted for node in graph.node for name in node.output):
        graph = _onnx().shape_inference.infer_shapes(parsed).graph
    return {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)}


def _parsed(model: bytes) -> Any:
    onnx = _onnx()
    try:
        return onnx.load_from_string(model)
    except Exception as error:  # noqa: BLE001  protobuf's errors are not ours to name
        raise BackendError(f"{WHY}: not an ONNX file ({error})") from None


def _onnx() -> Any:
    try:
        onnx = importlib.import_module("onnx")
        importlib.import_module("onnx.shape_inference")
    except ImportError:
        raise MissingExtra("onnx", EXTRA, WHY) from None
    return onnx
