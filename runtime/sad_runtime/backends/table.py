"""The one table of backends, and how `auto` picks."""

from __future__ import annotations

import importlib.util

from sad_runtime.backends.base import Backend
from sad_runtime.backends.constant import ConstantBackend
from sad_runtime.backends.onnxruntime import ONNXRuntimeBackend
from sad_runtime.backends.openvino import OpenVINOBackend
from sad_runtime.backends.tensorrt import TensorRTBackend
from sad_runtime.backends.tensorrt_rtx import TensorRTRTXBackend
from sad_runtime.cuda.table import installed_memories
from sad_runtime.engines.api import EXTRAS, tensorrt_installed
from sad_runtime.engines.gpu import gpu_found
from sad_runtime.engines.settings import EngineSettings, for_option
from sad_runtime.errors import MissingExtra, SadError, UsageError
from sad_runtime.manifest import InputSpec

GPU_BACKENDS: tuple[type[TensorRTBackend], ...] = (TensorRTBackend, TensorRTRTXBackend)
CPU_BACKENDS: tuple[type[Backend], ...] = (OpenVINOBackend, ONNXRuntimeBackend, ConstantBackend)
BACKENDS: dict[str, type[Backend]] = {
    **{kind.name: kind for kind in GPU_BACKENDS},
    **{kind.name: kind for kind in CPU_BACKENDS},
}


def chosen_backend(name: str) -> tuple[str, str]:
    """What `name` (a row of the table, or `auto`) stands for here, and why, in words for the log."""
    kind, colon, option = name.partition(":")
    if kind != "auto":
        if kind not in BACKENDS:
            raise UsageError(f"--backend {name}: no such backend; there are auto, {', '.join(BACKENDS)}")
        if kind in [one.name for one in GPU_BACKENDS]:
            for_option(kind, option, EngineSettings())
        return name, "asked for"
    if colon:
        raise UsageError(f"--backend {name}: auto takes nothing after a colon; name the backend itself")
    on_gpu, why = gpu_backends()
    if on_gpu:
        return on_gpu[0], why
    if importlib.util.find_spec("openvino") is not None:
        return "openvino", f"{why}; OpenVINO is installed"
    if importlib.util.find_spec("onnxruntime") is not None:
        return "onnxruntime", f"{why}; OpenVINO is not installed, ONNX Runtime is"
    raise MissingExtra("openvino or onnxruntime", "cpu", "running a model")


def check_installed(name: str) -> None:
    """Raises MissingExtra where the package of the backend called `name` is not installed. Nothing is imported."""
    kind = chosen_backend(name)[0].partition(":")[0]
    extras = {"openvino": "cpu", "onnxruntime": "export"} | {str(one): extra for one, extra in EXTRAS.items()}
    if kind in extras and importlib.util.find_spec(kind) is None:
        raise MissingExtra(kind.replace("_", "-"), extras[kind], f"--backend {name}")


def installed_backends() -> list[str]:
    """The backends that can run models here, best first: their package is installed, and there is a GPU if need be."""
    on_cpu = [name for name in ("openvino", "onnxruntime") if importlib.util.find_spec(name) is not None]
    return [*gpu_backends()[0], *on_cpu]


def gpu_backends() -> tuple[list[str], str]:
    """Those that can run on the first GPU of this box, best first, and why, or why there are none, in words.

    Never raises, and looks for a GPU only where a TensorRT package is installed.
    """
    installed = [kind for kind in GPU_BACKENDS if tensorrt_installed(kind.name)]
    if not installed:
        return [], "no TensorRT is installed"
    packages = " and ".join(kind.name for kind in installed)
    if not installed_memories():
        return [], f"{packages} is installed, but neither pycuda nor cuda-bindings"
    try:
        gpu = gpu_found()
    except SadError as error:
        return [], f"{packages} is installed, but the GPU cannot be asked ({error})"
    if not gpu.there:
        return [], f"{packages} is installed, but there is no NVIDIA GPU here"
    fit: list[str] = [kind.name for kind in installed if kind.runs_on(gpu.compute_capability)]
    return fit, f"{fit[0]} is installed, for {gpu}" if fit else f"{packages} is not made for {gpu}"


def backend_for(
    name: str, model: bytes, spec: InputSpec, *, threads: int = 0, engines: EngineSettings | None = None
) -> Backend:
    """The unopened backend called `name`, as `chosen_backend` gives it."""
    kind, _, option = chosen_backend(name)[0].partition(":")
    return BACKENDS[kind](model, spec, threads=threads, option=option, engines=engines)


def bound_name(name: str) -> str:
    """What thresholds set on the backend called `name` are bound to: `openvino` for `openvino:throughput`."""
    kind, _, option = chosen_backend(name)[0].partition(":")
    return BACKENDS[kind].bound_name(option)
