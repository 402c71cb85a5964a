"""The seam to CUDA memory: buffers, copies and streams of one GPU. One package a file; `table.py` lists them.

Addresses and streams are plain numbers, as TensorRT takes them. Everything that one Memory hands out lives until its
`close`, so that nothing can be freed while an inference still writes to it. Every call is checked: one that fails
raises DeviceLost for an error that the process cannot survive, else BackendError (trouble.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sad_runtime.errors import BackendError


class Memory(ABC):
    """One GPU's memory. Not thread-safe: the thread that opens it uses and closes it."""

    name: ClassVar[str]
    has_graphs: ClassVar[bool] = False
    """Whether `captured` and `launch` work."""
    zero_copy = False
    """Known once open: the GPU shares the CPU's memory (Jetson), so `mapped` spares both copies."""

    def __init__(self, device: int = 0) -> None:
        """`device`: number of the GPU, from 0."""
        self.device = device

    @abstractmethod
    def open(self) -> None:
        """Raises BackendError without a GPU or driver, UsageError without this GPU, MissingExtra."""

    @abstractmethod
    def current(self) -> AbstractContextManager[None]:
        """Inside, CUDA calls of this thread, TensorRT's too, are this GPU's. Needed around every other verb."""

    @abstractmethod
    def device_buffer(self, size_bytes: int) -> int:
        """Address of memory on the GPU."""

    @abstractmethod
    def host_buffer(self, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """Page-locked memory of the CPU. Dangles after `close`: never hand it to anybody."""

    @abstractmethod
    def mapped(self, host: NDArray[Any]) -> int:
        """The address by which the GPU sees a `host_buffer`; only where `zero_copy`."""

    @abstractmethod
    def stream(self) -> int:
        """A new queue of work, independent of all others."""

    @abstractmethod
    def to_device(self, address: int, host: NDArray[Any], stream: int) -> None:
        """Queues a copy; `host` must stay as it is until the stream is synchronised."""

    @abstractmethod
    def to_host(self, host: NDArray[Any], address: int, stream: int) -> None:
        """Queues a copy; `host` holds it once the stream is synchronised."""

    @abstractmethod
    def synchronise(self, stream: int) -> None:
        """Waits until all that is queued is done. Errors of queued work come out here."""

    @abstractmethod
    def close(self) -> None:
        """Frees everything. May be called twice; never raises: what a lost GPU does not free is logged."""

    def captured(self, work: Callable[[], None], stream: int) -> Any:
        """A graph of what `work` queues on `stream`; nothing of it runs. Raises BackendError where it cannot be."""
        raise BackendError(f"{self.name} has no CUDA graphs")

    def launch(self, graph: Any, stream: int) -> None:
        """Queues all of a captured graph at once."""
        raise BackendError(f"{self.name} has no CUDA graphs")

    def __enter__(self) -> Memory:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def size_bytes(shape: Sequence[int], dtype: DTypeLike) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
