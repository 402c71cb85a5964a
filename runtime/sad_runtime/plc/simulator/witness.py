"""The judge's own ear at the station: reads the feed beside the gateway, and fetches what it missed."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from types import TracebackType

from sad_runtime.errors import SadError
from sad_runtime.feed.curve_keys import ClientKeys
from sad_runtime.messages import Decision
from sad_runtime.subscriber import Subscriber

LOOK_MS = 50.0


class Witness:
    """Opened by `with`; listens in a thread of its own."""

    def __init__(self, address: str, *, station: str | None = None, keys: ClientKeys | None = None) -> None:
        self.heard = False
        """A heartbeat has come."""
        self.lost = 0
        """Decisions that could not be fetched back either: of their parts nobody knows what the station said."""
        self.failure: str | None = None
        """Why it hears nothing more."""
        self._subscriber = Subscriber(address, station=station, keys=keys, recover=True)
        self._decisions: queue.SimpleQueue[Decision] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="witness of the simulated PLC", daemon=True)

    def __enter__(self) -> Witness:
        """Raises UsageError for an address that is none."""
        self._subscriber.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def new(self) -> Iterator[Decision]:
        """What came since the last call."""
        while not self._decisions.empty():
            yield self._decisions.get()

    def _listen(self) -> None:
        try:
            feed = self._subscriber
            while not self._ended.is_set():
                decision = feed.poll(LOOK_MS)
                if decision is not None:
                    self._decisions.put(decision)
                self.heard = feed.heartbeat is not None
                self.lost = feed.lost
                self.failure = feed.refusal
        except SadError as error:
            self.failure = str(error)
        finally:
            self._subscriber.close()
