"""What an engine needs to run on this box: TensorRT's module, memory on the GPU, and where engines come from.

Put together here from what is installed, checked before anything is built, and handed to `tensorrt.py`, so that the
tests can hand in a stand-in.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sad_runtime.cuda.base import Memory
from sad_runtime.cuda.table import chosen_memory, memory_for
from sad_runtime.engines.api import tensorrt_module
from sad_runtime.engines.gpu import gpu_found
from sad_runtime.engines.job import Progress
from sad_runtime.engines.room import EngineRoom
from sad_runtime.engines.settings import EngineKind, EngineSettings
from sad_runtime.errors import BackendError
from sad_runtime.station.state_folder import default_state_root

log = logging.getLogger("sad.tensorrt")
TOLD_EVERY_S = 10.0


class Engines(Protocol):
    """Where engines come from: engines/room.py."""

    def cached(self, model: bytes) -> bytes | None: ...

    def engine(self, model: bytes, tell: Callable[[Progress], None] | None = None) -> bytes: ...

    def forget(self, model: bytes) -> None: ...


@dataclass(frozen=True)
class Driver:
    """`trt`: the module tensorrt or tensorrt_rtx. `memory` is not opened yet."""

    trt: Any
    memory: Memory
    engines: Engines


def installed_driver(kind: EngineKind, settings: EngineSettings) -> Driver:
    """Raises MissingExtra for what is not installed, BackendError without a GPU, UsageError without this GPU."""
    trt = tensorrt_module(kind)
    name, why = chosen_memory(settings.memory, graphs=settings.graphs)
    gpu = gpu_found(settings.device)
    if not gpu.there:
        raise BackendError(
            f"{kind}: no NVIDIA GPU, or no driver for it, on this box. See what nvidia-smi says; "
            "--backend openvino runs on the CPU"
        )
    log.info("%s on %s, memory by %s (%s)", kind, gpu, name, why)
    folder = Path(settings.folder).expanduser() if settings.folder else default_state_root() / "engines"
    return Driver(trt, memory_for(name, settings.device), EngineRoom(kind, folder, settings))


def telling(backend: str) -> Callable[[Progress], None]:
    """Logs how far a build is, every ten seconds: it may take many minutes, and nobody is to think that it hangs."""
    due_s = time.monotonic() + TOLD_EVERY_S

    def tell(progress: Progress) -> None:
        nonlocal due_s
        if time.monotonic() < due_s:
            return
        due_s = time.monotonic() + TOLD_EVERY_S
        about = f" of about {progress.estimate_s:.0f} s" if progress.estimate_s else ""
        log.info("%s: %s, %.0f s%s", backend, progress.text, progress.elapsed_s, about)

    return tell
