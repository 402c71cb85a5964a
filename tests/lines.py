"""The commands as a user gives them, each in a process of its own; and a real line, with everything it decides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sad_runtime.messages import Decision
from sad_runtime.subscriber import Subscriber


def run(module: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command whose `main` is in `module`. What it renders is kept below `cwd`."""
    code = f"import sys; from {module} import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "XDG_CACHE_HOME": str(cwd / "cache")}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=280
    )


def decided(camera: str, bundle: Path, folder: Path, parts: int) -> list[Decision]:
    """Every decision of a station whose camera ends after `parts`; state and sockets lie in `folder`."""
    addresses = {name: f"ipc://{folder}/{name}.ipc" for name in ("decisions", "heatmaps", "snapshot")}
    flags = [word for name, address in addresses.items() for word in (f"--{name}", address)]
    options = ["--camera", camera, "--bundle", str(bundle), "--state", str(folder / "state")]
    command = [sys.executable, "-m", "sad_runtime.cli.runtime", *options, *flags]
    decisions: list[Decision] = []
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stderr=log) as process,
        Subscriber(addresses["decisions"], history=True) as feed,
    ):
        while len(decisions) < parts and process.poll() is None:
            decision = feed.poll(200)
            if decision is not None:
                decisions.append(decision)
        assert process.wait(20) == 0, (folder / "log").read_text()
        assert feed.lost == 0
    return decisions
