"""The process that builds one engine: started by child.py only.

It reads the model from one inherited file and writes the engine to another, so nothing is left behind however it
ends. It dies with the thread that started it, gives way to the line's own work, and says what happens in JSON lines.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
import threading
import time
from typing import Any

from sad_runtime.engines.api import tensorrt_module
from sad_runtime.engines.build import engine_from_onnx
from sad_runtime.engines.gpu import use_gpu
from sad_runtime.engines.job import Job, Line
from sad_runtime.errors import SadError
from sad_runtime.files import reason_of

PR_SET_PDEATHSIG = 1
NICENESS = 10
STEP_EVERY_S = 0.5
FAILED = 1


class Lines(logging.Handler):
    """The pipe to the parent; also a handler, so that what TensorRT logs gets there."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(logging.INFO)
        self._descriptor = descriptor
        self._turn = threading.Lock()
        self._stepped_s = 0.0

    def say(self, line: Line) -> None:
        """Any thread may; TensorRT has many."""
        data = line.model_dump_json().encode() + b"\n"
        with self._turn:
            while data:
                data = data[os.write(self._descriptor, data) :]

    def step(self, share: float, phase: str) -> None:
        now_s = time.monotonic()
        if now_s - self._stepped_s >= STEP_EVERY_S:
            self._stepped_s = now_s
            self.say(Line(say="step", text=phase, share=share))

    def emit(self, record: logging.LogRecord) -> None:
        self.say(Line(say="log", text=record.getMessage(), level=record.levelno))


def main(argv: list[str]) -> int:
    job = Job.model_validate_json(argv[0])
    _die_with(job.parent)
    os.nice(NICENESS)
    lines = Lines(job.lines)
    logging.basicConfig(level=logging.INFO, handlers=[lines])
    try:
        use_gpu(job.settings.device)
        built = engine_from_onnx(
            tensorrt_module(job.kind),
            job.kind,
            _read(job.model),
            job.settings,
            timing=_read(job.timing),
            int8_table=_read(job.int8_table),
            watch=lines.step,
        )
        _write(job.engine, built.engine)
        _write(job.timing, built.timing)
    except SadError as error:
        lines.say(Line(say="failed", text=str(error)))
        return FAILED
    except OSError as error:
        lines.say(Line(say="failed", text=f"{job.kind}: the engine cannot be written ({reason_of(error)})"))
        return FAILED
    return 0


def _die_with(parent: int) -> None:
    """The kernel kills this process when its parent ends, also while a builder holds the GIL."""
    libc: Any = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the kernel was told
        os._exit(FAILED)


def _read(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        file.seek(0)
        return file.read()


def _write(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.seek(0)
        file.truncate()
        file.write(data)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)  # the engine is written; what CUDA does at a regular exit can still crash or hang
