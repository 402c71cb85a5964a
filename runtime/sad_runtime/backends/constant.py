"""The stand-in: says the same of every picture, at once. For line tests, soak runs and fault reports.

`constant` scores every picture 0; `constant:3.5` scores it 3.5; `constant:nan` shows what a broken engine does.
It never runs the model, so a station on it flags every decision `simulated`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sad_runtime.backends.base import Backend, Outputs, check_pictures
from sad_runtime.errors import BackendError, UsageError

EMBEDDING_SIZE = 4


class ConstantBackend(Backend):
    name = "constant"
    _score: float | None = None

    def open(self) -> None:
        try:
            self._score = float(self.option or 0.0)
        except ValueError:
            raise UsageError(f"--backend constant:{self.option}: expected a number after the colon") from None

    def infer(self, pictures: NDArray[np.uint8]) -> Outputs:
        if self._score is None:
            raise BackendError("constant: not open")
        check_pictures(pictures, self.spec, self.name)
        count, height, width = pictures.shape[:3]
        return Outputs(
            heatmap=np.full((count, height, width), self._score, np.float32),
            score=np.full(count, self._score, np.float32),
            embedding=np.zeros((count, EMBEDDING_SIZE), np.float32),
        )

    def close(self) -> None:
        self._score = None
