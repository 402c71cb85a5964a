"""What the runtime and the process that builds an engine say to each other: one job, then lines of JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sad_runtime.engines.settings import EngineKind, EngineSettings
from sad_runtime.schema import Strict


@dataclass(frozen=True)
class Progress:
    """How far a build is, for whoever waits for it."""

    elapsed_s: float
    estimate_s: float | None
    """How long the whole build will take, by what earlier ones took on this box; None without an earlier one."""
    share: float | None
    """0 to 1 as TensorRT counts its steps, which take unequally long; None where it does not tell."""
    text: str


class Job(Strict):
    """An argument of the child. The numbers are file descriptors that it inherits."""

    kind: EngineKind
    settings: EngineSettings
    parent: int
    model: int
    engine: int
    timing: int
    int8_table: int
    lines: int


class Line(Strict):
    """Something to pass on: a step, a line for the log, or why there is no engine."""

    say: Literal["step", "log", "failed"]
    text: str
    share: float | None = None
    level: int = 0
