"""Keeps the heartbeat going while the main thread loads a model or waits for a camera to open.

Only for work whose state already says "not online": a loop that hangs over a part must be seen to hang.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

TICK_S = 0.05


@contextmanager
def ticking(tick: Callable[[], None]) -> Iterator[None]:
    done = threading.Event()

    def beat() -> None:
        while not done.wait(TICK_S):
            tick()

    thread = threading.Thread(target=beat, name="ticking", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
