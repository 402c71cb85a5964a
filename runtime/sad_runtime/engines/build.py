"""Builds one engine from one ONNX file, in this process. By what the TensorRT at hand can do, not by its version.

Precision is in the file (FP16 casts, Q/DQ pairs), and a strongly typed network (TensorRT 10 and later, TensorRT-RTX)
keeps it. TensorRT 8.5 and 8.6 have none: there the flags FP16 and INT8 are set from what the network holds. The DLA
of TensorRT 10 wants it the old way too.

Who watches over the build, and in which process it runs, is told in child.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sad_runtime.backends.base import INPUT, OUTPUTS
from sad_runtime.engines.api import logger, memory_ran_out
from sad_runtime.engines.legacy_int8 import calibrator_of_table
from sad_runtime.engines.phases import Phases, monitor
from sad_runtime.engines.settings import EngineKind, EngineSettings
from sad_runtime.errors import BackendError

MAX_WHY = 300
"""The whole of what TensorRT says of a layer, with its own source files, is in the log."""


@dataclass(frozen=True)
class Built:
    engine: bytes
    timing: bytes
    """TensorRT's timing cache, for the next build; empty where it keeps none."""


@dataclass(frozen=True)
class Holds:
    """What the tensors of a network are."""

    half: bool
    quantised: bool


def engine_from_onnx(
    trt: Any,
    kind: EngineKind,
    onnx: bytes,
    settings: EngineSettings,
    *,
    timing: bytes = b"",
    int8_table: bytes = b"",
    watch: Callable[[float, str], None] | None = None,
) -> Built:
    """`watch(share, phase)` is called from TensorRT's threads where it tells its progress (8.6 and later).

    Raises BackendError with what TensorRT said, naming the op and the layer that it does not take.
    """
    log = logger(trt)
    try:
        builder = trt.Builder(log)
    except TypeError:  # what pybind11 makes of a nullptr
        raise BackendError(f"{kind}: no builder on this box ({log.text()}). Is there a GPU, and its driver?") from None
    calibrator = calibrator_of_table(trt, int8_table) if int8_table else None
    typed = _typed(trt, settings, calibrator)
    network = builder.create_network(_network_flags(trt, typed))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx):
        raise BackendError(_refusal(kind, parser, log.text()))
    _check_network(kind, network)
    config = builder.create_builder_config()
    _configure(trt, config, settings)
    if not typed:
        _set_precision(trt, config, _holds(trt, network), settings.dla_core is not None, calibrator)
    if settings.dla_core is not None:
        _use_dla(trt, builder, config, settings.dla_core)
    timings = _timing_cache(kind, config, timing)
    if watch is not None and hasattr(trt, "IProgressMonitor") and hasattr(config, "progress_monitor"):
        config.progress_monitor = monitor(trt, Phases(watch))
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BackendError(_failure(kind, log.text()))
    return Built(bytes(plan), bytes(timings.serialize()) if timings is not None else b"")


def _typed(trt: Any, settings: EngineSettings, calibrator: Any) -> bool:
    """False where precision has to be said by flags: where there are no typed networks, for the DLA, for a table."""
    has_flags = hasattr(trt.BuilderFlag, "FP16")
    old_way = has_flags and (settings.dla_core is not None or calibrator is not None)
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED") and not old_way


def _network_flags(trt: Any, typed: bool) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    bits = 0
    if hasattr(flags, "EXPLICIT_BATCH"):
        bits |= 1 << int(flags.EXPLICIT_BATCH)
    if typed and hasattr(flags, "STRONGLY_TYPED"):
        bits |= 1 << int(flags.STRONGLY_TYPED)
    return bits


def _configure(trt: Any, config: Any, settings: EngineSettings) -> None:
    if settings.workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mb << 20)
    if settings.optimisation_level is not None and hasattr(config, "builder_optimization_level"):
        config.builder_optimization_level = settings.optimisation_level


def _set_precision(trt: Any, config: Any, holds: Holds, dla: bool, calibrator: Any) -> None:
    """The flags of a weakly typed network. An INT8 file keeps what is not quantised in its own type."""
    int8 = holds.quantised or calibrator is not None
    if dla and not (holds.half or int8):
        raise BackendError(
            "the DLA computes in FP16 and INT8 only, and this is an fp32 file. Take --precision fp16 or int8, "
            "or leave engines.dla_core out"
        )
    if hasattr(trt.BuilderFlag, "FP16") and (holds.half or dla):
        config.set_flag(trt.BuilderFlag.FP16)
    if hasattr(trt.BuilderFlag, "INT8") and int8:
        config.set_flag(trt.BuilderFlag.INT8)
    if calibrator is not None and hasattr(config, "int8_calibrator"):
        config.int8_calibrator = calibrator


def _holds(trt: Any, network: Any) -> Holds:
    half = quantised = False
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        quantised |= layer.type in (trt.LayerType.QUANTIZE, trt.LayerType.DEQUANTIZE)
        for output in range(layer.num_outputs):
            tensor = layer.get_output(output)
            half |= tensor is not None and tensor.dtype == trt.float16
    return Holds(half, quantised)


def _use_dla(trt: Any, builder: Any, config: Any, core: int) -> None:
    """What the DLA does not take runs on the GPU."""
    if core >= builder.num_DLA_cores:
        raise BackendError(
            f"engines.dla_core {core}: TensorRT {trt.__version__} finds {builder.num_DLA_cores} DLA cores on this box. "
            "Leave engines.dla_core out"
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)


def _timing_cache(kind: EngineKind, config: Any, timing: bytes) -> Any:
    """None where there is none; TensorRT-RTX times nothing at build, and warns when it is asked."""
    if kind == "tensorrt_rtx" or not hasattr(config, "create_timing_cache"):
        return None
    timings = config.create_timing_cache(timing) or config.create_timing_cache(b"")
    return timings if timings is not None and config.set_timing_cache(timings, False) else None


def _check_network(kind: EngineKind, network: Any) -> None:
    """Refuses a graph that is not ours (DESIGN 4.1). An empty file parses, too."""
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index).name for index in range(network.num_outputs)]
    missing = [name for name in OUTPUTS if name not in outputs]
    if missing:
        raise BackendError(f"{kind}: the graph has no output {', '.join(missing)}; is it ours?")
    if [tensor.name for tensor in inputs] != [INPUT]:
        names = ", ".join(tensor.name for tensor in inputs) or "nothing"
        raise BackendError(f"{kind}: the graph takes {names}, not {INPUT}; is it ours?")
    tensor = inputs[0]
    shape = tuple(tensor.shape)
    if len(shape) != 4 or min(shape) < 1:
        raise BackendError(f"{kind}: the graph takes pictures of shape {shape}, expected a fixed (N, H, W, C)")


def _refusal(kind: EngineKind, parser: Any, said: str) -> str:
    """The parser's first error: op, layer, and why."""
    if not parser.num_errors:
        return f"{kind}: this model cannot be read: {said}"
    parser_error = parser.get_error(0)
    why = " ".join(parser_error.desc().split())
    if parser_error.node() < 0:
        return f"{kind}: this model cannot be read: {why}"
    op, layer = _op_and_layer(parser_error)
    why = said if why == "false" else why  # all that some of the parser's own checks say
    return f"{kind}: layer {layer} (op {op}) is not taken: {why[:MAX_WHY]}. Export this model without it"


def _op_and_layer(parser_error: Any) -> tuple[str, str]:
    """As the ONNX file names them; TensorRT 8.5 has only the layer's number."""
    number = f"number {parser_error.node()}"
    op = parser_error.node_operator() if hasattr(parser_error, "node_operator") else "unknown"
    name = parser_error.node_name() if hasattr(parser_error, "node_name") else ""
    return op, f"'{name}' ({number})" if name else number


def _failure(kind: EngineKind, said: str) -> str:
    if memory_ran_out(said):
        return (
            f"{kind}: memory ran out while the engine was built. Lower engines.workspace_mb (try 1024), close other "
            f"programs that use this GPU, and try again. TensorRT says: {said}"
        )
    return f"{kind}: no engine could be built of this model: {said}"
