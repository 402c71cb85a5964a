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
    _batch: int | None = None
    """Pictures that the graph takes at a time; None takes any number."""

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
        batch = inputs[INPUT][0]
        self._batch = batch if isinstance(batch, int) and batch > 0 else None
        self._session = session

    def infer(self, pictures: NDArray[np.uint8]) -> Outputs:
        if self._session is None:
            raise BackendError("onnxruntime: not open")
        check_pictures(pictures, self.spec, self.name)
        batch = self._batch or len(pictures)
        if not len(pictures) or len(pictures) % batch:
            raise BackendError(f"onnxruntime: {len(pictures)} pictures given, this graph takes {batch} at a time")
        try:
            found = [
                self._session.run(list(OUTPUTS), {INPUT: pictures[first : first + batch]})
                for first in range(0, len(pictures), batch)
            ]
        except Exception as error:  # noqa: BLE001  its errors share no base class
            raise BackendError(f"onnxruntime: inference failed: {error}") from None
        values = found[0] if len(found) == 1 else [np.concatenate(parts) for parts in zip(*found, strict=True)]
        return check_outputs(Outputs(*values), pictures, self.name)

    def close(self) -> None:
        self._session = None
