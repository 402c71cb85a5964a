"""Measures the GPU backend beside the bare engine in one run: latency of one picture, throughput of many.

    python tests/bench/gpu_latency.py                     about a minute, after the engine is built
    python tests/bench/gpu_latency.py --json figures.json also for scripts

Needs an NVIDIA GPU, TensorRT or TensorRT-RTX, and pycuda or cuda-bindings; without, it says what is missing and ends
with exit code 1. Where no TensorRT takes the chip, torch-CUDA is measured in its place, and named so.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gpu_torch
import numpy as np
from figure import Figure, Spread, spread, table
from gpu_bare import BareEngine
from machine import Others, machine, warn_if_busy
from material import SPEC, made
from numpy.typing import NDArray

from sad_runtime.backends.base import Backend
from sad_runtime.backends.driver import Driver, installed_driver
from sad_runtime.backends.table import GPU_BACKENDS
from sad_runtime.backends.tensorrt import TensorRTBackend
from sad_runtime.cuda.table import installed_memories
from sad_runtime.engines.api import tensorrt_installed
from sad_runtime.engines.gpu import gpu_found
from sad_runtime.engines.settings import EngineSettings
from sad_runtime.errors import SadError
from sad_runtime.pictures import picture_files, read_picture

ROUNDS, RUNS, TOGETHER = 20, 50, 64
IN_FLIGHT = (1, 2, 4)
BARE_ONE = "execute_async_v3 on the same engine, no copies, in turn"
BARE_MANY = f"{TOGETHER} x execute_async_v3 on one stream, no copies, in turn"


@dataclass(frozen=True)
class Rig:
    """What is measured, and how it is opened; `settings` say where engines are kept."""

    name: str
    backend: Callable[[EngineSettings], Backend]
    driver: Callable[[EngineSettings], Driver]
    settings: EngineSettings
    model: bytes
    pictures: NDArray[np.uint8]

    def with_(self, **changes: object) -> EngineSettings:
        return self.settings.model_copy(update=changes)


def main() -> int:
    arguments = _arguments()
    lacking = _lacking()
    if lacking:
        print(f"nothing was measured: {lacking}", file=sys.stderr)
        return 1
    warn_if_busy()
    facts = machine() | {"gpu": str(gpu_found())}
    with tempfile.TemporaryDirectory(prefix="sad-bench-") as folder, Others() as others:
        material = made(Path(folder) / "material", 8)
        pictures = np.stack([read_picture(path) for path in picture_files(material.pictures, recursive=False)])
        title, figures = _measured(material.model.read_bytes(), pictures, folder, 2 if arguments.quick else ROUNDS)
    if not figures:
        print(f"nothing was measured: {title}", file=sys.stderr)
        return 1
    print("\n".join(f"{name:<9} {value}" for name, value in facts.items()))
    print(f"{'load':<9} {others.note}\n")
    print(table(title, figures))
    if arguments.json is not None:
        found = {"machine": facts, "title": title, "figures": [figure.as_object() for figure in figures]}
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def figures_of(rig: Rig, rounds: int) -> list[Figure]:
    """Latency and throughput, without CUDA graphs and, where there are any, with them."""
    found = []
    ways = (False, True) if rig.driver(rig.settings).memory.has_graphs else (False,)
    for graphs in ways:
        how = "with CUDA graphs" if graphs else "without graphs"
        found += [_latency(rig, graphs, how, rounds), *_throughput(rig, graphs, how, rounds)]
    return found


def _latency(rig: Rig, graphs: bool, how: str, rounds: int) -> Figure:
    ours: list[float] = []
    bare: list[float] = []
    with rig.backend(rig.with_(graphs=graphs)) as backend, _bare(rig) as peer:
        for number in range(rounds):
            one = rig.pictures[number % len(rig.pictures)][np.newaxis]
            ours += _timed(partial(backend.infer, one))
            bare += _timed(peer.execute)
    what = f"{rig.name}: one picture, {how}"
    return Figure(what, "ms", spread(ours), spread(bare), BARE_ONE, "more")


def _throughput(rig: Rig, graphs: bool, how: str, rounds: int) -> list[Figure]:
    many = np.resize(rig.pictures, (TOGETHER, *rig.pictures.shape[1:]))
    with ExitStack() as stack:
        backends = {
            count: stack.enter_context(rig.backend(rig.with_(graphs=graphs, in_flight=count))) for count in IN_FLIGHT
        }
        peer = stack.enter_context(_bare(rig))
        ours: dict[int, list[float]] = {count: [] for count in IN_FLIGHT}
        bare: list[float] = []
        for _ in range(rounds + 1):
            for count, backend in backends.items():
                ours[count].append(_rate(partial(backend.infer, many)))
            bare.append(_rate(lambda: peer.execute(TOGETHER)))
    return [
        Figure(
            f"{rig.name}: {TOGETHER} pictures at once, {count} in flight, {how}",
            "1/s",
            _median(rates),
            _median(bare),
            BARE_MANY,
            "times",
        )
        for count, rates in ours.items()
    ]


def _bare(rig: Rig) -> BareEngine:
    return BareEngine(rig.driver(rig.settings), rig.model)


def _timed(run: Callable[[], object]) -> list[float]:
    """ms of RUNS runs; one more before them is not counted."""
    times = []
    for _ in range(RUNS + 1):
        began_s = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - began_s))
    return times[1:]


def _rate(run: Callable[[], object]) -> float:
    """Pictures a second."""
    began_s = time.perf_counter()
    run()
    return TOGETHER / (time.perf_counter() - began_s)


def _median(rates: Sequence[float]) -> Spread:
    """Of all but the first, which makes the slots."""
    return Spread(float(np.median(rates[1:])))


def _measured(model: bytes, pictures: NDArray[np.uint8], folder: str, rounds: int) -> tuple[str, list[Figure]]:
    """(title or why there is nothing, figures): of the first engine that takes this chip, else of torch-CUDA."""
    refused = []
    for kind in _installed():
        rig = _rig(kind, model, pictures, EngineSettings(folder=folder))
        try:
            with rig.backend(rig.settings) as backend:
                backend.warm_up()
        except SadError as error:
            refused.append(f"{kind.name} does not run on {gpu_found()}: {error}")
            print(refused[-1], file=sys.stderr)
            continue
        return f"gpu, {kind.name} on {gpu_found()}", figures_of(rig, rounds)
    why = "; ".join(refused) or "neither tensorrt nor tensorrt_rtx is installed"
    if gpu_torch.available():
        return f"gpu, {gpu_torch.NAME}, on {gpu_found()} ({why})", gpu_torch.figures(rounds, RUNS)
    return f"{why}; torch with CUDA, which would be measured in its place, is not installed either", []


def _rig(kind: type[TensorRTBackend], model: bytes, pictures: NDArray[np.uint8], settings: EngineSettings) -> Rig:
    def backend(chosen: EngineSettings) -> Backend:
        return kind(model, SPEC, engines=chosen)

    def driver(chosen: EngineSettings) -> Driver:
        return installed_driver(kind.name, chosen)

    return Rig(kind.name, backend, driver, settings, model, pictures)


def _installed() -> list[type[TensorRTBackend]]:
    return [kind for kind in GPU_BACKENDS if tensorrt_installed(kind.name)]


def _lacking() -> str:
    """Why nothing can be measured here, in words; empty where something can."""
    if not installed_memories():
        return "neither pycuda nor cuda-bindings is installed. Run: pip install 'sad-inspection[tensorrt]'"
    if not gpu_found().there:
        return "there is no NVIDIA GPU here, or no driver for it. See what nvidia-smi says"
    return ""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Measures the GPU backend beside the bare engine. Leave the machine alone meanwhile."
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--quick", action="store_true", help="few rounds: does it run? The figures mean nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
