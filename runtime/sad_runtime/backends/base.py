"""The seam to inference engines: four verbs, opened by `with`. One kind a file; `table.py` lists them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sad_runtime.engines.settings import EngineSettings
from sad_runtime.errors import BackendError, UsageError
from sad_runtime.manifest import InputSpec

INPUT = "image"
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

    def __init__(
        self,
        model: bytes,
        spec: InputSpec,
        *,
        threads: int = 0,
        option: str = "",
        engines: EngineSettings | None = None,
    ) -> None:
        """`model`: the ONNX file. `threads`: 0 leaves the choice to the engine. `option`: what follows `name:`.

        `engines`: for backends that build one for the box; None takes the defaults.
        """
        self.model = model
        self.spec = spec
        self.threads = threads
        self.option = option
        self.engines = engines

    def refuse_option(self) -> None:
        """For engines that take nothing after the colon."""
        if self.option:
            raise UsageError(f"--backend {self.name}:{self.option}: {self.name} takes nothing after its name")

    @classmethod
    def bound_name(cls, option: str) -> str:
        """What thresholds are bound to: the name, with those options that change scores. Raises UsageError."""
        return cls.name

    @abstractmethod
    def open(self) -> None:
        """Loads the model. Raises BackendError, or MissingExtra when the engine is not installed."""

    @abstractmethod
    def infer(self, pictures: NDArray[np.uint8]) -> Outputs:
        """`pictures`: (N, H, W, C) uint8, as preprocess.py makes them; N a multiple of the graph's batch, mostly 1.

        Raises BackendError, or DeviceLost when this process gets nothing more from the GPU.
        """

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


def check_graph(
    backend: str, spec: InputSpec, inputs: Mapping[str, Sequence[object]], outputs: Collection[str]
) -> None:
    """Refuses a graph that is not ours (DESIGN 4.1). `inputs`: shape by name, (N, H, W, C)."""
    missing = [name for name in OUTPUTS if name not in outputs]
    if missing:
        raise BackendError(f"{backend}: the graph has no output {', '.join(missing)}; is it ours?")
    if list(inputs) != [INPUT]:
        raise BackendError(f"{backend}: the graph takes {', '.join(inputs) or 'nothing'}, not {INPUT}; is it ours?")
    shape = tuple(inputs[INPUT])
    if shape[1:] != spec.shape:
        raise BackendError(f"{backend}: the graph takes pictures of shape {shape}, the manifest says {spec.shape}")


def check_pictures(pictures: NDArray[np.uint8], spec: InputSpec, backend: str) -> None:
    """Engines cast, broadcast or read past the end of what does not fit; nothing of the kind gets that far."""
    if pictures.dtype != np.uint8 or pictures.shape[1:] != spec.shape:
        raise BackendError(
            f"{backend}: pictures of {pictures.dtype} {pictures.shape}, expected uint8 (N, {spec.height}, "
            f"{spec.width}, {spec.channels})"
        )


def check_outputs(outputs: Outputs, pictures: NDArray[np.uint8], backend: str) -> Outputs:
    """Refuses outputs that do not have the shapes of the graph contract (DESIGN 4.1)."""
    count, height, width = pictures.shape[:3]
    fits = (
        outputs.heatmap.shape == (count, height, width)
        and outputs.score.shape == (count,)
        and outputs.embedding.ndim == 2
        and len(outputs.embedding) == count
    )
    if not fits:
        shapes = [array.shape for array in outputs]
        raise BackendError(f"{backend}: outputs {shapes} do not belong to {pictures.shape} pictures")
    return outputs
