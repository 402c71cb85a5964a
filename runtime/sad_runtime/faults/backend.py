"""Stages a model's faults on any backend."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import NDArray

from sad_runtime.backends.base import Backend, Outputs
from sad_runtime.errors import BackendError, DeviceLost
from sad_runtime.faults.schedule import Schedule

SLOW_S = 1.5


class FaultyBackend(Backend):
    name = "staged"

    def __init__(self, backend: Backend, faults: Schedule) -> None:
        super().__init__(backend.model, backend.spec, threads=backend.threads, option=backend.option)
        self._backend, self._faults = backend, faults

    def open(self) -> None:
        self._backend.open()

    def infer(self, pictures: NDArray[np.uint8]) -> Outputs:
        if self._faults.active("gpu-lost"):
            raise DeviceLost(f"{self.name}: staged: the GPU is gone")
        if self._faults.active("crash"):
            raise BackendError(f"{self.name}: staged: inference failed")
        if self._faults.active("slow"):
            time.sleep(SLOW_S)
        outputs = self._backend.infer(pictures)
        if self._faults.active("nan"):
            return outputs._replace(score=np.full_like(outputs.score, np.nan))
        return outputs

    def close(self) -> None:
        self._backend.close()
