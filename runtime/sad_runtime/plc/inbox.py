"""What other threads leave for one that waits in a poller: a queue with a file descriptor that tells of it."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """Opened by `with`. Any thread may put; one takes."""

    def __init__(self) -> None:
        self._open = threading.Lock()
        self._items: queue.SimpleQueue[T] = queue.SimpleQueue()
        self.fd = -1
        """Can be read while something may be there."""

    def __enter__(self) -> Inbox[T]:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._open:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def put(self, item: T) -> None:
        """After the end nobody takes it any more."""
        self._items.put(item)
        with self._open:
            if self.fd >= 0:
                os.eventfd_write(self.fd, 1)

    def take(self) -> Iterator[T]:
        """All that is there."""
        try:
            os.eventfd_read(self.fd)
        except BlockingIOError:
            return
        while True:
            try:
                yield self._items.get_nowait()
            except queue.Empty:
                return
