"""An asyncio loop in a daemon thread, for the ways to a PLC that are written with asyncio."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

log = logging.getLogger(__name__)


class LoopThread:
    """Runs `main` until it returns, fails, or is told to stop."""

    def __init__(self, name: str, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.failure: str | None = None
        self._main = main
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._running = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Returns when the loop runs."""
        self._thread.start()
        self._running.wait()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """In the loop's thread, soon; nothing where that has ended. From any thread."""
        with suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function, *arguments)

    def join(self, timeout_s: float) -> bool:
        """False: it still runs."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def stop(self, timeout_s: float) -> None:
        """Cancels `main` and waits. From any other thread."""
        if self._task is not None:
            self.call(self._task.cancel)
        if not self.join(timeout_s):
            log.warning("%s did not end within %g s and is left behind", self._thread.name, timeout_s)

    def fail(self, what: str, error: BaseException) -> None:
        """Something that should never happen: `main` is ended, and `failure` says why. From the loop's thread."""
        if self.failure is None:
            self.failure = f"{what}: {type(error).__name__}: {error}"
            log.error("%s", what, exc_info=error)
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        try:
            asyncio.run(self._watched())
        except Exception as error:  # noqa: BLE001 kept in `failure`, and logged with its traceback
            self.fail(f"{self._thread.name} failed", error)
        finally:
            self._running.set()

    async def _watched(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._running.set()
        with suppress(asyncio.CancelledError):
            await self._main()
