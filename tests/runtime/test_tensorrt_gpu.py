"""On a real GPU: the engine, pinned copies, CUDA graphs, and a lost device. `pytest -m gpu -s` prints which engine ran.

TensorRT where it is installed, else TensorRT-RTX, tried even on chips that it is not made for. Skipped without a GPU.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bundles import SPEC, bad_picture, good_picture, tiny_onnx
from sad_runtime.backends.base import Outputs
from sad_runtime.backends.table import BACKENDS, GPU_BACKENDS, backend_for
from sad_runtime.backends.tensorrt import TensorRTBackend
from sad_runtime.cuda.table import installed_memories, memory_for
from sad_runtime.engines.api import tensorrt_installed
from sad_runtime.engines.gpu import gpu_found
from sad_runtime.engines.settings import EngineSettings
from sad_runtime.errors import SadError

pytestmark = pytest.mark.gpu
LOSES_THE_GPU = """
import sys
import numpy as np
from pathlib import Path
from sad_runtime.backends.table import BACKENDS
from sad_runtime.engines.settings import EngineSettings
from sad_runtime.errors import DeviceLost
from sad_runtime.manifest import InputSpec
name, model, folder = sys.argv[1:]
spec = InputSpec(height=64, width=64, channels=3)
settings = EngineSettings(folder=folder, graphs=False)
with BACKENDS[name](Path(model).read_bytes(), spec, engines=settings) as backend:
    backend._slots[0]._context.set_tensor_address("heatmap", 256)
    for _ in range(2):
        try:
            backend.infer(np.zeros((1, 64, 64, 3), np.uint8))
        except DeviceLost as error:
            print(f"lost {error.exit_code}: {error}")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for all, so that the engine is built once."""
    return tmp_path_factory.mktemp("engines")


@pytest.fixture(scope="module")
def kind(folder: Path) -> str:
    """The first engine that runs here."""
    if not installed_memories():
        pytest.skip("neither pycuda nor cuda-bindings is installed")
    gpu = gpu_found()
    if not gpu.there:
        pytest.skip("no NVIDIA GPU here")
    installed = [one for one in GPU_BACKENDS if tensorrt_installed(one.name)]
    if not installed:
        pytest.skip(f"{gpu}, but neither tensorrt nor tensorrt_rtx is installed")
    refused = []
    for one in installed:
        try:
            with backend_for(one.name, tiny_onnx(), SPEC, engines=EngineSettings(folder=str(folder))):
                print(f"\nruns on {one.name}, {gpu}, memory by {', '.join(installed_memories())}")
                return str(one.name)
        except SadError as error:
            if one.runs_on(gpu.compute_capability):
                pytest.fail(f"{one.name} is made for {gpu} and does not open: {error}")
            refused.append(f"{one.name} on {gpu}: {error}")
    pytest.skip("; ".join(refused))


@pytest.fixture(params=["pycuda", "cuda-bindings"])
def memory(request: pytest.FixtureRequest, kind: str) -> str:
    if request.param not in installed_memories():
        pytest.skip(f"{request.param} is not installed")
    return str(request.param)


def opened(kind: str, folder: Path, **settings: object) -> TensorRTBackend:
    made = BACKENDS[kind](tiny_onnx(), SPEC, engines=EngineSettings.model_validate({"folder": str(folder), **settings}))
    assert isinstance(made, TensorRTBackend)
    return made


def pictures(count: int) -> NDArray[np.uint8]:
    return np.stack([bad_picture(seed) if seed % 3 == 1 else good_picture(seed) for seed in range(count)])


@pytest.fixture(scope="module")
def expected() -> Outputs:
    with backend_for("onnxruntime", tiny_onnx(), SPEC) as reference:
        return reference.infer(pictures(16))


@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("in_flight", [1, 2, 4])
def test_the_gpu_says_what_the_reference_says_in_order(
    kind: str, folder: Path, memory: str, expected: Outputs, graphs: bool, in_flight: int
) -> None:
    with opened(kind, folder, memory=memory, graphs=graphs, in_flight=in_flight) as backend:
        found = backend.infer(pictures(16))
        for one, other in zip(found, expected, strict=True):
            assert np.allclose(one, other, atol=1e-4)  # float32 sums in another order
        for _ in range(50):
            for one, other in zip(backend.infer(pictures(16)), found, strict=True):
                assert np.array_equal(one, other)


def test_single_pictures_in_turn_do_not_mix(kind: str, folder: Path, memory: str, expected: Outputs) -> None:
    with opened(kind, folder, memory=memory) as backend:
        for number in [0, 1, 2, 1, 0, 3] * 20:
            score = float(backend.infer(pictures(16)[number : number + 1]).score[0])
            assert score == pytest.approx(float(expected.score[number]), abs=1e-4)


def test_graphs_are_captured_where_the_memory_has_them(
    kind: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if "cuda-bindings" not in installed_memories():
        pytest.skip("cuda-bindings is not installed, and pycuda has no graphs")
    backend = opened(kind, folder, memory="cuda-bindings")
    with caplog.at_level(logging.WARNING), backend:
        assert backend._slots[0].has_graph, caplog.text


def test_a_second_backend_beside_the_first_and_after_it(kind: str, folder: Path, memory: str) -> None:
    with opened(kind, folder, memory=memory) as first:
        wanted = first.infer(pictures(2))
        with opened(kind, folder, memory=memory) as second:
            assert np.array_equal(second.infer(pictures(2)).heatmap, wanted.heatmap)
        assert np.array_equal(first.infer(pictures(2)).heatmap, wanted.heatmap)


def test_opening_and_closing_does_not_use_the_gpu_up(kind: str, folder: Path) -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime")

    def free_mb() -> float:
        return float(runtime.cudaMemGetInfo()[1]) / 1e6

    def once() -> None:
        with opened(kind, folder, in_flight=4) as backend:
            backend.infer(pictures(8))

    once()
    before_mb = free_mb()
    for _ in range(20):
        once()
    assert before_mb - free_mb() < 32  # what the driver keeps


def test_copies_go_there_and_back(memory: str) -> None:
    with memory_for(memory, 0) as own, own.current():
        sent, found = own.host_buffer((1000,), np.uint8), own.host_buffer((1000,), np.uint8)
        sent[...] = np.arange(1000) % 251
        found.fill(0)
        stream = own.stream()
        address = own.mapped(sent) if own.zero_copy else own.device_buffer(1000)
        if not own.zero_copy:
            own.to_device(address, sent, stream)
        own.to_host(found, address, stream)
        own.synchronise(stream)
        assert np.array_equal(found, sent)


def test_more_memory_than_there_is_says_how_to_mend_it(memory: str) -> None:
    with memory_for(memory, 0) as own, own.current(), pytest.raises(SadError, match="nvidia-smi"):
        own.device_buffer(1 << 50)


def test_an_engine_that_writes_where_it_may_not_is_a_lost_device(kind: str, folder: Path, tmp_path: Path) -> None:
    """In a process of its own: its GPU context is gone afterwards."""
    model_file = tmp_path / "tiny.onnx"
    model_file.write_bytes(tiny_onnx())
    words = [sys.executable, "-c", LOSES_THE_GPU, kind, str(model_file), str(folder)]
    result = subprocess.run(words, capture_output=True, text=True, timeout=120)
    lost = [line for line in result.stdout.splitlines() if line.startswith("lost 5: the GPU is lost")]
    assert len(lost) == 2, result.stdout + result.stderr
