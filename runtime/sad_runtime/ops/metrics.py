"""A station's numbers for Prometheus, at http://ADDRESS/metrics. docs/operations.md has the table of them.

Nothing here runs while parts are judged: the numbers are put together when somebody asks (measures.py counts them).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sad_runtime.ops.latency_window import SHARES, TOTAL, Counted
from sad_runtime.ops.measures import CAMERA_LOST, Measures
from sad_runtime.ops.progress import Progress
from sad_runtime.station.answers import Judge

if TYPE_CHECKING:
    from prometheus_client import Metric

THREADS = Path("/proc/self/task")
Read = Callable[[], float]
"""Asked in the metrics thread, at each scrape; returns at once."""


@dataclass(frozen=True)
class Watched:
    """What a station's metrics are read from."""

    station: str
    run: str
    measures: Measures
    progress: Progress
    judge: Callable[[], Judge]
    gauges: dict[str, tuple[str, Read]] = field(default_factory=dict)
    """By name: what it is, and how to read it. These go up and down."""
    totals: dict[str, tuple[str, Read]] = field(default_factory=dict)
    """These only grow."""


class StationCollector:
    """What prometheus_client calls a collector: `collect` gives all metrics anew."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    def collect(self) -> Iterator[Metric]:
        watched, measures = self._watched, self._watched.measures
        with measures.lock:
            parts, events = dict(measures.parts), dict(measures.events)
            flags = {(flag,): count for flag, count in measures.flags.items()}
        latencies = measures.latencies()
        yield self._info()
        yield self._counter("parts", "Parts answered.", ("verdict", "reason"), parts.items())
        yield self._counter("flagged_parts", "Parts whose decision has this flag.", ("flag",), flags.items())
        yield self._counter("events", "Events told on the feed.", ("code", "level"), events.items())
        losses = sum(count for (code, _), count in events.items() if code == CAMERA_LOST)
        totals: dict[str, tuple[str, Read]] = {
            "camera_losses": ("Times that the camera went away or fell silent.", lambda: losses),
            "frames": ("Pictures that the camera delivered to the loop.", lambda: measures.frames),
            "frames_skipped": ("Holes in the camera's count: pictures nobody took.", lambda: measures.skipped),
            "frames_incomplete": ("Pictures that were not whole.", lambda: measures.incomplete),
            **watched.totals,
        }
        for name, (text, read) in totals.items():
            yield self._counter(name, text, (), [((), read())])
        yield from self._gauges()
        yield self._recent(latencies)
        yield self._histogram(latencies)

    def _gauges(self) -> Iterator[Metric]:
        watched, threshold = self._watched, self._watched.judge().threshold
        gauges: dict[str, tuple[str, Read]] = {
            "online": ("1 while a part that comes now will be inspected.", lambda: watched.progress.online),
            "loop_age_seconds": ("Since the loop last made progress.", lambda: watched.progress.age_s),
            "threads": ("Threads of this process, those of engines too.", _threads),
            **watched.gauges,
        }
        if threshold is not None:
            gauges["threshold"] = ("FAIL is a score above it.", lambda: threshold)
        for name, (text, read) in gauges.items():
            yield self._gauge(name, text, (), [((), read())])
        yield self._gauge(
            "state", "1 for the state that the station is in.", ("state",), [((watched.progress.state,), 1)]
        )

    def _info(self) -> Metric:
        judge = self._watched.judge()
        labels = {
            "run": self._watched.run,
            "recipe": str(judge.recipe),
            "model_digest": judge.model_digest,
            "backend": judge.backend,
            "precision": judge.precision,
            "threshold_rev": str(judge.threshold_rev),
            "simulated": str(judge.simulated).lower(),
            "degraded": str(judge.degraded).lower(),
        }
        return self._gauge(
            "model_info", "What parts are judged by; always 1.", tuple(labels), [(tuple(labels.values()), 1)]
        )

    def _recent(self, latencies: dict[str, Counted]) -> Metric:
        from prometheus_client import Metric

        text = "Latency of each step over the last minute; `total` is from the trigger to publishing."
        made = Metric("sad_latency_recent_seconds", text, "gauge")
        for step, counted in latencies.items():
            found = counted.percentiles()
            for share, ms in zip(SHARES, found[1:] if found else [math.nan] * len(SHARES), strict=True):
                labels = {"station": self._watched.station, "step": step, "quantile": f"{share:g}"}
                made.add_sample(made.name, labels, ms / 1e3)
        return made

    def _histogram(self, latencies: dict[str, Counted]) -> Metric:
        from prometheus_client.core import HistogramMetricFamily

        text = f"Latency of each step since the start; `{TOTAL}` is from the trigger to publishing."
        made = HistogramMetricFamily("sad_latency_seconds", text, labels=("station", "step"))
        for step, counted in latencies.items():
            edges = counted.powers()
            buckets = [(f"{ms / 1e3:g}", count) for ms, count in edges[_FIRST_EDGE:_LAST_EDGE]]
            made.add_metric((self._watched.station, step), [*buckets, ("+Inf", edges[-1][1])], counted.sum_ms / 1e3)
        return made

    def _counter(
        self, name: str, text: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]
    ) -> Metric:
        from prometheus_client.core import CounterMetricFamily

        made = CounterMetricFamily(f"sad_{name}", text, labels=("station", *labels))
        for key, value in values:
            made.add_metric((self._watched.station, *key), value)
        return made

    def _gauge(
        self, name: str, text: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]
    ) -> Metric:
        from prometheus_client.core import GaugeMetricFamily

        made = GaugeMetricFamily(f"sad_{name}", text, labels=("station", *labels))
        for key, value in values:
            made.add_metric((self._watched.station, *key), value)
        return made


_FIRST_EDGE, _LAST_EDGE = 4, 23
"""Of LatencyWindow's powers of two, what a histogram shows: 2**-5 ms (31 us) to 2**13 ms (8.2 s)."""


def _threads() -> float:
    return sum(1 for _ in THREADS.iterdir())
