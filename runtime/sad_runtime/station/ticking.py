"""Keeps the heartbeat going while the main thread loads a model or waits for a camera to open.

Only for work whose state already says "not online": a loop that hangs over a part must be seen to hang. And not for
ever, since a driver may hang over a model, too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TICK_S = 0.05
AT_MOST_S = 300.0
"""Loading takes seconds. Waiting for an engine takes longer, and whoever waits ticks for himself."""


@contextmanager
def ticking(tick: Callable[[], None], at_most_s: float = AT_MOST_S) -> Iterator[None]:
    done = threading.Event()
    end_s = time.monotonic() + at_most_s

    def beat() -> None:
        while not done.wait(TICK_S) and time.monotonic() < end_s:
            tick()

    thread = threading.Thread(target=beat, name="ticking", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
