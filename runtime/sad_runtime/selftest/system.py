"""The box itself: versions, processor, memory, disk, clock. Opens nothing but files that any user may read."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path

from sad_runtime.selftest.line import Line, bad, ok, warn

FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
ARM_FLAGS = ("asimd", "asimddp", "fphp", "asimdhp", "i8mm", "bf16", "sve")
LOW_MEMORY_MB = 700
"""A station takes up to 400 MB, and an engine while it is built more."""
LOW_DISK_MB = 2500
"""Kept pictures take up to 2000 MB and leave 200 MB free, as configs/station.yaml comes."""
UNSYNCHRONISED = 0x40
"""STA_UNSYNC of adjtimex(2)."""


def system_lines() -> list[Line]:
    return [_software(), _processor(), _memory()]


def _software() -> Line:
    names = re.findall(r'^PRETTY_NAME="?([^"\n]+)', _text(Path("/etc/os-release")), re.MULTILINE)
    distribution = names[0] if names else platform.system()
    kind = "a virtual environment" if sys.prefix != sys.base_prefix else "no virtual environment"
    if "include-system-site-packages = true" in _text(Path(sys.prefix) / "pyvenv.cfg"):
        kind = "a virtual environment that sees system packages"
    sad, numpy = _version_of("sad-inspection"), _version_of("numpy")
    text = (
        f"sad {sad}, Python {platform.python_version()} in {kind}, numpy {numpy}, {distribution}, "
        f"kernel {platform.release()}, {platform.machine()}"
    )
    return ok("versions", text, sad=sad, python=platform.python_version(), numpy=numpy, os=distribution)


def _version_of(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _processor() -> Line:
    info = _text(Path("/proc/cpuinfo"))
    models = re.findall(r"^model name\s*:\s*(.+)$", info, re.MULTILINE)
    words = set(" ".join(re.findall(r"^(?:flags|Features)\s*:\s*(.+)$", info, re.MULTILINE)[:1]).split())
    known = [flag for flag in (*FLAGS, *ARM_FLAGS) if flag in words]
    usable, cores = len(os.sched_getaffinity(0)), os.cpu_count() or 0
    model = models[0].strip() if models else platform.machine()
    text = f"{model}, {usable} of {cores} cores usable; {' '.join(known) or 'none of the vector flags that matter'}"
    if platform.machine() == "x86_64" and "avx2" not in words:
        mend = "Engines run, but slowly: this processor, or the virtual machine's idea of it, has no AVX2."
        return warn("processor", text, mend, model=model, cores=usable, flags=known)
    return ok("processor", text, model=model, cores=usable, flags=known)


def _memory() -> Line:
    sizes = {
        key: int(kib) // 1024 for key, kib in re.findall(r"^(\w+):\s+(\d+) kB", _text(Path("/proc/meminfo")), re.M)
    }
    total, free = sizes.get("MemTotal", 0), sizes.get("MemAvailable", 0)
    text = f"{free} of {total} MB free, {sizes.get('SwapFree', 0)} MB of swap"
    if free < LOW_MEMORY_MB:
        return warn("memory", text, "Close other programs: a station takes up to 400 MB.", total_mb=total, free_mb=free)
    return ok("memory", text, total_mb=total, free_mb=free)


def disk_line(state: Path) -> Line:
    """The disk that the station's folder is on, or will be."""
    there = next(folder for folder in (state, *state.parents) if folder.exists())
    free_mb = shutil.disk_usage(there).free >> 20
    text = f"{free_mb} MB free for {state}"
    if not os.access(there, os.W_OK | os.X_OK):
        mend = "Mend its rights, or name another folder with --state."
        return bad("state folder", f"{text}, but {there} cannot be written", mend, free_mb=free_mb)
    if free_mb < LOW_DISK_MB:
        mend = "Make room, or lower pictures.max_mb: kept pictures take up to 2000 MB."
        return warn("state folder", text, mend, free_mb=free_mb)
    return ok("state folder", text, free_mb=free_mb)


def clock_line() -> Line:
    """Times of decisions are compared with those of other machines."""
    if synchronised():
        return ok("clock", "synchronised", synchronised=True)
    mend = "Times in decisions and the journal drift from the plant's. Switch on chrony, PTP or systemd-timesyncd."
    return warn("clock", "not synchronised with anything, as far as the kernel knows", mend, synchronised=False)


def synchronised() -> bool:
    """As the kernel says. In a container it is the host's clock that is asked about."""
    timex = ctypes.create_string_buffer(512)  # modes 0: nothing is set; five longs, then status
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        return False
    status = ctypes.c_int.from_buffer(timex, 5 * ctypes.sizeof(ctypes.c_long)).value
    return not status & UNSYNCHRONISED


def _text(path: Path) -> str:
    """Empty where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
