"""OpenVINO on the CPU: the default where there is no NVIDIA GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sad_runtime.backends.base import OUTPUTS, Backend, Outputs, check_graph, check_outputs, check_pictures
from sad_runtime.backends.engines import openvino_alone
from sad_runtime.errors import BackendError, MissingExtra


class OpenVINOBackend(Backend):
    """Opened in f32: OpenVINO's own default on recent CPUs is bf16, which moves scores by 0.6 %."""

    name = "openvino"
    _request: Any = None
    _ports: Sequence[Any] = ()

    def open(self) -> None:
        self.refuse_option()
        try:
            openvino = openvino_alone()
        except ImportError:
            raise MissingExtra("openvino", "cpu", "the openvino backend") from None
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if self.threads:
            settings["INFERENCE_NUM_THREADS"] = self.threads
        try:
            core = openvino.Core()
            model = core.read_model(self.model)
            inputs = {port.get_any_name(): _shape(port) for port in model.inputs}
            check_graph(self.name, self.spec, inputs, {name for port in model.outputs for name in port.get_names()})
            compiled = core.compile_model(model, "CPU", settings)
            self._request = compiled.create_infer_request()
            self._ports = [compiled.output(name) for name in OUTPUTS]
        except (RuntimeError, ValueError) as error:  # ValueError: names in a damaged file that are no UTF-8
            raise BackendError(f"openvino: cannot open this model ({_gist(error)})") from None

    def infer(self, pictures: NDArray[np.uint8]) -> Outputs:
        if self._request is None:
            raise BackendError("openvino: not open")
        check_pictures(pictures, self.spec, self.name)
        try:
            self._request.infer([pictures], share_inputs=True)
            values = [np.array(self._request.get_tensor(port).data, np.float32) for port in self._ports]
        except RuntimeError as error:
            raise BackendError(f"openvino: inference failed: {error}") from None
        return check_outputs(Outputs(*values), pictures, self.name)

    def close(self) -> None:
        self._request = None
        self._ports = ()


def _gist(error: Exception) -> str:
    """The last line; those above name OpenVINO's own source files."""
    return str(error).strip().rpartition("\n")[2]


def _shape(port: Any) -> list[int]:
    """-1 where the graph leaves a size open, which ours never do."""
    return [size.get_length() if size.is_static else -1 for size in port.get_partial_shape()]
