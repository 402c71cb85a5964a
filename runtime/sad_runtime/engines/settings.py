"""How TensorRT engines are built, kept and run on this box: the `engines` section of a station file."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sad_runtime.errors import UsageError
from sad_runtime.schema import Strict

EngineKind = Literal["tensorrt", "tensorrt_rtx"]
LAST_GPU = 63


class EngineSettings(Strict):
    folder: str | None = None
    """None: STATE/engines."""
    max_mb: int = Field(default=4000, ge=1)
    device: int = Field(default=0, ge=0, le=LAST_GPU)
    workspace_mb: int | None = Field(default=None, ge=1)
    """None: what TensorRT takes, which is all of the GPU's memory."""
    optimisation_level: int | None = Field(default=None, ge=0, le=5)
    """None: TensorRT's own (3)."""
    dla_core: int | None = Field(default=None, ge=0, le=7)
    int8_table: str | None = None
    """A TensorRT calibration table, for INT8 from an fp32 file on TensorRT 8 and 10 (legacy_int8.py)."""
    build_limit_s: int = Field(default=7200, ge=1)
    """A build that takes longer hangs, and is ended."""
    memory: Literal["auto", "pycuda", "cuda-bindings"] = "auto"
    graphs: bool = True
    in_flight: int = Field(default=2, ge=1, le=8)
    """Inferences under way at once when several pictures are given together."""


def for_option(kind: str, option: str, settings: EngineSettings) -> EngineSettings:
    """What `tensorrt:1` stands for: the second GPU, before `engines.device`. Raises UsageError."""
    if not option:
        return settings
    if not (option.isascii() and option.isdigit() and len(option) <= 2 and int(option) <= LAST_GPU):
        raise UsageError(
            f"--backend {kind}:{option[:40]}: expected the number of a GPU after the colon, 0 to {LAST_GPU}"
        )
    return settings.model_copy(update={"device": int(option)})
