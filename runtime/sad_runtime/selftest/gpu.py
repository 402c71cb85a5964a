"""The NVIDIA GPU: its driver, what it is, and whether bytes come back from its memory as they went there."""

from __future__ import annotations

import re
import subprocess
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sad_runtime.cuda.base import Memory
from sad_runtime.cuda.table import installed_memories, memory_for
from sad_runtime.engines.gpu import NO_GPU, Gpu, gpu_found
from sad_runtime.errors import MissingExtra
from sad_runtime.selftest.line import Line, absent, bad, ok, warn

DRIVER = Path("/proc/driver/nvidia/version")
INSTALL = "With an NVIDIA GPU: pip install 'sad-inspection[tensorrt]'; on a Jetson pip install pycuda (docs/jetson.md)."
LIMIT_S = 10.0
COPIED_BYTES = 4 << 20
NONE_HERE = "No NVIDIA GPU, no matter: models then run on the CPU. If there is one, install its driver."


def gpu_lines(device: int) -> list[Line]:
    driver = driver_version()
    try:
        gpu = gpu_found(device)
    except MissingExtra as error:
        if driver is None:
            return [absent("gpu", "no NVIDIA driver", NONE_HERE)]
        return [warn("gpu", f"NVIDIA driver {driver}; {_by_tool() or 'what GPU it is, nobody says'}", str(error))]
    if not gpu.there:
        if driver is None:
            return [absent("gpu", "no NVIDIA driver", NONE_HERE)]
        mend = "See what nvidia-smi says; in a container give it the GPU."
        return [bad("gpu", f"NVIDIA driver {driver}, and no GPU that CUDA can use", mend, driver=driver)]
    return [_found(gpu, driver or "of an unknown version")]


def _found(gpu: Gpu, driver: str) -> Line:
    kind = "shares the CPU's memory" if gpu.integrated else "has memory of its own"
    cuda = f"{gpu.driver // 1000}.{gpu.driver % 1000 // 10}"
    text = f"{gpu.name}, compute capability {gpu.compute_capability}, {kind}; driver {driver}, CUDA up to {cuda}"
    return ok("gpu", text, name=gpu.name, compute_capability=gpu.compute_capability, driver=driver, cuda=cuda)


def driver_version() -> str | None:
    try:
        text = DRIVER.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"\b(\d{3}\.\d+(?:\.\d+)?)\b", text)
    return found[1] if found else "of an unknown version"


def _by_tool() -> str:
    """Names and memories by nvidia-smi; empty where it is not there or fails. No serial number is asked for."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return "; ".join(done.stdout.split("\n")).strip("; ") if done.returncode == 0 else ""


def memory_lines(name: str, device: int) -> list[Line]:
    """`name`: a row of cuda/table.py."""
    if name not in installed_memories():
        return [absent(name, "not installed", INSTALL)]
    text = f"{name} {metadata.version(name)}"
    if not gpu_found(device).there:
        return [absent(name, f"{text}; no GPU to open")]
    sent = np.random.default_rng(0).integers(0, 256, COPIED_BYTES, np.uint8)
    with memory_for(name, device) as memory, memory.current():
        if not np.array_equal(there_and_back(memory, sent), sent):
            mend = "Do not inspect with it: the GPU's memory, its driver or the slot is faulty."
            return [bad(name, f"{text}; {COPIED_BYTES >> 20} MB came back changed from the GPU", mend)]
        graphs = "CUDA graphs" if memory.has_graphs else "no CUDA graphs"
        zero = "zero-copy" if memory.zero_copy else "copies"
    return [ok(name, f"{text}: context open, {COPIED_BYTES >> 20} MB there and back unchanged; {zero}, {graphs}")]


def there_and_back(memory: Memory, sent: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """`sent` through the GPU's memory, in one stream. Call inside `memory.current()`."""
    out, back = memory.host_buffer(sent.shape, sent.dtype), memory.host_buffer(sent.shape, sent.dtype)
    out[:] = sent
    back[:] = 0
    address, stream = memory.device_buffer(sent.nbytes), memory.stream()
    memory.to_device(address, out, stream)
    memory.to_host(back, address, stream)
    memory.synchronise(stream)
    return np.array(back, np.uint8)


def gpu_here(device: int) -> Gpu:
    """NO_GPU too where neither package is installed that could ask."""
    return gpu_found(device) if installed_memories() else NO_GPU
