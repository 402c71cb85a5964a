"""ONNX Runtime on the CPU: the reference every other engine is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sad_runtime.backends.base import INPUT, OUTPUTS, Backend, Outputs, check_graph, check_outputs, check_pictures
from sad_runtime.backends.engines import onnxruntime_alone
from sad_runtime.errors import BackendError, MissingExtra


class ONNXRuntimeBackend(Backend):
    name = "onnxruntime"
    _session: Any = None

    def open(self) -> None:
        self.refuse_option()
        try:
            onnxruntime = onnxruntime_alone()
        except ImportError:
            raise MissingExtra("onnxruntime", "export", "the onnxruntime backend") from None
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self.threads:
            options.intra_op_num_threads = self.threads
        try:
            session = onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001  its errors share no base class
            raise BackendError(f"onnxruntime: cannot open this model: {error}") from None
        inputs = {item.name: item.shape for item in session.get_inputs()}
        check_graph(self.name, self.spec, inputs, [output.name for output in session.get_outputs()])
        self._session = session

    def infer(self, pictures: NDArray[np.uint8]) -> Outputs:
        if self._session is None:
            raise BackendError("onnxruntime: not open")
        check_pictures(pictures, self.spec, self.name)
        try:
            values = self._session.run(list(OUTPUTS), {INPUT: pictures})
        except Exception as error:  # noqa: BLE001  its errors share no base class
            raise BackendError(f"onnxruntime: inference failed: {error}") from None
        return check_outputs(Outputs(*values), pictures, self.name)

    def close(self) -> None:
        self._session = None
