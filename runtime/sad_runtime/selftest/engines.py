"""Each inference engine with a graph of a few nodes: does it load, and does it say what numpy says?

`tiny.onnx` has the contract of every model (DESIGN 4.1) at opset 17, so that TensorRT 8.5 takes it as well:
heatmap = 10 * mean over BGR / 255, score = its maximum, embedding = mean colour.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sad_runtime.backends.base import Backend
from sad_runtime.backends.engines import onnxruntime_alone, openvino_alone
from sad_runtime.backends.onnxruntime import ONNXRuntimeBackend
from sad_runtime.backends.openvino import OpenVINOBackend
from sad_runtime.backends.tensorrt import TensorRTBackend
from sad_runtime.backends.tensorrt_rtx import TensorRTRTXBackend
from sad_runtime.engines.api import tensorrt_module
from sad_runtime.engines.room import EngineRoom
from sad_runtime.engines.settings import EngineKind, EngineSettings
from sad_runtime.errors import BackendError, MissingExtra
from sad_runtime.manifest import InputSpec
from sad_runtime.selftest.gpu import gpu_here
from sad_runtime.selftest.line import Line, absent, bad, ok, warn

GRAPH = Path(__file__).with_name("tiny.onnx")
SPEC = InputSpec(height=32, width=32, channels=3)
TOLERANCE = 0.01
"""Of scores up to 10: halves and TF32 stay below it, another picture or another channel does not."""


def openvino_lines() -> list[Line]:
    try:
        package = openvino_alone()
    except ImportError as error:
        return [_not_there("openvino", "openvino", "cpu", error)]
    can = ", ".join(sorted(package.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")))
    version = package.__version__.partition("-")[0]
    return [_tried(OpenVINOBackend(GRAPH.read_bytes(), SPEC), f"{version}, CPU with {can}")]


def onnxruntime_lines() -> list[Line]:
    try:
        package = onnxruntime_alone()
    except ImportError as error:
        return [_not_there("onnxruntime", "onnxruntime", "export", error)]
    return [_tried(ONNXRuntimeBackend(GRAPH.read_bytes(), SPEC), package.__version__)]


def tensorrt_lines(kind: EngineKind, settings: dict[str, object]) -> list[Line]:
    """Builds the graph, then runs it where there is a GPU. Nothing goes into the station's cache."""
    try:
        version = tensorrt_module(kind).__version__
    except MissingExtra as error:
        return [absent(kind, "not installed", str(error))]
    wanted = EngineSettings.model_validate(settings)
    backend_kind = TensorRTBackend if kind == "tensorrt" else TensorRTRTXBackend
    gpu = gpu_here(wanted.device)
    if gpu.there and not backend_kind.runs_on(gpu.compute_capability):
        return [absent(kind, f"{version}, which is not made for {gpu}")]
    with tempfile.TemporaryDirectory() as folder:
        here = wanted.model_copy(update={"folder": folder, "int8_table": None, "dla_core": None})
        try:
            built_ms = _timed(lambda: EngineRoom(kind, Path(folder), here).engine(GRAPH.read_bytes()))
        except (BackendError, MissingExtra) as error:
            if gpu.there:
                return [bad(kind, f"{version}; {error}", "Nothing can be built with it on this box.")]
            return [absent(kind, f"{version}; no GPU, and it builds nothing without one", str(error))]
        text = f"{version}; a tiny network builds in {built_ms / 1e3:.1f} s"
        if not gpu.there:
            return [absent(kind, f"{text}; no GPU to run it on")]
        return [_tried(backend_kind(GRAPH.read_bytes(), SPEC, engines=here), text)]


def picture() -> NDArray[np.uint8]:
    """(1, 32, 32, 3) uint8: no two rows, columns or channels alike."""
    row, column, channel = np.indices(SPEC.shape)
    return np.asarray((row * 5 + column * 2 + channel * 16)[np.newaxis], np.uint8)


def _tried(backend: Backend, text: str) -> Line:
    given = picture()
    heatmap = 10 * given.astype(np.float32).mean(axis=3) / 255
    with backend:
        found = backend.infer(given)
    off = float(np.abs(found.heatmap - heatmap).max())
    if not off <= TOLERANCE:
        mend = "It computes wrong numbers on this box: do not inspect with it."
        return bad(backend.name, f"{text}; a tiny network is off by {off:.3g}", mend, off=off)
    return ok(backend.name, f"{text}; a tiny network is right to {off:.1g}", off=off)


def _not_there(about: str, package: str, extra: str, error: ImportError) -> Line:
    """Not installed, or installed and broken."""
    mend = f"Run: pip install 'sad-inspection[{extra}]'"
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        return absent(about, "not installed", mend)
    return warn(about, f"{version} is installed and cannot be imported ({error})", mend)


def _timed(work: Callable[[], object]) -> float:
    """Milliseconds."""
    begin = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - begin)
