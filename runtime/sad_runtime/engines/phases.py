"""How far a build is: TensorRT tells nested phases and their steps; out of them comes one share that only grows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass
class Phase:
    parent: str | None
    steps: int
    done: int = 0


class Phases:
    """Any thread may tell. `watch(share, phase)`: 0 to 1, and the name of the phase that moved."""

    def __init__(self, watch: Callable[[float, str], None]) -> None:
        self._watch = watch
        self._lock = threading.Lock()
        self._open: dict[str, Phase] = {}
        self._share = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        with self._lock:
            self._open[name] = Phase(parent, max(1, steps))

    def step(self, name: str, number: int) -> None:
        """Step `number` (from 0) is done."""
        self._reach(name, number + 1)

    def finish(self, name: str) -> None:
        """All its steps are done; TensorRT leaves the last ones out at times."""
        phase = self._open.get(name)
        if phase is not None:
            self._reach(name, phase.steps)
            with self._lock:
                self._open.pop(name, None)

    def _reach(self, name: str, done: int) -> None:
        with self._lock:
            phase = self._open.get(name)
            if phase is None:
                return
            phase.done = min(done, phase.steps)
            self._share = max(self._share, self._share_at(name))
            share = self._share
        self._watch(share, name)

    def _share_at(self, name: str) -> float:
        """A phase is one step of the phase around it."""
        share, phase = 0.0, self._open.get(name)
        while phase is not None:
            share = min(1.0, (phase.done + share) / phase.steps)
            phase = self._open.get(phase.parent) if phase.parent else None
        return share


def monitor(trt: Any, phases: Phases) -> Any:
    """An `IProgressMonitor` that tells `phases`. Only for a TensorRT that has one."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # the base is only there at run time
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            phases.step(phase_name, step)
            return True

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
