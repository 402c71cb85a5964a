"""Tells every minute, as the event `latency`, how long each step of a part took: p50, p99 and p99.9 in ms.

A minute without a part is not told of.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from sad_runtime.ops.latency_window import TOTAL, WINDOW_S, Counted
from sad_runtime.ops.measures import Measures
from sad_runtime.station.happenings import Happenings

EVERY_S = float(WINDOW_S)


class LatencyTelling(threading.Thread):
    """Runs while opened with `with`."""

    def __init__(self, measures: Measures, happenings: Happenings, every_s: float = EVERY_S) -> None:
        super().__init__(name="latency telling", daemon=True)
        self._measures, self._happenings, self._every_s = measures, happenings, every_s
        self._ended = threading.Event()

    def __enter__(self) -> LatencyTelling:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.wait(self._every_s):
            tell_latency(self._measures.latencies(), self._happenings.tell)


def tell_latency(latencies: dict[str, Counted], tell: Callable[..., None]) -> None:
    found = {step: recent for step, counted in latencies.items() if (recent := counted.percentiles()) is not None}
    if TOTAL not in found:
        return
    steps = {step: [round(ms, 3) for ms in (of.p50, of.p99, of.p999)] for step, of in found.items()}
    said = ", ".join(f"{step} {p50:.3g}/{p99:.3g}/{p999:.3g}" for step, (p50, p99, p999) in steps.items())
    n = found[TOTAL].n
    tell("latency", "info", f"{n} parts, p50/p99/p99.9 in ms: {said}", n=n, window_s=WINDOW_S, steps=steps)
