"""The gateway's numbers for Prometheus: what PLCs are shown, and what became of it. docs/operations.md has the table.

Nothing here runs while results are shown: the numbers are put together when somebody asks.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from sad_runtime.plc.status import Bit, Counters, Status, Warn
from sad_runtime.verdict import Verdict

if TYPE_CHECKING:
    from prometheus_client import Metric

VERDICTS = frozenset(verdict.value for verdict in Verdict)
OPEN = "open_"
"""What a way counts under such a name goes up and down."""
Value = tuple[tuple[str, ...], float]
"""Labels and number."""


class Lane(Protocol):
    """One station of the gateway. All of it is read in the metrics thread and returns at once."""

    @property
    def station(self) -> str: ...

    @property
    def status(self) -> Status:
        """As shown last."""
        ...

    @property
    def feed_silent_ms(self) -> float:
        """Since the station's last heartbeat; infinity before the first."""
        ...

    def counters(self) -> dict[str, int]:
        """Since the start. Keys like `INVALID late` (verdict and reason) count results, all others what happened."""
        ...


class Way(Protocol):
    """One way to PLCs: a base.Plc."""

    @property
    def failure(self) -> str | None: ...

    def counters(self) -> dict[str, int]: ...


class Kept(Protocol):
    """A station's record.Record."""

    @property
    def written(self) -> int: ...

    @property
    def lost(self) -> int: ...

    @property
    def failing(self) -> bool: ...


class GatewayCollector:
    """What prometheus_client calls a collector: `collect` gives all metrics anew. `ways`: by name; `records`: by
    station.
    """

    def __init__(
        self, lanes: Sequence[Lane], ways: Mapping[str, Way], records: Mapping[str, Kept] | None = None
    ) -> None:
        self._lanes, self._ways, self._records = tuple(lanes), dict(ways), dict(records or {})

    def collect(self) -> Iterator[Metric]:
        seen = [(lane.station, lane.status, lane.counters()) for lane in self._lanes]
        yield from _shown([(station, status) for station, status, _ in seen])
        yield from _counted([(station, status.counters) for station, status, _ in seen])
        silent = [((lane.station,), lane.feed_silent_ms / 1e3) for lane in self._lanes]
        yield _gauge("feed_silent_seconds", "Since the station's last heartbeat; +Inf before the first.", (), silent)
        results = [((station, *key.split(" ", 1)), n) for station, _, counts in seen for key, n in _results(counts)]
        yield _counter("results", "Results given.", ("station", "verdict", "reason"), results)
        events = [((station, key), n) for station, _, counts in seen for key, n in _events(counts)]
        yield _counter("events", "What happened at a station's gate.", ("station", "event"), events)
        yield from self._of_ways()
        yield from self._of_records()

    def _of_ways(self) -> Iterator[Metric]:
        counts = [((name, key), n) for name, way in self._ways.items() for key, n in way.counters().items()]
        events = [(labels, n) for labels, n in counts if not labels[1].startswith(OPEN)]
        yield _counter("way_events", "What happened on a way to PLCs.", ("way", "event"), events)
        open_now = [((name, key.removeprefix(OPEN)), n) for (name, key), n in counts if key.startswith(OPEN)]
        yield _gauge("way_open", "What is open on a way to PLCs.", ("way", "what"), open_now)
        failed = [((name,), float(way.failure is not None)) for name, way in self._ways.items()]
        yield _gauge("way_failed", "1 for a way that can never work again; the gateway stops.", ("way",), failed)

    def _of_records(self) -> Iterator[Metric]:
        kept = self._records.items()
        written = [((station,), record.written) for station, record in kept]
        yield _counter("record_written", "Entries in the gateway's record.", ("station",), written)
        lost = [((station,), record.lost) for station, record in kept]
        yield _counter("record_lost", "Entries that could not be written.", ("station",), lost)
        failing = [((station,), float(record.failing)) for station, record in kept]
        yield _gauge("record_failing", "1 while entries do not reach the disk.", (), failing)


def _shown(seen: list[tuple[str, Status]]) -> Iterator[Metric]:
    now_ns = time.monotonic_ns()
    bits = [((s, _name(bit)), float(bool(status.bits & bit))) for s, status in seen for bit in Bit]
    yield _gauge("bit", "Bits of STATUS, as the PLC sees them.", ("station", "bit"), bits)
    warns = [((s, _name(warn)), float(bool(status.warn & warn))) for s, status in seen for warn in Warn]
    yield _gauge("warn", "Bits of WARN_BITS.", ("station", "warn"), warns)
    yield _gauge("fault_code", "FAULT_CODE; 0 is none.", (), [((s,), status.fault) for s, status in seen])
    yield _gauge("heartbeat", "HEARTBEAT, 0 to 65535; stands still with the feed.", (), _of(seen, "heartbeat"))
    yield _gauge("queue", "Results that wait for their ACK.", (), _of(seen, "queue"))
    made = [((s,), status.result) for s, status in seen]
    yield _gauge("result_seq", "RESULT_SEQ shown.", (), [(key, result.seq if result else 0) for key, result in made])
    ages = [(key, (now_ns - result.made_ns) / 1e9) for key, result in made if result]
    yield _gauge("result_age_seconds", "Since the result shown was made.", (), ages)
    info = [((s, status.run, str(status.recipe), status.model_digest, status.state), 1.0) for s, status in seen]
    labels = ("station", "run", "recipe", "model_digest", "state")
    yield _gauge("station_info", "What the station says of itself; always 1.", labels, info)


def _counted(seen: list[tuple[str, Counters]]) -> Iterator[Metric]:
    for name, text in (
        ("total", "COUNT_TOTAL: results since the start, or RESET_COUNTERS."),
        ("passed", "COUNT_PASS."),
        ("failed", "COUNT_FAIL."),
        ("invalid", "COUNT_INVALID."),
        ("missed_trigger", "COUNT_MISSED: triggers that were not taken."),
        ("lost", "COUNT_LOST: decisions that never got here in time to act on."),
    ):
        values = [((station,), float(getattr(counters, name))) for station, counters in seen]
        yield _gauge(f"count_{name}", text, (), values)


def _of(seen: list[tuple[str, Status]], name: str) -> list[Value]:
    return [((station,), float(getattr(status, name))) for station, status in seen]


def _is_result(key: str) -> bool:
    verdict, space, reason = key.partition(" ")
    return verdict in VERDICTS and bool(space) and bool(reason)


def _results(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(key, count) for key, count in counts.items() if _is_result(key)]


def _events(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return [(key, count) for key, count in counts.items() if not _is_result(key)]


def _name(bit: Bit | Warn) -> str:
    return str(bit.name).lower()


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Iterable[Value]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    made = GaugeMetricFamily(f"sad_plc_{name}", text, labels=labels or ("station",))
    for key, value in values:
        made.add_metric(key, value)
    return made


def _counter(name: str, text: str, labels: tuple[str, ...], values: Iterable[Value]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    made = CounterMetricFamily(f"sad_plc_{name}", text, labels=labels)
    for key, value in values:
        made.add_metric(key, value)
    return made
