"""The one table of backends, and how `auto` picks."""

from __future__ import annotations

import importlib.util

from sad_runtime.backends.base import Backend
from sad_runtime.backends.constant import ConstantBackend
from sad_runtime.backends.onnxruntime import ONNXRuntimeBackend
from sad_runtime.backends.openvino import OpenVINOBackend
from sad_runtime.errors import MissingExtra, UsageError
from sad_runtime.manifest import InputSpec

BACKENDS: dict[str, type[Backend]] = {
    kind.name: kind for kind in (OpenVINOBackend, ONNXRuntimeBackend, ConstantBackend)
}


def chosen_backend(name: str) -> tuple[str, str]:
    """What `name` (a row of the table, or `auto`) stands for here, and why, in words for the log."""
    kind = name.partition(":")[0]
    if kind != "auto":
        if kind not in BACKENDS:
            raise UsageError(f"--backend {name}: no such backend; there are auto, {', '.join(BACKENDS)}")
        return name, "asked for"
    if importlib.util.find_spec("openvino") is not None:
        return "openvino", "no TensorRT in this version; OpenVINO is installed"
    if importlib.util.find_spec("onnxruntime") is not None:
        return "onnxruntime", "OpenVINO is not installed; ONNX Runtime is"
    raise MissingExtra("openvino or onnxruntime", "cpu", "running a model")


def installed_backends() -> list[str]:
    """The backends that run models and whose package is installed here, best first."""
    return [name for name in ("openvino", "onnxruntime") if importlib.util.find_spec(name) is not None]


def backend_for(name: str, model: bytes, spec: InputSpec, *, threads: int = 0) -> Backend:
    """The unopened backend called `name`, as `chosen_backend` gives it."""
    kind, _, option = chosen_backend(name)[0].partition(":")
    return BACKENDS[kind](model, spec, threads=threads, option=option)
