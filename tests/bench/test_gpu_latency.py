"""The GPU bench: without a GPU it says so; over a GPU that is none it yields a figure for every way it promises."""

from __future__ import annotations

import importlib
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bundles import SPEC, good_picture, tiny_onnx
from drivers import Gpu, StandInMemory, StandInRoom, StandInTensorRT, backend_on
from sad_runtime.backends.driver import Driver
from sad_runtime.cuda.table import installed_memories
from sad_runtime.engines.gpu import gpu_found
from sad_runtime.engines.settings import EngineSettings

BENCH = Path(__file__).parent


def test_without_a_gpu_it_says_so_and_ends() -> None:
    if installed_memories() and gpu_found().there:
        pytest.skip("there is a GPU")
    result = subprocess.run([sys.executable, str(BENCH / "gpu_latency.py")], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("nothing was measured: ")
    assert "GPU" in result.stderr or "pip install" in result.stderr


def test_every_way_is_measured_beside_the_bare_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    bench = importlib.import_module("gpu_latency")
    monkeypatch.setattr(bench, "RUNS", 2)
    room = StandInRoom()
    rig = bench.Rig(
        "stand-in",
        lambda settings: backend_on(Gpu(), room)(tiny_onnx(), SPEC, engines=settings),
        lambda settings: Driver(StandInTensorRT(gpu := Gpu()), StandInMemory(gpu), room),
        EngineSettings(),
        tiny_onnx(),
        np.stack([good_picture(seed) for seed in range(2)]),
    )
    figures = bench.figures_of(rig, 2)
    ways = ["one picture", *(f"{count} in flight" for count in (1, 2, 4))]
    for how in ("without graphs", "with CUDA graphs"):
        for way in ways:
            (figure,) = [figure for figure in figures if way in figure.what and how in figure.what]
            assert math.isfinite(figure.value.p50)
            assert "execute_async_v3" in figure.peer_is
    assert len(figures) == 2 * len(ways)
    assert "stand-in: one picture, with CUDA graphs" in bench.table("gpu", figures)
