"""The one table of CUDA memories, and how `auto` picks.

pycuda comes first, except where CUDA graphs are wanted (they are by default) and cuda-bindings is there: pycuda has
none, and a graph replaces a hundred launches by one.
"""

from __future__ import annotations

import importlib.util

from sad_runtime.cuda.base import Memory
from sad_runtime.cuda.bindings_memory import BindingsMemory
from sad_runtime.cuda.pycuda_memory import PycudaMemory
from sad_runtime.errors import MissingExtra, UsageError

MEMORIES: dict[str, type[Memory]] = {kind.name: kind for kind in (PycudaMemory, BindingsMemory)}
MODULES = {PycudaMemory.name: "pycuda", BindingsMemory.name: "cuda.bindings"}


def chosen_memory(wish: str = "auto", *, graphs: bool = True) -> tuple[str, str]:
    """What `wish` (a row of the table, or `auto`) stands for here, and why, in words for the log."""
    if wish != "auto":
        if wish not in MEMORIES:
            raise UsageError(f"engines.memory {wish}: no such package; there are auto, {', '.join(MEMORIES)}")
        return wish, "asked for"
    installed = installed_memories()
    if not installed:
        raise MissingExtra("cuda-bindings or pycuda", "tensorrt", "an engine on the GPU")
    if graphs and BindingsMemory.name in installed:
        return BindingsMemory.name, "it has CUDA graphs"
    why = "the only one installed" if len(installed) == 1 else "CUDA graphs are off"
    return installed[0], why


def installed_memories() -> list[str]:
    """Those whose package is installed here, in the table's order; nothing is imported but the parent `cuda`."""
    return [name for name in MEMORIES if _is_installed(MODULES[name])]


def memory_for(name: str, device: int) -> Memory:
    """The unopened memory called `name`, as `chosen_memory` gives it."""
    return MEMORIES[name](device)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is not there
        return False
