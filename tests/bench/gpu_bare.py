"""The bare peer of the GPU backends: execute_async_v3 on one stream, with no copies, checks or Python in between."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np

from sad_runtime.backends.driver import Driver
from sad_runtime.cuda.base import size_bytes
from sad_runtime.engines.api import logger


class BareEngine:
    """Opened by `with`, on the very engine that the backend runs, beside it on the same GPU."""

    def __init__(self, driver: Driver, model: bytes) -> None:
        self._driver, self._memory, self._model = driver, driver.memory, model
        self._opened = ExitStack()

    def __enter__(self) -> BareEngine:
        with ExitStack() as opening:
            opening.enter_context(self._memory)
            opening.callback(self._let_go)
            with self._memory.current():
                self._load()
            self._opened = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def execute(self, count: int = 1) -> None:
        """`count` executions queued one behind the other, and waited for once."""
        with self._memory.current():
            for _ in range(count):
                if not self._context.execute_async_v3(self._stream):
                    raise RuntimeError("the bare engine failed")
            self._memory.synchronise(self._stream)

    def _load(self) -> None:
        trt = self._driver.trt
        self._runtime: Any = trt.Runtime(logger(trt))
        self._engine: Any = self._runtime.deserialize_cuda_engine(self._driver.engines.engine(self._model))
        self._context: Any = self._engine.create_execution_context()
        self._stream = self._memory.stream()
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        for name in names:
            is_input = self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            shape = tuple(self._engine.get_tensor_shape(name))
            if is_input:
                self._context.set_input_shape(name, shape)
            size = size_bytes(shape, np.uint8 if is_input else np.float32)
            self._context.set_tensor_address(name, self._memory.device_buffer(size))
        self.execute(2)

    def _let_go(self) -> None:
        self._context = self._engine = self._runtime = None
