"""TensorRT on an NVIDIA GPU: runs the engine that engines/room.py builds for this box.

`tensorrt:1` runs on the second GPU. One picture runs in one slot, alone; several given at once run `in_flight` at a
time, so that copies and computing overlap, and come back in order. Slots beyond the first are made when several
pictures first come together, so a station does not pay for them. Only the tensor-name API is used, which TensorRT 8.5
to 11 and TensorRT-RTX share.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sad_runtime.backends.base import INPUT, OUTPUTS, Backend, Outputs, check_graph, check_outputs, check_pictures
from sad_runtime.backends.driver import Driver, installed_driver, telling
from sad_runtime.backends.slot import Loaded, Slot
from sad_runtime.cuda.base import Memory
from sad_runtime.engines.api import logger, memory_ran_out
from sad_runtime.engines.settings import EngineKind, EngineSettings, for_option
from sad_runtime.errors import BackendError, SadError

log = logging.getLogger("sad.tensorrt")


class EngineMissing(BackendError):
    """The engine is not in the cache, or was refused and forgotten, and may not be built here."""


class TensorRTBackend(Backend):
    """A lost GPU raises DeviceLost, after which only a new process can infer."""

    name: ClassVar[EngineKind] = "tensorrt"
    may_build = True
    """Else `open` takes an engine from the cache only, and raises EngineMissing."""
    _memory: Memory | None = None
    _runtime: Any = None
    _loaded: Loaded | None = None
    _slots: Sequence[Slot] = ()
    _in_flight = 1

    @classmethod
    def runs_on(cls, compute_capability: str) -> bool:
        """Whether this kind of engine is made for GPUs such as "8.7"."""
        return True

    def open(self) -> None:
        settings = self._settings()
        driver = self._driver(settings)
        # Before the memory is opened: building needs the GPU's for itself.
        engine = self._engine_from(driver)
        with ExitStack() as opening:
            opening.callback(self.close)
            self._memory = driver.memory
            driver.memory.open()
            with driver.memory.current():
                self._loaded = self._load(driver, engine, settings)
                self._slots = [Slot(self._loaded)]
                self._check_outputs(self._loaded)
            self._in_flight = settings.in_flight
            opening.pop_all()

    def infer(self, pictures: NDArray[np.uint8]) -> Outputs:
        if self._loaded is None or self._memory is None or not self._slots:
            raise BackendError(f"{self.name}: not open")
        check_pictures(pictures, self.spec, self.name)
        batch = self._loaded.input_shape[0]
        if not len(pictures) or len(pictures) % batch:
            raise BackendError(f"{self.name}: {len(pictures)} pictures given, this engine takes {batch} at a time")
        shapes = self._slots[0].output_shapes
        outputs = Outputs(*(np.empty((len(pictures), *shapes[name][1:]), np.float32) for name in OUTPUTS))
        with self._memory.current():
            self._run(pictures, batch, outputs)
        return check_outputs(outputs, pictures, self.name)

    def close(self) -> None:
        """Contexts go before their engine, the engine before its runtime, all before the memory they write to."""
        memory, self._memory = self._memory, None
        if memory is None:
            return
        with suppress(SadError), memory.current():  # a lost GPU cannot be turned to; the rest still goes
            self._let_go()
        self._let_go()
        memory.close()

    def _driver(self, settings: EngineSettings) -> Driver:
        return installed_driver(self.name, settings)

    def _settings(self) -> EngineSettings:
        """`tensorrt:1` wins over `engines.device`."""
        return for_option(self.name, self.option, self.engines or EngineSettings())

    def _engine_from(self, driver: Driver) -> bytes:
        if self.may_build:
            return driver.engines.engine(self.model, telling(self.name))
        engine = driver.engines.cached(self.model)
        if engine is None:
            raise EngineMissing(f"{self.name}: the engine of this model is not built, or was removed from the cache")
        return engine

    def _load(self, driver: Driver, engine_bytes: bytes, settings: EngineSettings) -> Loaded:
        heard = logger(driver.trt)
        self._runtime = driver.trt.Runtime(heard)
        if settings.dla_core is not None:
            self._runtime.DLA_core = settings.dla_core
        engine = self._deserialised(driver, engine_bytes, heard)
        shape = self._checked(driver.trt, engine)
        return Loaded(self.name, engine, heard, shape, driver.memory, settings.graphs)

    def _deserialised(self, driver: Driver, engine_bytes: bytes, heard: Any) -> Any:
        """TensorRT returns None for an engine that it does not take: damaged, or of another box. Built again once,
        where it may be. After a sticky CUDA error it returns None too: that is DeviceLost, and no fault of the engine.
        """
        engine = self._runtime.deserialize_cuda_engine(engine_bytes)
        if engine is None:
            _check_alive(driver.memory)
        if engine is None and not memory_ran_out(heard.text()):
            log.warning("%s refuses the engine it was given (%s); building it again", self.name, heard.text())
            driver.engines.forget(self.model)
            if not self.may_build:
                raise EngineMissing(f"{self.name}: the engine of this model was refused and removed ({heard.text()})")
            engine = self._runtime.deserialize_cuda_engine(driver.engines.engine(self.model, telling(self.name)))
            if engine is None:
                _check_alive(driver.memory)
        if engine is None:
            mend = "The same engine built anew is refused too; --backend openvino runs this model on the CPU"
            if memory_ran_out(heard.text()):
                mend = "The GPU's memory is full: end what else uses it (nvidia-smi lists it)"
            raise BackendError(f"{self.name}: cannot load the engine of this model ({heard.text()}). {mend}")
        return engine

    def _checked(self, trt: Any, engine: Any) -> tuple[int, ...]:
        """The shape of its input, after the graph was found to be ours."""
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        takes = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        inputs = {name: [int(size) for size in engine.get_tensor_shape(name)] for name in takes}
        check_graph(self.name, self.spec, inputs, [name for name in names if name not in inputs])
        for name, wanted in ((INPUT, trt.DataType.UINT8), *((name, trt.DataType.FLOAT) for name in OUTPUTS)):
            if engine.get_tensor_dtype(name) != wanted:
                raise BackendError(
                    f"{self.name}: {name} is {engine.get_tensor_dtype(name)}, not {wanted}; is this graph ours?"
                )
        batch = inputs[INPUT][0]
        return (batch if batch > 0 else 1, *self.spec.shape)

    def _check_outputs(self, loaded: Loaded) -> None:
        shapes = self._slots[0].output_shapes
        blank = Outputs(*(np.empty(shapes[name], np.float32) for name in OUTPUTS))
        check_outputs(blank, np.empty(loaded.input_shape, np.uint8), self.name)

    def _run(self, pictures: NDArray[np.uint8], batch: int, outputs: Outputs) -> None:
        """Fills `outputs`; slots take turns, so the oldest is always the next to be finished."""
        under_way: deque[tuple[Slot, int]] = deque()
        try:
            for turn, first in enumerate(range(0, len(pictures), batch)):
                if len(under_way) == self._in_flight:
                    _collect(*under_way.popleft(), outputs)
                slot = self._slot(turn % self._in_flight)
                slot.start(pictures[first : first + batch])
                under_way.append((slot, first))
            while under_way:
                _collect(*under_way.popleft(), outputs)
        finally:
            for slot, _ in under_way:  # only after an error: none may write on into the next inference
                slot.finish()

    def _slot(self, number: int) -> Slot:
        assert self._loaded is not None
        if number == len(self._slots):
            self._slots = [*self._slots, Slot(self._loaded)]
        return self._slots[number]

    def _let_go(self) -> None:
        self._slots = ()
        self._loaded = None
        self._runtime = None


def _check_alive(memory: Memory) -> None:
    """Raises DeviceLost after an error that this process cannot survive."""
    memory.synchronise(memory.stream())


def _collect(slot: Slot, first: int, outputs: Outputs) -> None:
    found = slot.finish()
    for name, array in zip(OUTPUTS, outputs, strict=True):
        values = found[name]
        array[first : first + len(values)] = values
