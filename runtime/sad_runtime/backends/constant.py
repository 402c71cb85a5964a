"""The stand-in: says the same of every picture, at once. For line tests, soak runs and fault reports.

`constant` scores every picture 0; `constant:3.5` scores it 3.5; `constant:nan` shows what a broken engine does.
It never runs the model, so a station on it flags every decision `simulated`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sad_runtime.backends.base import Backend, Outputs
from sad_runtime.errors import UsageError

EMBEDDING_SIZE = 4


class ConstantBackend(Backend):
    name = "constant"

    def open(self) -> None:
        try:
            self._score = float(self.option or 0.0)
        except ValueError:
            raise UsageError(f"--backend constant:{self.option}: expected a number after the colon") from None

    def infer(self, pictures: NDArray[np.uint8]) -> Outputs:
        count, height, width = pictures.shape[:3]
        return Outputs(
            heatmap=np.full((count, height, width), self._score, np.float32),
            score=np.full(count, self._score, np.float32),
            embedding=np.zeros((count, EMBEDDING_SIZE), np.float32),
        )

    def close(self) -> None:
        """Nothing to give back."""
