"""The seam to inference engines: four verbs, opened by `with`. One kind a file; `table.py` lists them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sad_runtime.errors import BackendError
from sad_runtime.manifest import InputSpec

OUTPUTS = ("heatmap", "score", "embedding")


class Outputs(NamedTuple):
    """What the graph says of N pictures. The arrays belong to the caller."""

    heatmap: NDArray[np.float32]
    """(N, H, W): logits or distances, monotone, unclamped."""
    score: NDArray[np.float32]
    """(N,)"""
    embedding: NDArray[np.float32]
    """(N, K)"""


class Backend(ABC):
    """One model on one engine. Not thread-safe: the thread that opens it runs it."""

    name: ClassVar[str]

    def __init__(self, model: bytes, spec: InputSpec, *, threads: int = 0, option: str = "") -> None:
        """`model`: the ONNX file. `threads`: 0 leaves the choice to the engine. `option`: what follows `name:`."""
        self.model = model
        self.spec = spec
        self.threads = threads
        self.option = option

    @abstractmethod
    def open(self) -> None:
        """Loads the model. Raises BackendError, or MissingExtra when the engine is not installed."""

    @abstractmethod
    def infer(self, pictures: NDArray[np.uint8]) -> Outputs:
        """`pictures`: (N, H, W, C) uint8, as preprocess.py makes them. Raises BackendError."""

    @abstractmethod
    def close(self) -> None:
        """Gives the engine's memory back. May be called twice."""

    def warm_up(self, runs: int = 2) -> None:
        """Lets the engine allocate and pick kernels before the first part comes."""
        blank = np.zeros((1, *self.spec.shape), np.uint8)
        for _ in range(runs):
            self.infer(blank)

    def __enter__(self) -> Backend:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_outputs(outputs: Outputs, pictures: NDArray[np.uint8], backend: str) -> Outputs:
    """Refuses outputs that do not have the shapes of the graph contract (DESIGN 4.1)."""
    count, height, width = pictures.shape[:3]
    fits = (
        outputs.heatmap.shape == (count, height, width)
        and outputs.score.shape == (count,)
        and outputs.embedding.ndim == 2
    )
    if not fits:
        shapes = [array.shape for array in outputs]
        raise BackendError(f"{backend}: outputs {shapes} do not belong to {pictures.shape} pictures")
    return outputs
