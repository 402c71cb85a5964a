"""Finds, builds and keeps the engines of one box: an ONNX file goes in, an engine for here comes out."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from pathlib import Path

from sad_runtime.engines.api import tensorrt_module
from sad_runtime.engines.cache import EngineCache
from sad_runtime.engines.child import Order, built_in_child
from sad_runtime.engines.gpu import Gpu, gpu_found
from sad_runtime.engines.job import Progress
from sad_runtime.engines.key import EngineKey, key_of
from sad_runtime.engines.settings import EngineKind, EngineSettings
from sad_runtime.errors import BackendError, SadError, UsageError

log = logging.getLogger("sad.engines")


class EngineRoom:
    """Any thread may ask. Raises BackendError (with TensorRT's own words), MissingExtra, UsageError."""

    def __init__(self, kind: EngineKind, folder: Path, settings: EngineSettings) -> None:
        """Makes `folder`. Raises UsageError where it cannot be written. No GPU is touched yet."""
        self.kind = kind
        self._settings = settings
        self._cache = EngineCache(folder, settings.max_mb)

    @functools.cached_property
    def gpu(self) -> Gpu:
        """What engines are built for here."""
        return gpu_found(self._settings.device)

    def cached(self, model: bytes) -> bytes | None:
        """The engine of this ONNX file if it is here, whole and for this box; what is not is logged and removed."""
        return self._cache.read(self._key(model))

    def engine(self, model: bytes, tell: Callable[[Progress], None] | None = None) -> bytes:
        """From the cache, else built, which takes seconds to many minutes. `tell` comes about once a second, and
        whatever it raises ends the build."""
        key = self._key(model)
        begin_s = time.monotonic()

        def waiting(seconds: float) -> None:
            if seconds > self._settings.build_limit_s:
                raise BackendError(
                    f"{self.kind}: another process builds this engine for {seconds:.0f} s now, longer than "
                    "engines.build_limit_s. Does it hang? End it, and start again"
                )
            if tell is not None:
                tell(Progress(seconds, self._cache.estimate_s(key), None, "another process builds this engine"))

        found = self._cache.read(key)
        if found is not None:
            return found
        with self._cache.locked(key, waiting):
            found = self._cache.read(key)
            if found is None:
                found = self._built(key, model, tell)
                log.info("engine for %s built in %.0f s", self.gpu, time.monotonic() - begin_s)
        return found

    def forget(self, model: bytes) -> None:
        """For an engine that the runtime does not take: the next one is built."""
        self._cache.forget(self._key(model))

    def _built(self, key: EngineKey, model: bytes, tell: Callable[[Progress], None] | None) -> bytes:
        estimate_s = self._cache.estimate_s(key)
        about = f", about {estimate_s:.0f} s" if estimate_s else ""
        log.info("building an engine for %s with %s %s%s", self.gpu, key.kind, key.version, about)
        order = Order(
            kind=self.kind,
            model=model,
            settings=self._settings,
            timing=self._cache.timing(key),
            int8_table=self._int8_table,
            estimate_s=estimate_s,
        )
        begin_s = time.monotonic()
        built = built_in_child(order, self._cache.folder, tell)
        self._cache.write(key, built.engine, time.monotonic() - begin_s)
        try:
            self._cache.keep_timing(key, built.timing)
        except SadError as error:
            log.warning("the engine is kept, what TensorRT learnt for the next build is not: %s", error)
        return built.engine

    def _key(self, model: bytes) -> EngineKey:
        return key_of(self.kind, model, self._version, self.gpu, self._settings, self._int8_table)

    @functools.cached_property
    def _version(self) -> str:
        return str(tensorrt_module(self.kind).__version__)

    @functools.cached_property
    def _int8_table(self) -> bytes:
        path = self._settings.int8_table
        if path is None:
            return b""
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise UsageError(f"engines.int8_table {path}: cannot be read ({error.strerror or error})") from None
