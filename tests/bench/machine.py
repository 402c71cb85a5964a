"""On what the figures were measured, and who else was using it meanwhile."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from datetime import date
from importlib import metadata
from pathlib import Path
from types import TracebackType

import psutil

PACKAGES = (
    "sad-inspection",
    "numpy",
    "opencv-python-headless",
    "opencv-python",
    "openvino",
    "pyzmq",
    "torch",
    "scipy",
    "scikit-image",
)
CALM = 0.1
"""Share of the machine that others may take before a run is called disturbed."""


def machine() -> dict[str, str]:
    """Name and value, for the head of the table."""
    return {
        "date": date.today().isoformat(),
        "cpu": _cpu(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "versions": ", ".join(f"{name} {version}" for name in PACKAGES if (version := _version(name))),
    }


class Others:
    """With `with`: how much of the machine went to processes that are not ours, as far as ours have ended."""

    share = 0.0
    """0 to 1, known afterwards."""

    def __enter__(self) -> Others:
        self.load_before = os.getloadavg()[0]
        self._began = (time.monotonic(), _all_busy_s(), _ours_busy_s())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        began_s, all_s, ours_s = self._began
        passed_s = (time.monotonic() - began_s) * (os.cpu_count() or 1)
        taken_s = (_all_busy_s() - all_s) - (_ours_busy_s() - ours_s)
        self.share = min(1.0, max(0.0, taken_s / passed_s))

    @property
    def note(self) -> str:
        text = f"others took {self.share:.0%} of the machine; load average before the start {self.load_before:.1f}"
        if self.share <= CALM:
            return f"calm: {text}"
        return f"BUSY: {text}. Differences and absolute times are worth little; run again on a calm machine."


def warn_if_busy() -> None:
    """Before the first bench, so that nobody waits for figures that are worth little."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load > 0.5 * cores:
        print(f"note: load average {load:.1f} on {cores} cores; the machine is busy", file=sys.stderr)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _all_busy_s() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


def _ours_busy_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
