"""CUDA memory over stand-ins for the two packages, whose names are held against the real ones."""

from __future__ import annotations

import ctypes
import logging
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sad_runtime.cuda import bindings_memory, pycuda_memory, table
from sad_runtime.cuda.base import Memory, size_bytes
from sad_runtime.cuda.bindings_memory import BindingsMemory
from sad_runtime.cuda.pycuda_memory import PycudaMemory
from sad_runtime.cuda.table import MEMORIES, chosen_memory, installed_memories, memory_for
from sad_runtime.cuda.trouble import LOST, MEND, trouble
from sad_runtime.errors import BackendError, DeviceLost, MissingExtra, UsageError

PYCUDA_NAMES = Path(__file__).parent / "names" / "pycuda-2026.1.txt"
ILLEGAL = "an illegal memory access was encountered"


class Ram:
    """The memory behind both stand-ins: real addresses, taken and freed; a copy runs when its stream is waited for."""

    def __init__(self) -> None:
        self.taken: dict[int, Any] = {}
        self.streams: dict[int, list[tuple[int, int, int]]] = {}
        self.integrated = False
        self.fails: dict[str, Any] = {}
        self.told: list[str] = []

    def take(self, size: int) -> int:
        buffer = np.full(size, 0xFF, np.uint8)
        self.taken[buffer.ctypes.data] = buffer
        return buffer.ctypes.data

    def free(self, address: int) -> None:
        del self.taken[address]

    def copy(self, target: int, source: int, size: int, stream: int) -> None:
        self.streams[stream].append((target, source, size))

    def wait(self, stream: int) -> None:
        for target, source, size in self.streams[stream]:
            ctypes.memmove(target, source, size)
        self.streams[stream].clear()

    @property
    def empty(self) -> bool:
        return not self.taken and not self.streams


class StandInRuntime:
    """Poses as `cuda.bindings.runtime`. `ram.fails`: the status that a function answers."""

    def __init__(self, ram: Ram) -> None:
        from cuda.bindings import runtime

        self._ram = ram
        self._error = runtime.cudaError_t
        self.cudaMemcpyKind = runtime.cudaMemcpyKind
        self.cudaDeviceAttr = runtime.cudaDeviceAttr
        self.cudaStreamCaptureMode = runtime.cudaStreamCaptureMode
        self.cudaGetErrorString = runtime.cudaGetErrorString  # works without a driver
        self.cudaHostAllocMapped, self.cudaHostAllocDefault = runtime.cudaHostAllocMapped, runtime.cudaHostAllocDefault
        self.cudaStreamNonBlocking = runtime.cudaStreamNonBlocking
        self._graph: list[tuple[int, int, int]] | None = None

    def _answer(self, function: str, *values: Any) -> tuple[Any, ...]:
        self._ram.told.append(function)
        name = self._ram.fails.get(function, "cudaSuccess")
        status = getattr(self._error, name)
        return (status, *((None,) * len(values) if int(status) else values))

    def _fails(self, function: str) -> bool:
        return function in self._ram.fails

    def cudaGetDeviceCount(self) -> Any:  # noqa: N802  these are CUDA's names
        return self._answer("cudaGetDeviceCount", 2)

    def cudaSetDevice(self, device: int) -> Any:  # noqa: N802
        return self._answer("cudaSetDevice")

    def cudaGetLastError(self) -> Any:  # noqa: N802
        return self._answer("cudaGetLastError")

    def cudaDeviceGetAttribute(self, attribute: Any, device: int) -> Any:  # noqa: N802
        return self._answer("cudaDeviceGetAttribute", int(self._ram.integrated))

    def cudaMalloc(self, size: int) -> Any:  # noqa: N802
        return self._answer("cudaMalloc", None if self._fails("cudaMalloc") else self._ram.take(size))

    def cudaHostAlloc(self, size: int, flags: int) -> Any:  # noqa: N802
        assert flags == (self.cudaHostAllocMapped if self._ram.integrated else self.cudaHostAllocDefault)
        return self._answer("cudaHostAlloc", self._ram.take(size))

    def cudaHostGetDevicePointer(self, host: int, flags: int) -> Any:  # noqa: N802
        return self._answer("cudaHostGetDevicePointer", host)

    def cudaFree(self, address: int) -> Any:  # noqa: N802
        if address and not self._fails("cudaFree"):
            self._ram.free(address)
        return self._answer("cudaFree")

    def cudaFreeHost(self, address: int) -> Any:  # noqa: N802
        self._ram.free(address)
        return self._answer("cudaFreeHost")

    def cudaStreamCreateWithFlags(self, flags: int) -> Any:  # noqa: N802
        assert flags == self.cudaStreamNonBlocking
        number = 100 + len(self._ram.streams)
        self._ram.streams[number] = []
        return self._answer("cudaStreamCreateWithFlags", number)

    def cudaStreamDestroy(self, stream: int) -> Any:  # noqa: N802
        del self._ram.streams[stream]
        return self._answer("cudaStreamDestroy")

    def cudaStreamSynchronize(self, stream: int) -> Any:  # noqa: N802
        if not self._fails("cudaStreamSynchronize"):
            self._ram.wait(stream)
        return self._answer("cudaStreamSynchronize")

    def cudaMemcpyAsync(self, target: int, source: int, size: int, kind: Any, stream: int) -> Any:  # noqa: N802
        assert target in self._ram.taken
        assert source in self._ram.taken
        if self._graph is not None:
            self._graph.append((target, source, size))
        else:
            self._ram.copy(target, source, size, stream)
        return self._answer("cudaMemcpyAsync")

    def cudaStreamBeginCapture(self, stream: int, mode: Any) -> Any:  # noqa: N802
        assert mode == self.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        if not self._fails("cudaStreamBeginCapture"):
            self._graph = []
        return self._answer("cudaStreamBeginCapture")

    def cudaStreamEndCapture(self, stream: int) -> Any:  # noqa: N802
        graph, self._graph = self._graph, None
        if graph is None:
            return (self._error.cudaErrorIllegalState, None)
        return self._answer("cudaStreamEndCapture", graph)

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> Any:  # noqa: N802
        assert flags == 0
        return self._answer("cudaGraphInstantiate", tuple(graph))

    def cudaGraphDestroy(self, graph: Any) -> Any:  # noqa: N802
        return self._answer("cudaGraphDestroy")

    def cudaGraphExecDestroy(self, graph: Any) -> Any:  # noqa: N802
        return self._answer("cudaGraphExecDestroy")

    def cudaGraphLaunch(self, graph: Any, stream: int) -> Any:  # noqa: N802
        self._ram.streams[stream].extend(graph)
        return self._answer("cudaGraphLaunch")


def stand_in_pycuda(ram: Ram) -> types.ModuleType:
    """Poses as `pycuda.driver`. `ram.fails`: CUDA's words, by pycuda's function; as pycuda, it raises `Error`."""
    driver = types.ModuleType("pycuda.driver")
    stack: list[Any] = []

    class Error(Exception):
        pass

    def check(function: str) -> None:
        ram.told.append(function)
        if function in ram.fails:
            raise Error(f"{function} failed: {ram.fails[function]}")

    class Allocation:
        def __init__(self, size: int) -> None:
            assert stack, "no currently active context"
            check("cuMemAlloc")
            self.address = ram.take(size)

        def free(self) -> None:
            check("cuMemFree")
            ram.free(self.address)

    class DeviceAllocation(Allocation):
        def __int__(self) -> int:
            return self.address

    class HostPointer:
        address: int

        def get_device_pointer(self) -> int:
            return self.address

    class PagelockedHostAllocation(HostPointer, Allocation):
        @property
        def __array_interface__(self) -> dict[str, Any]:
            size = ram.taken[self.address].nbytes
            return {"shape": (size,), "typestr": "|u1", "data": (self.address, False), "version": 3}

    class Stream:
        def __init__(self, flags: int = 0) -> None:
            assert flags == 1
            self.handle = 100 + len(ram.streams)
            ram.streams[self.handle] = []

        def synchronize(self) -> Stream:
            check("cuStreamSynchronize")
            ram.wait(self.handle)
            return self

        def __del__(self) -> None:
            del ram.streams[self.handle]

    class Context:
        def push(self) -> None:
            check("cuCtxPushCurrent")
            stack.append(self)

        @staticmethod
        def pop() -> None:
            stack.pop()

    class Device:
        def __init__(self, number: int) -> None:
            assert number == 0

        @staticmethod
        def count() -> int:
            return 1

        def get_attribute(self, attribute: str) -> int:
            return int(ram.integrated)

        def retain_primary_context(self) -> Context:
            return Context()

    def init() -> None:
        check("cuInit")

    def pagelocked_empty(shape: Any, dtype: Any, order: str = "C", mem_flags: int = 0) -> Any:
        assert mem_flags == (2 if ram.integrated else 0)
        allocation = PagelockedHostAllocation(size_bytes(shape, dtype))
        array = np.ndarray(shape, dtype, np.asarray(allocation))
        return array.view(Based).settled(allocation)

    def memcpy_htod_async(dest: int, src: Any, stream: Stream) -> None:
        assert stack, "no currently active context"
        check("cuMemcpyHtoDAsync")
        ram.copy(dest, src.ctypes.data, src.nbytes, stream.handle)

    def memcpy_dtoh_async(dest: Any, src: int, stream: Stream) -> None:
        assert stack, "no currently active context"
        check("cuMemcpyDtoHAsync")
        ram.copy(dest.ctypes.data, src, dest.nbytes, stream.handle)

    class Based(np.ndarray):
        """pycuda sets the allocation as an array's base, which only C can."""

        _allocation: Any

        def settled(self, allocation: Any) -> Based:
            self._allocation = allocation
            return self

        @property
        def base(self) -> Any:
            return self._allocation

    class device_attribute:  # noqa: N801
        INTEGRATED, CAN_MAP_HOST_MEMORY = "INTEGRATED", "CAN_MAP_HOST_MEMORY"

    class host_alloc_flags:  # noqa: N801
        DEVICEMAP = 2

    kinds: list[Any] = [Error, Device, Context, Stream, DeviceAllocation, PagelockedHostAllocation]
    others: list[Any] = [device_attribute, host_alloc_flags, init, pagelocked_empty, memcpy_htod_async]
    for piece in [*kinds, *others, memcpy_dtoh_async]:
        setattr(driver, piece.__name__, piece)
    driver.mem_alloc = DeviceAllocation  # type: ignore[attr-defined]
    driver.stack = stack  # type: ignore[attr-defined]
    return driver


@pytest.fixture
def ram() -> Ram:
    return Ram()


@pytest.fixture
def bindings(ram: Ram, monkeypatch: pytest.MonkeyPatch) -> StandInRuntime:
    pytest.importorskip("cuda.bindings.runtime")
    stand_in = StandInRuntime(ram)
    monkeypatch.setattr(bindings_memory, "_runtime", lambda: stand_in)
    return stand_in


@pytest.fixture
def pycuda(ram: Ram, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    stand_in = stand_in_pycuda(ram)
    monkeypatch.setattr(pycuda_memory, "_driver", lambda: stand_in)
    return stand_in


@pytest.fixture(params=list(MEMORIES))
def memory(request: pytest.FixtureRequest, ram: Ram) -> Iterator[Memory]:
    request.getfixturevalue({"pycuda": "pycuda", "cuda-bindings": "bindings"}[request.param])
    made = memory_for(request.param, 0)
    yield made
    made.close()


def there_and_back(memory: Memory) -> bool:
    """A picture goes to the GPU and comes back as it was."""
    sent, found = memory.host_buffer((2, 3), np.float32), memory.host_buffer((2, 3), np.float32)
    sent[...] = np.arange(6).reshape(2, 3)
    address, stream = memory.device_buffer(sent.nbytes), memory.stream()
    memory.to_device(address, sent, stream)
    memory.to_host(found, address, stream)
    memory.synchronise(stream)
    return bool(np.array_equal(found, sent))


# Both


def test_what_is_copied_to_the_gpu_and_back_is_as_it_was_and_closing_frees_all(memory: Memory, ram: Ram) -> None:
    with memory:
        with memory.current():
            assert there_and_back(memory)
        assert not ram.empty
    assert ram.empty
    memory.close()


def test_a_closed_memory_can_be_opened_again(memory: Memory, ram: Ram) -> None:
    for _ in range(2):
        with memory, memory.current():
            assert there_and_back(memory)
    assert ram.empty


@pytest.mark.parametrize("integrated", [False, True])
def test_memory_is_shared_where_the_gpu_has_none_of_its_own(memory: Memory, ram: Ram, integrated: bool) -> None:
    ram.integrated = integrated
    with memory, memory.current():
        assert memory.zero_copy is integrated
        host = memory.host_buffer((4,), np.uint8)
        if integrated:
            assert memory.mapped(host) == host.ctypes.data


STICKY = {
    "pycuda": {"cuStreamSynchronize": ILLEGAL, "cuMemcpyHtoDAsync": "uncorrectable ECC error encountered"},
    "cuda-bindings": {
        "cudaStreamSynchronize": "cudaErrorIllegalAddress",
        "cudaMemcpyAsync": "cudaErrorECCUncorrectable",
        "cudaSetDevice": "cudaErrorUnknown",
    },
}


def test_a_sticky_error_is_a_lost_device_and_closing_goes_on_quietly(
    memory: Memory, ram: Ram, caplog: pytest.LogCaptureFixture
) -> None:
    for function, error in STICKY[memory.name].items():
        with memory:
            with memory.current():
                there_and_back(memory)
            ram.fails = {function: error, "cudaFree": "cudaErrorIllegalAddress", "cuMemFree": ILLEGAL}
            with pytest.raises(DeviceLost, match="start the command again"), memory.current():
                there_and_back(memory)
        ram.fails = {}
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * len(STICKY[memory.name])


def test_full_memory_is_an_error_that_says_how_to_mend_it(memory: Memory, ram: Ram) -> None:
    with memory, memory.current():
        ram.fails = {"cudaMalloc": "cudaErrorMemoryAllocation", "cuMemAlloc": "out of memory"}
        with pytest.raises(BackendError, match=r"taking 100 bytes on the GPU failed \(.*out of memory.*in_flight to 1"):
            memory.device_buffer(100)
        ram.fails = {}
        assert there_and_back(memory)


def test_no_gpu_at_the_start_is_not_a_lost_one(memory: Memory, ram: Ram) -> None:
    ram.fails = {"cudaGetDeviceCount": "cudaErrorNoDevice", "cuInit": "no CUDA-capable device is detected"}
    with pytest.raises(BackendError, match="no NVIDIA GPU here that CUDA can use"):
        memory.open()
    ram.fails = {}


@pytest.mark.parametrize(("name", "count"), [("pycuda", 1), ("cuda-bindings", 2)])
@pytest.mark.usefixtures("bindings", "pycuda")
def test_a_gpu_that_is_not_there_is_wrong_usage(name: str, count: int) -> None:
    with pytest.raises(UsageError, match=rf"engines.device 7: this box has {count} GPU"):
        memory_for(name, 7).open()


# pycuda


def test_pycudas_context_is_pushed_only_around_the_work(ram: Ram, pycuda: types.ModuleType) -> None:
    with PycudaMemory() as memory:
        assert pycuda.stack == []
        with memory.current():
            assert len(pycuda.stack) == 1
            there_and_back(memory)
        with pytest.raises(ZeroDivisionError), memory.current():
            raise ZeroDivisionError
        assert pycuda.stack == []
    assert pycuda.stack == []
    with pytest.raises(BackendError, match="pycuda: not open"), memory.current():
        pass


def test_pycuda_has_no_graphs(pycuda: types.ModuleType) -> None:
    with PycudaMemory() as memory, pytest.raises(BackendError, match="no CUDA graphs"):
        memory.captured(lambda: None, 0)
    assert not PycudaMemory.has_graphs


def test_the_stand_in_has_no_name_that_pycuda_has_not(ram: Ram) -> None:
    published = {line for line in PYCUDA_NAMES.read_text().splitlines() if not line.startswith("#")}
    stand_in = stand_in_pycuda(ram)
    for name, value in vars(stand_in).items():
        if name.startswith("__") or name == "stack":
            continue
        assert name in published
        if isinstance(value, type) and name not in ("Error", "mem_alloc"):
            for member in (member for member in dir(value) if not member.startswith("_") and member != "address"):
                assert any(f"{kind.__name__}.{member}" in published for kind in value.__mro__), f"{name}.{member}"


def test_pycuda_that_is_not_installed_names_its_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'sad-inspection\[tensorrt\]'"):
        PycudaMemory().open()


def test_pycuda_without_a_driver_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pycuda").mkdir()
    (tmp_path / "pycuda/__init__.py").touch()
    (tmp_path / "pycuda/driver.py").write_text("raise ImportError('libcuda.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("pycuda", "pycuda.driver"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(BackendError, match=r"libcuda.so.1.*Is the NVIDIA driver installed"):
        PycudaMemory().open()
    monkeypatch.delitem(sys.modules, "pycuda")


# cuda-bindings


def test_a_captured_graph_runs_only_when_launched(ram: Ram, bindings: StandInRuntime) -> None:
    with BindingsMemory() as memory, memory.current():
        sent, found = memory.host_buffer((3,), np.uint8), memory.host_buffer((3,), np.uint8)
        address, stream = memory.device_buffer(3), memory.stream()

        def work() -> None:
            memory.to_device(address, sent, stream)
            memory.to_host(found, address, stream)

        graph = memory.captured(work, stream)
        memory.synchronise(stream)
        assert found.tolist() == [255] * 3
        for value in (1, 2):
            sent.fill(value)
            memory.launch(graph, stream)
            memory.synchronise(stream)
            assert found.tolist() == [value] * 3
    assert ram.told.count("cudaGraphDestroy") == ram.told.count("cudaGraphExecDestroy") == 1


@pytest.mark.parametrize("function", ["cudaStreamBeginCapture", "cudaMemcpyAsync", "cudaGraphInstantiate"])
def test_a_capture_that_fails_leaves_the_stream_usable(ram: Ram, bindings: StandInRuntime, function: str) -> None:
    with BindingsMemory() as memory, memory.current():
        host, address, stream = memory.host_buffer((3,), np.uint8), memory.device_buffer(3), memory.stream()
        ram.fails = {function: "cudaErrorStreamCaptureUnsupported"}
        with pytest.raises(BackendError, match="not permitted when stream is capturing"):
            memory.captured(lambda: memory.to_device(address, host, stream), stream)
        ram.fails = {}
        if function != "cudaGraphInstantiate":
            assert ram.told[-1] == "cudaGetLastError"
            assert bindings._graph is None
        assert there_and_back(memory)


def test_a_driver_too_old_says_which_package_fits(ram: Ram, bindings: StandInRuntime) -> None:
    ram.fails = {"cudaGetDeviceCount": "cudaErrorInsufficientDriver"}
    with pytest.raises(BackendError, match=r"pip install 'cuda-bindings==12.\*'"):
        BindingsMemory().open()


def test_a_function_that_the_driver_has_not_is_a_backend_error(
    bindings: StandInRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(graph: object, flags: int) -> None:
        raise RuntimeError("Function cuGraphInstantiateWithFlags is not found")

    monkeypatch.setattr(bindings, "cudaGraphInstantiate", missing)
    with BindingsMemory() as memory, memory.current():
        stream = memory.stream()
        with pytest.raises(BackendError, match=r"cudaGraphInstantiate: Function .* not found"):
            memory.captured(lambda: None, stream)


def test_the_stand_in_has_no_name_that_cuda_bindings_has_not(bindings: StandInRuntime) -> None:
    from cuda.bindings import runtime

    assert {name for name in dir(bindings) if not name.startswith("_")} <= set(dir(runtime))
    for name in ("cudaDevAttrIntegrated", "cudaDevAttrCanMapHostMemory"):
        assert hasattr(runtime.cudaDeviceAttr, name)
    for name in ("cudaMemcpyHostToDevice", "cudaMemcpyDeviceToHost"):
        assert hasattr(runtime.cudaMemcpyKind, name)


def test_the_real_cuda_bindings_without_a_driver_is_a_clear_error() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime")
    if int(runtime.cudaGetDeviceCount()[0]) == 0:
        pytest.skip("there is a GPU")
    with pytest.raises(BackendError, match=r"driver|GPU"):
        BindingsMemory().open()


def test_the_real_cuda_bindings_take_numbers_for_streams_and_addresses() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime")
    if int(runtime.cudaGetDeviceCount()[0]) == 0:
        pytest.skip("there is a GPU, and these addresses are none of its")
    kind = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
    mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    statuses = [
        runtime.cudaMemcpyAsync(1, 2, 3, kind, 4)[0],
        runtime.cudaStreamSynchronize(4)[0],
        runtime.cudaStreamBeginCapture(4, mode)[0],
        runtime.cudaHostGetDevicePointer(1, 0)[0],
        runtime.cudaFree(1)[0],
        runtime.cudaFreeHost(1)[0],
        runtime.cudaStreamDestroy(4)[0],
        runtime.cudaSetDevice(0)[0],
    ]
    assert all(int(status) != 0 for status in statuses)


# What an error means


def test_every_sticky_error_has_the_name_and_the_words_that_cuda_gives_it() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime")
    for name, phrase in LOST.items():
        words = runtime.cudaGetErrorString(getattr(runtime.cudaError_t, name))[1].decode()
        assert phrase in words
        assert isinstance(trouble("copying", words), DeviceLost)
        assert isinstance(trouble("copying", name), DeviceLost)
    told = [runtime.cudaGetErrorString(error)[1].decode() for error in runtime.cudaError_t]
    assert all(any(phrase in words for words in told) for phrase in MEND)


def test_errors_that_pass_are_not_taken_for_a_lost_device() -> None:
    runtime = pytest.importorskip("cuda.bindings.runtime")
    passing = ("MemoryAllocation", "InvalidValue", "NotReady", "LaunchOutOfResources", "StreamCaptureUnsupported")
    more = ("InvalidResourceHandle", "NotSupported", "StreamCaptureInvalidated", "InsufficientDriver")
    for short in (*passing, *more):
        status = getattr(runtime.cudaError_t, f"cudaError{short}")
        words = f"cudaError{short}: {runtime.cudaGetErrorString(status)[1].decode()}"
        assert isinstance(trouble("copying", words), BackendError), words


def test_a_lost_device_ends_a_command_with_code_5() -> None:
    assert trouble("waiting", ILLEGAL).exit_code == 5


# The table


@pytest.mark.parametrize(
    ("installed", "graphs", "chosen", "why"),
    [
        (["pycuda", "cuda-bindings"], True, "cuda-bindings", "it has CUDA graphs"),
        (["pycuda", "cuda-bindings"], False, "pycuda", "CUDA graphs are off"),
        (["pycuda"], True, "pycuda", "the only one installed"),
        (["cuda-bindings"], False, "cuda-bindings", "the only one installed"),
    ],
)
def test_auto_takes_pycuda_unless_graphs_are_wanted_and_can_be_had(
    monkeypatch: pytest.MonkeyPatch, installed: list[str], graphs: bool, chosen: str, why: str
) -> None:
    monkeypatch.setattr(table, "installed_memories", lambda: installed)
    assert chosen_memory("auto", graphs=graphs) == (chosen, why)
    assert chosen_memory("pycuda") == ("pycuda", "asked for")


def test_neither_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert installed_memories() == []
    with pytest.raises(MissingExtra, match=r"sad-inspection\[tensorrt\]"):
        chosen_memory()


def test_a_missing_parent_package_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(table.MODULES, "cuda-bindings", "no_such_parent.bindings")
    assert "cuda-bindings" not in installed_memories()


def test_an_unknown_memory_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="auto, pycuda, cuda-bindings"):
        chosen_memory("cupy")
