"""The figures that are compared, one row's over its seeds, and which row leads beyond the spread of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sad_train.evaluation.contenders import Contender


@dataclass(frozen=True)
class Result:
    contender: Contender
    summary: dict[str, Any]
    """What `sad-evaluate --json` prints of it."""


@dataclass(frozen=True)
class Figure:
    """A column of the tables."""

    key: str
    name: str
    better: Literal["high", "low"] | None
    """None for what it costs: that is told, not judged."""
    of: Callable[[Result], float | None]


@dataclass(frozen=True)
class Spread:
    """One figure over the seeds of a row; at least one value."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @property
    def deviation(self) -> float | None:
        """Standard deviation (n - 1); None of one value."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def as_json(self) -> dict[str, float | None]:
        low, high = min(self.values), max(self.values)
        return {"mean": self.mean, "deviation": self.deviation, "min": low, "max": high, "n": len(self.values)}


@dataclass(frozen=True)
class Row:
    """One method, preset and variant on one set."""

    name: str
    results: list[Result]
    """Lowest seed first."""

    @property
    def seeds(self) -> list[int]:
        return [result.contender.seed for result in self.results]

    def spread(self, figure: Figure) -> Spread | None:
        """None when no seed has the figure, as without masks."""
        found = [value for result in self.results if (value := figure.of(result)) is not None]
        return Spread(tuple(found)) if found else None


def best(rows: Sequence[Row], figure: Figure) -> Row | None:
    """The row that leads beyond its seeds' spread: it has two or more, and the worst of them is still better than every
    seed of the other rows. None when there is no such row, or nothing to compare with."""
    spreads = {row.name: spread for row in rows if (spread := row.spread(figure)) is not None}
    if figure.better is None or len(spreads) < 2:
        return None
    sign = 1.0 if figure.better == "high" else -1.0
    signed = {name: [sign * value for value in spread.values] for name, spread in spreads.items()}
    first = max(signed, key=lambda name: statistics.fmean(signed[name]))
    rest = [value for name, values in signed.items() if name != first for value in values]
    leads = len(signed[first]) > 1 and min(signed[first]) > max(rest)
    return next(row for row in rows if row.name == first) if leads else None


def _summary(key: str) -> Callable[[Result], float | None]:
    return lambda result: result.summary[key]


def _false_rejects(escape: str) -> Callable[[Result], float | None]:
    return lambda result: result.summary["frr_at_escape"][escape]


FOUND = (
    Figure("image_auroc", "image AUROC", "high", _summary("image_auroc")),
    Figure("image_ap", "image AP", "high", _summary("image_ap")),
    Figure("pixel_auroc", "pixel AUROC", "high", _summary("pixel_auroc")),
    Figure("pixel_ap", "pixel AP", "high", _summary("pixel_ap")),
    Figure("aupro", "AUPRO", "high", _summary("aupro")),
    Figure("aupimo", "AUPIMO", "high", _summary("aupimo")),
)
REJECTED = (
    Figure("frr_at_escape_0", "FRR at 0 % escapes", "low", _false_rejects("0")),
    Figure("frr_at_escape_0.01", "FRR at 1 %", "low", _false_rejects("0.01")),
    Figure("frr_at_escape_0.05", "FRR at 5 %", "low", _false_rejects("0.05")),
)
COSTS = (
    Figure("parameters", "parameters", None, lambda result: result.contender.parameters),
    Figure("gmac", "GMAC", None, lambda result: result.contender.gmac),
    Figure("minutes", "minutes", None, lambda result: result.contender.minutes),
    Figure("latency_ms", "ms", None, lambda result: result.summary["latency_ms"]["p50"]),
)
FIGURES = (*FOUND, *REJECTED, *COSTS)
OVERVIEW = tuple(figure for figure in FOUND if figure.key in ("image_auroc", "pixel_auroc", "aupro"))
