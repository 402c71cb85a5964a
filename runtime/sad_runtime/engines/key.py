"""What an engine was built from, on what, with what: two engines with one key are interchangeable."""

from __future__ import annotations

import hashlib

from sad_runtime.engines.gpu import Gpu
from sad_runtime.engines.settings import EngineKind, EngineSettings
from sad_runtime.schema import Strict

BUILDER = 1
"""Counts up whenever build.py makes another engine of the same file, so that those built before are not taken."""


class EngineKey(Strict):
    """The shape is in the model, and so is the precision. A TensorRT-RTX engine that was built without a GPU runs on
    any that TensorRT-RTX knows; its key says no GPU, so a box with one builds its own."""

    model: str
    """SHA-256 of the ONNX file."""
    model_bytes: int
    kind: EngineKind
    version: str
    gpu: str
    compute_capability: str
    driver: int
    workspace_mb: int | None
    optimisation_level: int | None
    dla_core: int | None
    int8_table: str
    """SHA-256 of the calibration table, empty without one."""
    builder: int
    """The BUILDER of the sad that built it."""

    @property
    def name(self) -> str:
        """Of the file that keeps it."""
        whole = hashlib.sha256(self.model_dump_json().encode()).hexdigest()
        return f"{self.model[:12]}-{self.kind}-{whole[:20]}"

    @property
    def box(self) -> str:
        """TensorRT and GPU together: what a timing cache is good for."""
        text = f"{self.kind} {self.version} {self.gpu} {self.compute_capability} {self.driver}"
        return hashlib.sha256(text.encode()).hexdigest()[:20]


def key_of(
    kind: EngineKind, model: bytes, version: str, gpu: Gpu, settings: EngineSettings, int8_table: bytes = b""
) -> EngineKey:
    return EngineKey(
        model=hashlib.sha256(model).hexdigest(),
        model_bytes=len(model),
        kind=kind,
        version=version,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        driver=gpu.driver,
        workspace_mb=settings.workspace_mb,
        optimisation_level=settings.optimisation_level,
        dla_core=settings.dla_core,
        int8_table=hashlib.sha256(int8_table).hexdigest() if int8_table else "",
        builder=BUILDER,
    )
