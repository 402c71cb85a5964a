"""CUDA memory by cuda-bindings, NVIDIA's own package: the runtime API, which works in the GPU's primary context.

The only one of the two that has CUDA graphs.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sad_runtime.cuda.base import Memory, size_bytes
from sad_runtime.cuda.trouble import trouble
from sad_runtime.errors import MissingExtra, SadError, UsageError

log = logging.getLogger("sad.cuda")


class BindingsMemory(Memory):
    name = "cuda-bindings"
    has_graphs = True

    def __init__(self, device: int = 0) -> None:
        super().__init__(device)
        self._cuda: Any = None
        self._held = False
        self._freeing = ExitStack()
        self._not_freed: list[SadError] = []

    def open(self) -> None:
        self._cuda = _runtime()
        count = self._call("looking for a GPU", "cudaGetDeviceCount")
        if self.device >= count:
            raise UsageError(f"engines.device {self.device}: this box has {count} GPU(s), numbered from 0")
        with self.current():
            self._call("taking the GPU", "cudaFree", 0)  # makes the primary context, if nobody has yet
            self._held = True
            self.zero_copy = self._has("cudaDevAttrIntegrated") and self._has("cudaDevAttrCanMapHostMemory")

    @contextmanager
    def current(self) -> Iterator[None]:
        self._call("turning to the GPU", "cudaSetDevice", self.device)
        yield

    def device_buffer(self, size_bytes: int) -> int:
        address = int(self._call(f"taking {size_bytes} bytes on the GPU", "cudaMalloc", size_bytes))
        self._freeing.callback(self._free, "cudaFree", address)
        return address

    def host_buffer(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        size = size_bytes(shape, dtype)
        flags = self._cuda.cudaHostAllocMapped if self.zero_copy else self._cuda.cudaHostAllocDefault
        address = int(self._call(f"page-locking {size} bytes", "cudaHostAlloc", size, flags))
        self._freeing.callback(self._free, "cudaFreeHost", address)
        buffer: Any = (ctypes.c_uint8 * size).from_address(address)
        host: NDArray[Any] = np.frombuffer(buffer, np.dtype(dtype)).reshape(tuple(shape))
        return host

    def mapped(self, host: NDArray[Any]) -> int:
        return int(self._call("mapping memory", "cudaHostGetDevicePointer", host.ctypes.data, 0))

    def stream(self) -> int:
        made = self._call("making a stream", "cudaStreamCreateWithFlags", self._cuda.cudaStreamNonBlocking)
        stream = int(made)
        self._freeing.callback(self._free, "cudaStreamDestroy", stream)
        return stream

    def to_device(self, address: int, host: NDArray[Any], stream: int) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("copying to the GPU", "cudaMemcpyAsync", address, host.ctypes.data, host.nbytes, kind, stream)

    def to_host(self, host: NDArray[Any], address: int, stream: int) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("copying from the GPU", "cudaMemcpyAsync", host.ctypes.data, address, host.nbytes, kind, stream)

    def synchronise(self, stream: int) -> None:
        self._call("waiting for the GPU", "cudaStreamSynchronize", stream)

    def captured(self, work: Callable[[], None], stream: int) -> Any:
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        try:
            self._call("capturing a graph", "cudaStreamBeginCapture", stream, mode)
            work()
            recorded = self._call("capturing a graph", "cudaStreamEndCapture", stream)
        except BaseException:
            self._abandon(stream)
            raise
        try:
            graph = self._call("making a graph", "cudaGraphInstantiate", recorded, 0)
        finally:
            self._free("cudaGraphDestroy", recorded)
        self._freeing.callback(self._free, "cudaGraphExecDestroy", graph)
        return graph

    def launch(self, graph: Any, stream: int) -> None:
        self._call("launching a graph", "cudaGraphLaunch", graph, stream)

    def close(self) -> None:
        freeing, self._freeing = self._freeing, ExitStack()
        if self._cuda is None:
            return
        with suppress(SadError), self.current():  # told by the call that lost the GPU
            freeing.close()
        freeing.close()
        if self._not_freed:
            log.warning(
                "%d of the GPU's resources could not be given back: %s", len(self._not_freed), self._not_freed[0]
            )
        self._not_freed = []
        self._cuda, self._held = None, False

    def _abandon(self, stream: int) -> None:
        """Ends a capture that failed; until then the stream takes no other work, and TensorRT meets the old error."""
        with suppress(SadError):
            self._free("cudaGraphDestroy", self._call("ending a capture", "cudaStreamEndCapture", stream))
        self._cuda.cudaGetLastError()

    def _has(self, attribute: str) -> bool:
        wanted = getattr(self._cuda.cudaDeviceAttr, attribute)
        return bool(self._call("asking the GPU what it is", "cudaDeviceGetAttribute", wanted, self.device))

    def _free(self, function: str, handle: Any) -> None:
        try:
            self._call("giving memory back", function, handle)
        except SadError as error:
            self._not_freed.append(error)

    def _call(self, doing: str, function: str, *arguments: Any) -> Any:
        """What `function` answers besides its status. Raises for a status that is not success."""
        try:
            status, *values = getattr(self._cuda, function)(*arguments)
        except RuntimeError as error:  # the driver does not have this function
            raise trouble(doing, f"{function}: {error}", held=self._held) from None
        if int(status) != 0:
            raise trouble(doing, f"{status.name}: {self._words(status)}", held=self._held)
        return values[0] if values else None

    def _words(self, status: Any) -> str:
        return bytes(self._cuda.cudaGetErrorString(status)[1]).decode("utf-8", "replace")


def _runtime() -> Any:
    try:
        from cuda.bindings import runtime
    except ImportError:
        raise MissingExtra("cuda-bindings", "tensorrt", "engines.memory: cuda-bindings") from None
    return runtime
