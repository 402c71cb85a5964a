"""`sad-runtime` with a file of several stations: one of them, or all, each in a process of its own."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sad_runtime.child_process import command_for
from sad_runtime.errors import SadError, UsageError
from sad_runtime.ops.sd_notify import SdNotify
from sad_runtime.ops.supervisor import supervise
from sad_runtime.schema import yaml_values
from sad_runtime.station.config import StationConfig
from sad_runtime.station.plant import is_plant, plant_from
from sad_runtime.station.stopping import StopRequest

FOR_ONE = {
    "camera": "--camera",
    "decisions": "--decisions",
    "heatmaps": "--heatmaps",
    "snapshot": "--snapshot",
    "commands": "--commands",
    "selftest": "--selftest",
    "build_only": "--build-only",
    "dry_run": "--dry-run",
    "threshold": "--threshold",
}
"""Flags that make no sense for several stations at once."""


def plant_in(path: Path) -> dict[str, StationConfig] | None:
    """The stations of the file at `path`; None for the file of a single one."""
    values: Any = yaml_values(path)
    return plant_from(values, str(path)) if is_plant(values) else None


def refuse_for_several(arguments: argparse.Namespace, names: Sequence[str]) -> None:
    """Raises UsageError for a flag that is meant for one station."""
    for name, flag in FOR_ONE.items():
        if getattr(arguments, name) not in (None, False):
            raise UsageError(f"{flag} is for one station: add --station NAME, one of {', '.join(names)}")


def check_plant(plant: Mapping[str, StationConfig], check: Callable[[str], None]) -> int:
    """All stations, also after one that is not in order. Returns the first exit code that is not 0."""
    code = 0
    for name in plant:
        try:
            check(name)
        except SadError as error:
            print(f"station {name}: {error}", file=sys.stderr)
            code = code or error.exit_code
    return code


def run_plant(names: Sequence[str], given: Sequence[str], notify: SdNotify, *, grace_s: float, as_json: bool) -> int:
    """Until all have ended. `given`: this command's own arguments. Returns the first exit code that is not 0."""
    commands = {
        name: command_for("sad_runtime.cli.plant_station", str(os.getpid()), *given, "--station", name)
        for name in names
    }
    environment = {name: value for name, value in os.environ.items() if name != "WATCHDOG_PID"}  # that is this process
    told = threading.Event()

    def beat(ready: bool) -> None:
        notify.beat()
        if ready and not told.is_set():
            told.set()
            notify.ready(f"stations {', '.join(names)}")

    with StopRequest(grace_s) as stop:
        codes = supervise(
            commands, stop.requested, environment=environment, out=sys.stderr, prefixed=not as_json, beat=beat
        )
        notify.stopping()
    return next((code for code in codes.values() if code), 0) & 0xFF
