"""One inference under way on the GPU: its own execution context, stream, buffers and CUDA graph.

`start` queues the copy in, the network and the copies out, and returns at once; `finish` waits for them. Several slots
of one engine overlap. Before each inference the score on the GPU is overwritten with NaN, so that an inference that
did not take place can never pass for the one before it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sad_runtime.backends.base import INPUT, OUTPUTS
from sad_runtime.cuda.base import Memory, size_bytes
from sad_runtime.engines.api import memory_ran_out
from sad_runtime.errors import BackendError

log = logging.getLogger("sad.tensorrt")
SCORE = "score"


@dataclass(frozen=True)
class Loaded:
    """An engine ready to run. `logger`: from engines/api.py; `input_shape`: (N, H, W, C) without open sizes."""

    backend: str
    engine: Any
    logger: Any
    input_shape: tuple[int, ...]
    memory: Memory
    graphs: bool

    def refused(self, what: str) -> BackendError:
        text = self.logger.text()
        mend = (
            ". The GPU's memory is full: end what else uses it, set engines.in_flight to 1, or take a smaller precision"
            if memory_ran_out(text)
            else ""
        )
        return BackendError(f"{self.backend}: {what}: {text}{mend}")


class Slot:
    """Made, used and dropped inside `memory.current()`."""

    def __init__(self, loaded: Loaded) -> None:
        """Takes the buffers, runs once on a black picture, and captures the graph. Raises BackendError, DeviceLost."""
        self._loaded = loaded
        self._memory = loaded.memory
        self._stream = self._memory.stream()
        self._context = loaded.engine.create_execution_context()
        if self._context is None:
            raise self._refused("no execution context for its engine")
        if not self._context.set_input_shape(INPUT, loaded.input_shape):
            raise self._refused(f"its engine does not take pictures of shape {loaded.input_shape}")
        self._host: dict[str, NDArray[Any]] = {}
        self._address: dict[str, int] = {}
        self._bind(INPUT, loaded.input_shape, np.uint8)
        for name in OUTPUTS:
            self._bind(name, self._output_shape(name), np.float32)
        self._blank = self._memory.host_buffer(self._host[SCORE].shape, np.float32)
        self._blank.fill(np.nan)
        self._graph: Any = None
        self.start(np.zeros(loaded.input_shape, np.uint8))  # the first run allocates, so it cannot be captured
        self.finish()
        if loaded.graphs and self._memory.has_graphs:
            self._graph = self._captured()

    @property
    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: self._host[name].shape for name in OUTPUTS}

    @property
    def has_graph(self) -> bool:
        return self._graph is not None

    def start(self, pictures: NDArray[np.uint8]) -> None:
        """Takes a copy of `pictures`. The slot must be finished with what it had."""
        np.copyto(self._host[INPUT], pictures)
        if self._memory.zero_copy:
            self._host[SCORE].fill(np.nan)
        if self._graph is not None:
            self._memory.launch(self._graph, self._stream)
        else:
            self._queue()

    def finish(self) -> Mapping[str, NDArray[np.float32]]:
        """The outputs, in this slot's own buffers: copy them before the next `start`."""
        self._memory.synchronise(self._stream)
        return {name: self._host[name] for name in OUTPUTS}

    def _queue(self) -> None:
        copies = not self._memory.zero_copy
        if copies:
            self._memory.to_device(self._address[INPUT], self._host[INPUT], self._stream)
            self._memory.to_device(self._address[SCORE], self._blank, self._stream)
        if not self._context.execute_async_v3(self._stream):
            raise self._refused("inference failed")
        if copies:
            for name in OUTPUTS:
                self._memory.to_host(self._host[name], self._address[name], self._stream)

    def _captured(self) -> Any:
        """The graph of one inference, or None where this engine cannot be captured; it then runs without."""
        capturable = getattr(self._context, "is_stream_capturable", None)  # TensorRT-RTX only
        try:
            if capturable is not None and not capturable(self._stream):
                raise self._loaded.refused("its engine cannot be captured")
            return self._memory.captured(self._queue, self._stream)
        except BackendError as error:
            log.warning("no CUDA graph, each inference is launched piece by piece: %s", error)
            return None

    def _bind(self, name: str, shape: Sequence[int], dtype: type[np.generic]) -> None:
        host = self._memory.host_buffer(shape, dtype)
        zero_copy = self._memory.zero_copy
        self._host[name] = host
        self._address[name] = (
            self._memory.mapped(host) if zero_copy else self._memory.device_buffer(size_bytes(shape, dtype))
        )
        if not self._context.set_tensor_address(name, self._address[name]):
            raise self._refused(f"its engine does not take an address for {name}")

    def _output_shape(self, name: str) -> tuple[int, ...]:
        shape = tuple(int(size) for size in self._context.get_tensor_shape(name))
        if any(size <= 0 for size in shape):
            raise BackendError(f"{self._loaded.backend}: its output {name} has an open shape {shape}; is it ours?")
        return shape

    def _refused(self, what: str) -> BackendError:
        """Waits first: a lost GPU shows there, and what is queued must not go on with buffers that are used again."""
        self._memory.synchronise(self._stream)
        return self._loaded.refused(what)
