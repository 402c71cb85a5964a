"""Which Jetson this is, its L4T release and its power mode. Nothing on other boxes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from sad_runtime.selftest.line import Line, absent, ok, warn

MODEL = Path("proc/device-tree/model")
RELEASE = Path("etc/nv_tegra_release")
LIMIT_S = 5.0


def jetson_lines(root: str = "/") -> list[Line]:
    """`root`: where the two files are looked for."""
    release = _text(Path(root) / RELEASE)
    if not release:
        return [absent("jetson", "this is none (no /etc/nv_tegra_release)")]
    model = _text(Path(root) / MODEL).strip("\0\n ") or "an unknown board"
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", release)
    l4t = f"{found[1]}.{found[2]}" if found else release.partition("\n")[0][:60]
    return [ok("jetson", f"{model}, L4T {l4t}", model=model, l4t=l4t), _power()]


def _power() -> Line:
    """nvpmodel wants no rights to be asked; jetson_clocks does, so it is left alone."""
    try:
        done = subprocess.run(["nvpmodel", "-q"], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return warn("power mode", f"nvpmodel does not answer ({type(error).__name__})", "Try: sudo nvpmodel -q")
    modes = re.findall(r"NV Power Mode: *(\S+)", done.stdout)
    if not modes:
        return warn("power mode", f"nvpmodel ended with {done.returncode} and no mode", "Try: sudo nvpmodel -q")
    return ok("power mode", f"{modes[0]}. Latency is measured in this mode; docs/jetson.md says more", mode=modes[0])


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
