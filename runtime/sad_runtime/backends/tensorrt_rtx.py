"""TensorRT-RTX on an NVIDIA GPU: the same runtime as tensorrt.py over another package, for the chips it is made for."""

from __future__ import annotations

from typing import ClassVar

from sad_runtime.backends.tensorrt import TensorRTBackend
from sad_runtime.engines.settings import EngineKind

CHIPS = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""Those in `tensorrt_rtx.ComputeCapability` of 1.7.1: desktop chips from Turing on, no Hopper, no Orin."""


class TensorRTRTXBackend(TensorRTBackend):
    """Asked for by name on another chip it is tried all the same; the package itself then says no."""

    name: ClassVar[EngineKind] = "tensorrt_rtx"

    @classmethod
    def runs_on(cls, compute_capability: str) -> bool:
        return compute_capability in CHIPS
