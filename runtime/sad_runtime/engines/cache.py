"""Keeps engines in a folder: one file each, a line of JSON that says whose it is, then the engine.

What does not read back as it was written, or is not what its name says, is removed and built again. Files that go by
other names are never touched. TensorRT trusts an engine as it trusts its own code: only who may change the runtime
should be able to write here.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import stat
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import Field, ValidationError

from sad_runtime.engines.key import EngineKey
from sad_runtime.errors import UsageError
from sad_runtime.files import made_folder, reason_of, write_atomically
from sad_runtime.schema import Strict

log = logging.getLogger("sad.engines")
MARK = b"sad-engine 1\n"
MAX_HEADER = 16384
SUFFIX = ".engine"
LOOK_AGAIN_S = 0.2
LIKE_SIZE = 5.0
"""An int8 file is a quarter of its fp32 one."""
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH
HALF_WRITTEN = re.compile(r"\.(?:[0-9a-f]{12}-[a-z_]+-[0-9a-f]{20}\.engine|[0-9a-f]{20}\.timing)\.[^.]+\.tmp")
"""What a process that was killed while it wrote leaves behind: see files.write_atomically."""
HALF_WRITTEN_S = 3600.0
"""Nothing is written for so long."""
TIMING = re.compile(r"[0-9a-f]{20}\.timing")
TIMINGS_KEPT = 4
"""One for each TensorRT on each GPU with each driver; those of drivers that are gone are of no use."""


class Header(Strict):
    key: EngineKey
    sha256: str
    """Of the engine, which follows this line."""
    seconds: float = Field(ge=0)
    """What the build took."""


class EngineCache:
    """Several processes may share one folder."""

    def __init__(self, folder: Path, max_mb: int) -> None:
        """Makes the folder. Raises UsageError where nothing can be written, before anything is built for it."""
        self.folder = _own_folder(folder)
        self._max_bytes = max_mb << 20
        try:
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"\0")
        except OSError as error:
            raise UsageError(
                f"{folder}: engines cannot be kept here ({reason_of(error)}), so every start would build them again. "
                "Name another folder with engines.folder"
            ) from None

    def read(self, key: EngineKey) -> bytes | None:
        """The engine, as it was written; now the most recently used. None when there is none, or none to be trusted."""
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s: cannot be read (%s); the engine is built again", path, error.strerror or error)
            return None
        header, engine = _parted(data)
        wrong = _wrong(header, engine, key)
        if wrong:
            log.warning("%s: %s; removed, and built again", path, wrong)
            _remove(path)
            return None
        with suppress(OSError):
            os.utime(path)
        return engine

    def write(self, key: EngineKey, engine: bytes, seconds: float) -> None:
        """Raises UsageError where the disk is full; what was there stays."""
        header = Header(key=key, sha256=hashlib.sha256(engine).hexdigest(), seconds=seconds)
        path = self._path(key)
        write_atomically(path, MARK + header.model_dump_json().encode() + b"\n" + engine)
        self._make_room(path)
        self._remove_half_written()

    def forget(self, key: EngineKey) -> None:
        _remove(self._path(key))

    def timing(self, key: EngineKey) -> bytes:
        """TensorRT's own notes of earlier builds on this box, empty without any. TensorRT checks them itself."""
        try:
            return self._timing_path(key).read_bytes()
        except OSError:
            return b""

    def keep_timing(self, key: EngineKey, timing: bytes) -> None:
        if timing:
            write_atomically(self._timing_path(key), timing)
            _keep_newest([path for path in self.folder.iterdir() if TIMING.fullmatch(path.name)], TIMINGS_KEPT)

    def estimate_s(self, key: EngineKey) -> float | None:
        """What a build will take by those of the same TensorRT on the same GPU, per byte of the model. None without
        one of a model of about that size: the time that every build takes would be multiplied, too."""
        scaled = []
        for path in self.folder.glob(f"*{SUFFIX}"):
            header = _header_of(path)
            if header is not None and header.key.box == key.box and header.key.model_bytes:
                ratio = key.model_bytes / header.key.model_bytes
                if 1 / LIKE_SIZE <= ratio <= LIKE_SIZE:
                    scaled.append(header.seconds * ratio)
        return statistics.median(scaled) if scaled else None

    @contextmanager
    def locked(self, key: EngineKey, waiting: Callable[[float], None]) -> Iterator[None]:
        """One process at a time builds the engine of `key`; others call `waiting(seconds so far)` until it is done."""
        path = self.folder / f".{key.name}.lock"
        handle = _locked_file(path, waiting)
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink()
            os.close(handle)

    def _path(self, key: EngineKey) -> Path:
        return self.folder / f"{key.name}{SUFFIX}"

    def _timing_path(self, key: EngineKey) -> Path:
        return self.folder / f"{key.box}.timing"

    def _make_room(self, newest: Path) -> None:
        """The least recently used go first; the newest stays, whatever its size. So do files that are not ours."""
        files = []
        for path in filter(_is_our_engine, self.folder.glob(f"*{SUFFIX}")):
            with suppress(OSError):  # another process removed it
                found = path.stat()
                files.append((found.st_mtime_ns, found.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self._max_bytes:
                return
            if path != newest:
                log.info("%s: removed to make room (engines.max_mb %d)", path, self._max_bytes >> 20)
                _remove(path)
                total -= size
        if total > self._max_bytes:
            log.warning("%s: this engine alone is larger than engines.max_mb %d", newest, self._max_bytes >> 20)

    def _remove_half_written(self) -> None:
        for path in self.folder.iterdir():
            if HALF_WRITTEN.fullmatch(path.name):
                with suppress(OSError):  # another process removed it, or has just written it
                    if time.time() - path.stat().st_mtime > HALF_WRITTEN_S:
                        _remove(path)


def check_only_ours_may_write(folder: Path, *, strict: bool) -> None:
    """Whoever may write an engine runs code in the runtime. Raises UsageError with `strict`, else warns."""
    try:
        mode = folder.stat().st_mode
    except OSError:
        return  # it is made by EngineCache, for its owner to write
    if not mode & OTHERS_MAY_WRITE:
        return
    text = (
        f"{folder}: others may write engines here (mode {stat.S_IMODE(mode):04o}), and an engine is run as it is. "
        f"Run: chmod go-w {folder}"
    )
    if strict:
        raise UsageError(f"{text}. Without that, trusting only signed bundles is worth nothing")
    log.warning("%s", text)


def _own_folder(folder: Path) -> Path:
    """A new one is for its owner to write, whatever the umask."""
    if folder.exists():
        return made_folder(folder)
    made = made_folder(folder)
    with suppress(OSError):  # a file system without modes
        made.chmod(stat.S_IMODE(made.stat().st_mode) & ~OTHERS_MAY_WRITE)
    return made


def _keep_newest(paths: list[Path], count: int) -> None:
    aged = []
    for path in paths:
        with suppress(OSError):  # another process removed it
            aged.append((path.stat().st_mtime_ns, path))
    for _, path in sorted(aged, reverse=True)[count:]:
        _remove(path)


def _is_our_engine(path: Path) -> bool:
    header = _header_of(path)
    return header is not None and path.name == f"{header.key.name}{SUFFIX}"


def _parted(data: bytes) -> tuple[Header | None, bytes]:
    """The header, None where there is no right one, and what follows it."""
    if not data.startswith(MARK):
        return None, b""
    end = data.find(b"\n", len(MARK), len(MARK) + MAX_HEADER)
    try:
        return Header.model_validate_json(data[len(MARK) : max(end, len(MARK))]), data[end + 1 :]
    except ValidationError:
        return None, b""


def _wrong(header: Header | None, engine: bytes, key: EngineKey) -> str:
    if header is None:
        return "damaged, or no engine of ours"
    if header.key != key:
        return (
            f"an engine for {header.key.gpu or 'no GPU'} with {header.key.kind} {header.key.version}, not for this box"
        )
    if hashlib.sha256(engine).hexdigest() != header.sha256:
        return "damaged (its digest does not match)"
    return ""


def _header_of(path: Path) -> Header | None:
    try:
        with path.open("rb") as file:
            return _parted(file.read(len(MARK) + MAX_HEADER))[0]
    except OSError:
        return None


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.error("%s: cannot be removed (%s)", path, reason_of(error))


def _locked_file(path: Path, waiting: Callable[[float], None]) -> int:
    """Its descriptor, once the lock is ours."""
    begin_s = time.monotonic()
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            if _is_ours(handle, path):
                return handle
        except OSError as error:
            raise UsageError(f"{path}: cannot be locked ({reason_of(error)})") from None
        os.close(handle)
        waiting(time.monotonic() - begin_s)
        time.sleep(LOOK_AGAIN_S)


def _is_ours(handle: int, path: Path) -> bool:
    """Locked, and still the file that others will look at: its last holder removes it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(handle).st_ino == path.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False
