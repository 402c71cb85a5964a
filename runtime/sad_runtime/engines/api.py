"""TensorRT and TensorRT-RTX, imported when they are needed, and their log, gathered so that errors can quote it.

TensorRT says what went wrong in its log and returns None or raises an empty TypeError, so every call that can fail is
read together with the log.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
from collections import deque
from typing import Any

from sad_runtime.engines.settings import EngineKind
from sad_runtime.errors import BackendError, MissingExtra

log = logging.getLogger("sad.tensorrt")
EXTRAS: dict[EngineKind, str] = {"tensorrt": "tensorrt", "tensorrt_rtx": "rtx"}
PACKAGES: dict[EngineKind, str] = {"tensorrt": "tensorrt", "tensorrt_rtx": "tensorrt-rtx"}
KEPT_LINES = 12
OUT_OF_MEMORY = ("out of memory", "outofmemory", "cudaerrormemoryallocation", "insufficient memory", "bad_alloc")


def tensorrt_module(kind: EngineKind) -> Any:
    """The package. Raises MissingExtra where it is not installed, BackendError where its libraries do not load."""
    try:
        return importlib.import_module(kind)
    except ModuleNotFoundError as error:
        if error.name != kind:
            raise BackendError(_not_whole(kind, error)) from None
        raise MissingExtra(PACKAGES[kind], EXTRAS[kind], f"the {kind} backend") from None
    except (ImportError, OSError) as error:
        raise BackendError(_not_whole(kind, error)) from None


def tensorrt_installed(kind: EngineKind) -> bool:
    """Whether the package is there; nothing is imported."""
    return importlib.util.find_spec(kind) is not None


def logger(trt: Any) -> Any:
    """A new `trt.ILogger` that keeps warnings and errors, and forwards them to the log `sad.tensorrt`.

    `text()` is what it heard last, errors before warnings. TensorRT calls it from threads of its own.
    """

    class GatheredLog(trt.ILogger):  # type: ignore[misc]  # the base is only there at run time
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: deque[str] = deque(maxlen=KEPT_LINES)
            self._warnings: deque[str] = deque(maxlen=KEPT_LINES)

        def log(self, severity: Any, message: str) -> None:
            text = " ".join(message.split())
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self._errors.append(text)
                log.error("%s", text)
            elif severity == trt.ILogger.WARNING:
                self._warnings.append(text)
                log.warning("%s", text)
            elif severity == trt.ILogger.INFO:
                log.debug("%s", text)

        def text(self) -> str:
            return "; ".join(self._errors or self._warnings) or "TensorRT said nothing about it"

    return GatheredLog()


def memory_ran_out(text: str) -> bool:
    """Whether this part of TensorRT's log is about memory."""
    lowered = text.lower()
    return any(words in lowered for words in OUT_OF_MEMORY)


def _not_whole(kind: EngineKind, error: Exception) -> str:
    return (
        f"{kind} is installed, but cannot be loaded ({error}). Install it again with its libraries "
        f"(pip install --force-reinstall {PACKAGES[kind]}); on a Jetson take the system's own package, in an "
        "environment made with --system-site-packages"
    )
