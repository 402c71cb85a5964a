"""Builds an engine in a process of its own: a builder that crashes, hangs or is killed takes nobody along.

The calling thread waits, and tells how far it is. What `tell` raises ends the build: so a station that is to stop need
not wait for TensorRT.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import ValidationError

from sad_runtime.child_process import command_for
from sad_runtime.engines.build import Built
from sad_runtime.engines.job import Job, Line, Progress
from sad_runtime.engines.settings import EngineKind, EngineSettings
from sad_runtime.errors import BackendError, UsageError
from sad_runtime.files import reason_of

log = logging.getLogger("sad.tensorrt")
TELL_EVERY_S = 1.0
STDERR_TAIL = 600
CHILD = "sad_runtime.engines.building"
DYING_S = 5.0


@dataclass(frozen=True)
class Order:
    """What is to be built."""

    kind: EngineKind
    model: bytes
    settings: EngineSettings
    timing: bytes = b""
    int8_table: bytes = b""
    estimate_s: float | None = None


def built_in_child(order: Order, folder: Path, tell: Callable[[Progress], None] | None = None) -> Built:
    """`folder`: where there is room for the engine while it is made. `tell` is called about once a second.

    Raises BackendError with the reason of TensorRT, with how the process ended or that it took longer than
    `build_limit_s`; UsageError where the disk is full.
    """
    with ExitStack() as stack:
        with _room_for(folder):
            model, timing, table, engine, errors = (
                stack.enter_context(tempfile.TemporaryFile(dir=folder, buffering=0)) for _ in "12345"
            )
            for file, data in ((model, order.model), (timing, order.timing), (table, order.int8_table)):
                _write(file, data)
            reader, writer = os.pipe()
        stack.callback(os.close, reader)
        try:
            job = Job(
                kind=order.kind,
                settings=order.settings,
                parent=os.getpid(),
                model=model.fileno(),
                engine=engine.fileno(),
                timing=timing.fileno(),
                int8_table=table.fileno(),
                lines=writer,
            )
            with _room_for(folder):
                process = _started(job, errors)
        finally:
            os.close(writer)
        stack.callback(_ended, process)
        failure = _listen(reader, order, tell)
        code = _exit_code(process, order.kind)
        with _room_for(folder):
            if failure or code:
                raise BackendError(failure or _how_it_ended(order.kind, code, _tail(errors)))
            return Built(_whole(engine), _whole(timing))


@contextmanager
def _room_for(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"{folder}: no engine can be built here ({reason_of(error)})") from None


def _started(job: Job, errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """In a session of its own, so that Ctrl-C reaches the parent alone, which then ends the child."""
    return subprocess.Popen(
        command_for(CHILD, job.model_dump_json()),
        stdin=subprocess.DEVNULL,
        stdout=errors,
        stderr=errors,
        pass_fds=(job.model, job.engine, job.timing, job.int8_table, job.lines),
        start_new_session=True,
    )


def _ended(process: subprocess.Popen[bytes]) -> None:
    """One that waits inside a driver does not die of it, and is left behind: the station goes on."""
    if process.poll() is not None:
        return
    process.kill()
    try:
        process.wait(DYING_S)
    except subprocess.TimeoutExpired:
        log.error("the engine builder (process %d) does not end, and is left behind", process.pid)


def _exit_code(process: subprocess.Popen[bytes], kind: EngineKind) -> int:
    """It has closed its end, so it ends any moment, unless a driver holds it."""
    try:
        return process.wait(DYING_S)
    except subprocess.TimeoutExpired:
        raise BackendError(f"{kind}: the process that built the engine does not end; the GPU driver holds it") from None


def _listen(reader: int, order: Order, tell: Callable[[Progress], None] | None) -> str:
    """Until the child has closed its end. Returns its own word on why it failed, if it did."""
    begin_s = told_s = time.monotonic()
    share: float | None = None
    text, failure = "starting", ""
    for line in _lines(reader):
        if line is not None and line.say == "log":
            log.log(line.level, "%s", line.text)
        elif line is not None and line.say == "failed":
            failure = line.text
        elif line is not None:
            share, text = line.share, line.text
        now_s = time.monotonic()
        if now_s - begin_s > order.settings.build_limit_s:
            raise BackendError(
                f"{order.kind}: no engine after {now_s - begin_s:.0f} s, so the build was ended (at: {text}). Is the "
                "GPU still there (nvidia-smi)? A model that takes longer needs a larger engines.build_limit_s"
            )
        if tell is not None and now_s - told_s >= TELL_EVERY_S:
            told_s = now_s
            tell(Progress(now_s - begin_s, order.estimate_s, share, text))
    return failure


def _lines(reader: int) -> Iterator[Line | None]:
    """What the child says; None at least every TELL_EVERY_S, so that the caller can tell the time."""
    rest = b""
    while True:
        if not select.select([reader], [], [], TELL_EVERY_S / 4)[0]:
            yield None
            continue
        data = os.read(reader, 65536)
        if not data:
            return
        *whole, rest = (rest + data).split(b"\n")
        for raw in whole:
            try:
                yield Line.model_validate_json(raw)
            except ValidationError:
                log.warning("the engine builder said something odd: %r", raw[:200])


def _how_it_ended(kind: EngineKind, code: int, said: str) -> str:
    said = f" It said: {said}" if said else ""
    if code == -signal.SIGKILL:
        return (
            f"{kind}: the process that built the engine was killed, as the kernel does when memory runs out. Close "
            f"other programs, lower engines.workspace_mb, or stop the station and run sad-runtime --build-only.{said}"
        )
    how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    return f"{kind}: the process that built the engine {how}. A GPU driver that does not fit can do that.{said}"


def _tail(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - STDERR_TAIL))
    return " ".join(errors.read().decode("utf-8", "replace").split())


def _write(file: IO[bytes], data: bytes) -> None:
    """All of it: an unbuffered file may take a part, and a buffered one fails again when it is closed."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _whole(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()
