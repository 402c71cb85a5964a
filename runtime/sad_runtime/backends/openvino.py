"""OpenVINO on the CPU: the default where there is no NVIDIA GPU.

`openvino:OPTION,OPTION`: `latency` (default) gives all cores to one picture, `throughput` shares them among several
when several are given at once; `f32` (default) is the reference, `bf16` is faster on CPUs that have it and moves
scores; `pin` and `nopin` tie threads to cores, or not. INT8 files run in INT8 either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sad_runtime.backends.base import OUTPUTS, Backend, Outputs, check_graph, check_outputs, check_pictures
from sad_runtime.backends.engines import openvino_alone
from sad_runtime.errors import BackendError, MissingExtra, UsageError

OPTIONS: dict[str, tuple[str, str | bool]] = {
    "latency": ("PERFORMANCE_HINT", "LATENCY"),
    "throughput": ("PERFORMANCE_HINT", "THROUGHPUT"),
    "f32": ("INFERENCE_PRECISION_HINT", "f32"),
    "bf16": ("INFERENCE_PRECISION_HINT", "bf16"),
    "pin": ("ENABLE_CPU_PINNING", True),
    "nopin": ("ENABLE_CPU_PINNING", False),
}
"""OpenVINO's property and its value, by our word; words of one property exclude each other."""


class OpenVINOBackend(Backend):
    """Opened in f32: OpenVINO's own default on recent CPUs is bf16 (f16 on ARM), which moves scores by 0.6 %.

    No compiled model is kept on disk: of 0.05 to 0.3 s that compiling takes (EPYC, 2 cores) a cache gives back 0.03 to
    0.2 s, and would be a second copy of every model to check and clear away.
    """

    name = "openvino"
    _requests: Sequence[Any] = ()
    _ports: Sequence[Any] = ()
    _batch = 1

    @classmethod
    def bound_name(cls, option: str) -> str:
        words = openvino_settings(option)
        return f"{cls.name}:bf16" if words["INFERENCE_PRECISION_HINT"] == "bf16" else cls.name

    def open(self) -> None:
        settings = openvino_settings(self.option)
        try:
            openvino = openvino_alone()
        except ImportError:
            raise MissingExtra("openvino", "cpu", "the openvino backend") from None
        if self.threads:
            settings["INFERENCE_NUM_THREADS"] = self.threads
        try:
            core = openvino.Core()
            if settings["INFERENCE_PRECISION_HINT"] == "bf16":
                _check_bf16(core)
            model = core.read_model(self.model)
            inputs = {port.get_any_name(): _shape(port) for port in model.inputs}
            check_graph(self.name, self.spec, inputs, {name for port in model.outputs for name in port.get_names()})
            compiled = core.compile_model(model, "CPU", settings)
            count = int(compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS"))
            self._requests = [compiled.create_infer_request() for _ in range(count)]
            self._ports = [compiled.output(name) for name in OUTPUTS]
            self._batch = max(1, _shape(compiled.input(0))[0])
        except (RuntimeError, ValueError) as error:  # ValueError: names in a damaged file that are no UTF-8
            raise BackendError(f"openvino: cannot open this model ({_gist(error)})") from None

    def infer(self, pictures: NDArray[np.uint8]) -> Outputs:
        if not self._requests:
            raise BackendError("openvino: not open")
        check_pictures(pictures, self.spec, self.name)
        if not len(pictures) or len(pictures) % self._batch:
            raise BackendError(f"openvino: {len(pictures)} pictures given, this graph takes {self._batch} at a time")
        try:
            found = self._run(pictures)
        except RuntimeError as error:
            raise BackendError(f"openvino: inference failed: {error}") from None
        values = found[0] if len(found) == 1 else [np.concatenate(parts) for parts in zip(*found, strict=True)]
        return check_outputs(Outputs(*values), pictures, self.name)

    def _run(self, pictures: NDArray[np.uint8]) -> list[list[NDArray[np.float32]]]:
        """The outputs of every `batch` pictures, in order: request k takes turns k, k + n, k + 2n, ..."""
        turns = [pictures[first : first + self._batch] for first in range(0, len(pictures), self._batch)]
        found: list[list[NDArray[np.float32]]] = []
        try:
            for turn, several in enumerate(turns):
                if turn >= len(self._requests):
                    found.append(self._collected(len(found)))
                self._requests[turn % len(self._requests)].start_async([several], share_inputs=True)
            while len(found) < len(turns):
                found.append(self._collected(len(found)))
        finally:
            for request in self._requests[: len(turns)]:
                with suppress(RuntimeError):  # raised above; here none may go on reading pictures that are gone
                    request.wait()
        return found

    def _collected(self, turn: int) -> list[NDArray[np.float32]]:
        request = self._requests[turn % len(self._requests)]
        request.wait()
        return [np.array(request.get_tensor(port).data, np.float32) for port in self._ports]

    def close(self) -> None:
        self._requests = ()
        self._ports = ()


def openvino_settings(option: str) -> dict[str, Any]:
    """What follows `openvino:`, as OpenVINO's properties. Raises UsageError for words that are none of ours."""
    settings: dict[str, Any] = {}
    for word in option.split(",") if option else []:
        if word not in OPTIONS:
            raise UsageError(f"--backend openvino:{option}: no option '{word}'; there are {', '.join(OPTIONS)}")
        key, value = OPTIONS[word]
        if key in settings:
            others = " or ".join(name for name, (same, _) in OPTIONS.items() if same == key)
            raise UsageError(f"--backend openvino:{option}: {others}, and only once")
        settings[key] = value
    return {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"} | settings


def _check_bf16(core: Any) -> None:
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UsageError("--backend openvino:bf16: this CPU does not compute in bf16. Leave bf16 out")


def _gist(error: Exception) -> str:
    """The last line; those above name OpenVINO's own source files."""
    return str(error).strip().rpartition("\n")[2]


def _shape(port: Any) -> list[int]:
    """-1 where the graph leaves a size open, which ours never do."""
    return [size.get_length() if size.is_static else -1 for size in port.get_partial_shape()]
