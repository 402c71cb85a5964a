"""CUDA memory by pycuda: in the GPU's primary context, the one that TensorRT and everybody else in the process uses.

`pycuda.autoinit` would make a context of its own, whose handles TensorRT cannot use. The primary one is pushed for
each piece of work and popped after it, so that what else runs in this thread finds its own. No CUDA graphs.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from numpy.typing import DTypeLike, NDArray

from sad_runtime.cuda.base import Memory
from sad_runtime.cuda.trouble import trouble
from sad_runtime.errors import BackendError, MissingExtra, SadError, UsageError

log = logging.getLogger("sad.cuda")
NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING, which pycuda has no name for: does not wait for the default stream."""


class PycudaMemory(Memory):
    name = "pycuda"

    def __init__(self, device: int = 0) -> None:
        super().__init__(device)
        self._cuda: Any = None
        self._context: Any = None
        self._streams: dict[int, Any] = {}
        self._device_buffers: list[Any] = []
        self._host_buffers: list[NDArray[Any]] = []
        self._not_freed: list[SadError] = []

    def open(self) -> None:
        self._cuda = _driver()
        with self._checked("taking the GPU"):
            self._cuda.init()
            count = self._cuda.Device.count()
            if self.device >= count:
                raise UsageError(f"engines.device {self.device}: this box has {count} GPU(s), numbered from 0")
            gpu = self._cuda.Device(self.device)
            names = self._cuda.device_attribute
            wanted = (names.INTEGRATED, names.CAN_MAP_HOST_MEMORY)
            self.zero_copy = all(gpu.get_attribute(name) for name in wanted)
            self._context = gpu.retain_primary_context()

    @contextmanager
    def current(self) -> Iterator[None]:
        if self._context is None:
            raise BackendError("pycuda: not open")
        with self._checked("turning to the GPU"):
            self._context.push()
        try:
            yield
        except BaseException:
            with suppress(SadError), self._checked("turning from the GPU"):
                self._cuda.Context.pop()
            raise
        with self._checked("turning from the GPU"):
            self._cuda.Context.pop()

    def device_buffer(self, size_bytes: int) -> int:
        with self._checked(f"taking {size_bytes} bytes on the GPU"):
            buffer = self._cuda.mem_alloc(size_bytes)
        self._device_buffers.append(buffer)
        return int(buffer)

    def host_buffer(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        flags = self._cuda.host_alloc_flags.DEVICEMAP if self.zero_copy else 0
        with self._checked("page-locking memory"):
            host: NDArray[Any] = self._cuda.pagelocked_empty(tuple(shape), dtype, mem_flags=flags)
        self._host_buffers.append(host)
        return host

    def mapped(self, host: NDArray[Any]) -> int:
        allocation: Any = host.base
        with self._checked("mapping memory"):
            return int(allocation.get_device_pointer())

    def stream(self) -> int:
        with self._checked("making a stream"):
            stream = self._cuda.Stream(NON_BLOCKING)
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def to_device(self, address: int, host: NDArray[Any], stream: int) -> None:
        with self._checked("copying to the GPU"):
            self._cuda.memcpy_htod_async(address, host, self._streams[stream])

    def to_host(self, host: NDArray[Any], address: int, stream: int) -> None:
        with self._checked("copying from the GPU"):
            self._cuda.memcpy_dtoh_async(host, address, self._streams[stream])

    def synchronise(self, stream: int) -> None:
        with self._checked("waiting for the GPU"):
            self._streams[stream].synchronize()

    def close(self) -> None:
        if self._context is None:
            return
        with suppress(SadError), self.current():  # told by the call that lost the GPU
            self._free_all()
        self._free_all()
        if self._not_freed:
            log.warning(
                "%d of the GPU's resources could not be given back: %s", len(self._not_freed), self._not_freed[0]
            )
        self._not_freed = []
        self._context = None  # the last reference gives the primary context back

    def _free_all(self) -> None:
        self._streams.clear()
        while self._device_buffers:
            self._free(self._device_buffers.pop())
        while self._host_buffers:
            self._free(self._host_buffers.pop().base)

    def _free(self, allocation: Any) -> None:
        try:
            with self._checked("giving memory back"):
                allocation.free()
        except SadError as error:
            self._not_freed.append(error)

    @contextmanager
    def _checked(self, doing: str) -> Iterator[None]:
        """pycuda checks every status and raises its own errors, with CUDA's words."""
        try:
            yield
        except self._cuda.Error as error:
            raise trouble(doing, str(error), held=self._context is not None) from None


def _driver() -> Any:
    if importlib.util.find_spec("pycuda") is None:
        raise MissingExtra("pycuda", "tensorrt", "engines.memory: pycuda")
    try:
        return importlib.import_module("pycuda.driver")
    except ImportError as error:
        raise BackendError(
            f"pycuda is installed, but cannot be loaded ({error}). Is the NVIDIA driver installed (nvidia-smi)? "
            "If it is: build pycuda again, pip install --force-reinstall --no-cache-dir pycuda"
        ) from None
