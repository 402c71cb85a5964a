"""A GPU that is none: stands in for CUDA memory and for the part of TensorRT that the runtime calls.

An engine is an ONNX file behind a mark; running it runs ONNX Runtime on the very addresses that were set. Work is only
queued, and done when its stream is synchronised, as late as CUDA may do it: who reads too early reads NaN, who writes
too early spoils the inference. Misuse that a real GPU would answer with nonsense is an AssertionError here. `fail` lets
the k-th call of a kind fail.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import DTypeLike, NDArray

from sad_runtime.backends.driver import Driver
from sad_runtime.backends.tensorrt import TensorRTBackend
from sad_runtime.cuda.base import Memory, size_bytes
from sad_runtime.engines.job import Progress
from sad_runtime.engines.settings import EngineSettings
from sad_runtime.errors import BackendError, DeviceLost

MARK = b"engine:"
LOST = DeviceLost("the GPU is lost: waiting for the GPU failed (an illegal memory access was encountered)")
FULL = BackendError("cuda: taking bytes on the GPU failed (out of memory). The GPU's memory is full.")


class Piece(NamedTuple):
    """Work on a stream, the addresses it uses, and what of the CPU's memory may not be read until it is done."""

    work: Callable[[], None]
    addresses: Sequence[int]
    spoilt: NDArray[Any] | None = None


class Gpu:
    """What memory and engines of one test share. `told` is every call in order, as `verb` or `verb stream`."""

    def __init__(self, *, zero_copy: bool = False) -> None:
        self.zero_copy = zero_copy
        self.told: list[str] = []
        self.idle = False
        """Engines are launched, say that all is well, and compute nothing."""
        self.turned_to = 0
        self.addresses: dict[int, int] = {}
        """Size by address, of what may be used now."""
        self.kept: list[Any] = []
        """Freed memory is not given back to the system, so that misuse fails in the test and not in the process."""
        self.queues: dict[int, list[Callable[[], None]]] = {}
        self.capturing: list[Piece] | None = None
        self._pending: dict[int, int] = {}
        self._counts: Counter[str] = Counter()
        self._failures: dict[tuple[str, int], Exception | None] = {}
        self._lost: DeviceLost | None = None

    def fail(self, verb: str, call: int, error: Exception | None) -> None:
        """The `call`-th (from 1) `verb` of from now on raises `error`; None: answers as TensorRT does when it fails."""
        self._failures[verb, self._counts[verb] + call] = error

    def does(self, verb: str, stream: int | None = None) -> bool:
        """Notes a call. False where it is to fail without an exception. After a DeviceLost everything is lost."""
        assert self.turned_to, f"{verb} outside of current()"
        self.told.append(verb if stream is None else f"{verb} {stream}")
        if self._lost is not None:
            raise self._lost
        self._counts[verb] += 1
        key = (verb, self._counts[verb])
        if key not in self._failures:
            return True
        error = self._failures.pop(key)
        if isinstance(error, DeviceLost):
            self._lost = error
            self.queues = {stream: [] for stream in self.queues}  # nothing runs there any more
        if error is not None:
            raise error
        return False

    def queue(self, stream: int, piece: Piece) -> None:
        assert stream in self.queues, f"stream {stream} is not there"
        if self.capturing is not None:
            self.capturing.append(piece)
            return
        for address in piece.addresses:
            assert address in self.addresses, f"address {address} was never taken, or is freed"
            assert self._pending.setdefault(address, stream) == stream, "used on two streams without synchronising"
        if piece.spoilt is not None:
            piece.spoilt.fill(np.nan)
        self.queues[stream].append(piece.work)

    def finish(self, stream: int) -> None:
        assert stream in self.queues, f"stream {stream} is not there"
        work, self.queues[stream] = self.queues[stream], []
        self._pending = {address: other for address, other in self._pending.items() if other != stream}
        for piece in work:
            piece()

    def of(self, verb: str) -> list[int]:
        """The streams on which a verb was called, in order."""
        return [int(call.split()[1]) for call in self.told if call.split()[0] == verb and " " in call]

    @property
    def empty(self) -> bool:
        return not self.addresses and not self.queues


class StandInMemory(Memory):
    name = "stand-in"
    has_graphs = True

    def __init__(self, gpu: Gpu) -> None:
        super().__init__()
        self.gpu = gpu
        self._numbers = itertools.count(1)
        self._own: list[int] = []
        self._is_open = False

    def open(self) -> None:
        assert not self._is_open
        self._is_open = True
        self.zero_copy = self.gpu.zero_copy

    @contextmanager
    def current(self) -> Iterator[None]:
        assert self._is_open, "used before open or after close"
        self.gpu.turned_to += 1
        try:
            yield
        finally:
            self.gpu.turned_to -= 1

    def device_buffer(self, size_bytes: int) -> int:
        self.gpu.does("device_buffer")
        return self._taken(np.full(size_bytes, 0xFF, np.uint8))

    def host_buffer(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        self.gpu.does("host_buffer")
        host = np.full(size_bytes(shape, dtype), 0xFF, np.uint8)
        self._taken(host)
        return host.view(dtype).reshape(tuple(shape))

    def mapped(self, host: NDArray[Any]) -> int:
        assert self.zero_copy, "mapped on a GPU with memory of its own"
        self.gpu.does("mapped")
        return host.ctypes.data

    def stream(self) -> int:
        self.gpu.does("stream")
        number = next(self._numbers)
        self.gpu.queues[number] = []
        return number

    def to_device(self, address: int, host: NDArray[Any], stream: int) -> None:
        self.gpu.does("to_device", stream)
        source, size = host.ctypes.data, host.nbytes
        assert size <= self.gpu.addresses.get(address, 0)
        self.gpu.queue(stream, Piece(lambda: _move(address, source, size), (address, source)))

    def to_host(self, host: NDArray[Any], address: int, stream: int) -> None:
        self.gpu.does("to_host", stream)
        target, size = host.ctypes.data, host.nbytes
        assert size <= self.gpu.addresses.get(address, 0)

        self.gpu.queue(stream, Piece(lambda: _move(target, address, size), (address, target), spoilt=host))

    def synchronise(self, stream: int) -> None:
        self.gpu.does("synchronise", stream)
        self.gpu.finish(stream)

    def captured(self, work: Callable[[], None], stream: int) -> list[Piece]:
        self.gpu.does("captured", stream)
        graph: list[Piece] = []
        self.gpu.capturing = graph
        try:
            work()
        finally:
            self.gpu.capturing = None
        return graph

    def launch(self, graph: Any, stream: int) -> None:
        self.gpu.does("launch", stream)
        for piece in graph:
            self.gpu.queue(stream, piece)

    def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self.gpu.told.append("memory closed")
        assert not any(self.gpu.queues.values()), "freed while work is queued"
        for address in self._own:
            del self.gpu.addresses[address]
        self._own.clear()
        self.gpu.queues.clear()

    def _taken(self, buffer: NDArray[np.uint8]) -> int:
        address = buffer.ctypes.data
        self.gpu.kept.append(buffer)
        self.gpu.addresses[address] = buffer.nbytes
        self._own.append(address)
        return address


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def log(self, severity: Any, message: str) -> None:
        raise NotImplementedError


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    FLOAT = 0
    UINT8 = 1
    INT64 = 2


DTYPES = {"tensor(float)": DataType.FLOAT, "tensor(uint8)": DataType.UINT8, "tensor(int64)": DataType.INT64}


class StandInTensorRT:
    """Poses as the module `tensorrt`."""

    ILogger, TensorIOMode, DataType = ILogger, TensorIOMode, DataType
    __version__ = "0.0"

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu

    def Runtime(self, logger: Any) -> Runtime:  # noqa: N802  TensorRT's name
        return Runtime(self._gpu, logger)


class Runtime:
    DLA_core: int

    def __init__(self, gpu: Gpu, logger: Any) -> None:
        self._gpu, self._logger = gpu, logger
        weakref.finalize(self, gpu.told.append, "runtime gone")

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        if not self._gpu.does("deserialize") or not serialized_engine.startswith(MARK):
            self._logger.log(ILogger.ERROR, "IRuntime::deserializeCudaEngine: Error Code 1: magicTag does not match")
            return None
        return ICudaEngine(self._gpu, self._logger, serialized_engine[len(MARK) :])


class ICudaEngine:
    def __init__(self, gpu: Gpu, logger: Any, model: bytes) -> None:
        self._gpu, self._logger = gpu, logger
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._inputs = {port.name: port for port in self._session.get_inputs()}
        self._ports = self._inputs | {port.name: port for port in self._session.get_outputs()}
        weakref.finalize(self, gpu.told.append, "engine gone")

    @property
    def num_io_tensors(self) -> int:
        return len(self._ports)

    def get_tensor_name(self, index: int) -> str:
        return str(list(self._ports)[index])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> list[int]:
        return [size if isinstance(size, int) else -1 for size in self._ports[name].shape]

    def get_tensor_dtype(self, name: str) -> DataType:
        return DTYPES[self._ports[name].type]

    def create_execution_context(self) -> IExecutionContext | None:
        if not self._gpu.does("create_execution_context"):
            self._logger.log(
                ILogger.ERROR, "createExecutionContext: Error Code 2: Requested amount of GPU memory: OutOfMemory"
            )
            return None
        return IExecutionContext(self, self._session, self._gpu, self._logger)


class IExecutionContext:
    def __init__(self, engine: ICudaEngine, session: Any, gpu: Gpu, logger: Any) -> None:
        self._engine, self._session = weakref.proxy(engine), session
        self._gpu, self._logger = gpu, logger
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        weakref.finalize(self, gpu.told.append, "context gone")

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        fixed = self._engine.get_tensor_shape(name)
        self._shapes[name] = tuple(shape)
        return all(own in (-1, size) for own, size in zip(fixed, shape, strict=True))

    def get_tensor_shape(self, name: str) -> list[int]:
        (batch,) = [shape[0] for shape in self._shapes.values()]
        return [batch if size == -1 else size for size in self._engine.get_tensor_shape(name)]

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return memory in self._gpu.addresses

    def execute_async_v3(self, stream_handle: int) -> bool:
        if not self._gpu.does("execute", stream_handle):
            self._logger.log(
                ILogger.ERROR, "IExecutionContext::enqueueV3: Error Code 1: Cask (Cask convolution execution)"
            )
            return False
        self._gpu.queue(stream_handle, Piece(self._run, tuple(self._addresses.values())))
        return True

    def _run(self) -> None:
        if self._gpu.idle:
            return
        (name,) = self._shapes
        picture = _view(self._addresses[name], self._shapes[name], np.uint8)
        outputs = [port.name for port in self._session.get_outputs()]
        for output, value in zip(outputs, self._session.run(outputs, {name: picture}), strict=True):
            _view(self._addresses[output], value.shape, value.dtype)[...] = value


class StandInRoom:
    """Poses as the engine room. `spoilt`: so many of the engines it gives are damaged."""

    def __init__(self, spoilt: int = 0) -> None:
        self.spoilt = spoilt
        self.empty = False
        """Nothing is in the cache."""
        self.built = 0
        self.forgotten = 0
        self._engine: bytes | None = None

    def cached(self, model: bytes) -> bytes | None:
        """As if every engine had been built before."""
        return None if self.empty else self.engine(model)

    def engine(self, model: bytes, tell: Callable[[Progress], None] | None = None) -> bytes:
        if self._engine is None:
            self.built += 1
            self._engine = b"damaged" if self.spoilt >= self.built else MARK + model
        return self._engine

    def forget(self, model: bytes) -> None:
        self.forgotten += 1
        self._engine = None


class StandInBackend(TensorRTBackend):
    """The backend as it ships, on a GPU that is none."""

    gpu: ClassVar[Gpu]
    room: ClassVar[StandInRoom]

    def _driver(self, settings: EngineSettings) -> Driver:
        return Driver(StandInTensorRT(self.gpu), StandInMemory(self.gpu), self.room)


def backend_on(gpu: Gpu, room: StandInRoom | None = None) -> type[StandInBackend]:
    """A class to put into the table of backends, or to make backends of."""
    return type("StandInBackend", (StandInBackend,), {"gpu": gpu, "room": room or StandInRoom()})


def _view(address: int, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    size = size_bytes(shape, dtype)
    buffer: Any = (ctypes.c_uint8 * size).from_address(address)
    array: NDArray[Any] = np.frombuffer(buffer, np.dtype(dtype)).reshape(tuple(shape))
    return array


def _move(target: int, source: int, size: int) -> None:
    ctypes.memmove(target, source, size)
