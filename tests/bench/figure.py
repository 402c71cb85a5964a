"""A measured figure, the bare peer it was measured beside, and the budget it is held against; and the table of them.

Measuring is the benches'. A budget is told, never enforced: `within` or `over`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

Comparison = Literal["alone", "more", "times"]
HEADER = ("  (median / p99)", "ours", "bare peer", "figure", "budget", "")


@dataclass(frozen=True)
class Spread:
    """A median with its 99th percentile, or one number."""

    p50: float
    p99: float | None = None


@dataclass(frozen=True)
class Figure:
    """`compared` makes the figure: ours alone, how much more than the peer, or how many times the peer."""

    what: str
    unit: str
    ours: Spread
    peer: Spread | None = None
    peer_is: str = ""
    compared: Comparison = "alone"
    at_most: Spread | None = None
    at_least: Spread | None = None

    @property
    def value(self) -> Spread:
        if self.compared == "alone" or self.peer is None:
            return self.ours
        return _both(self.ours, self.peer, minus if self.compared == "more" else over)

    @property
    def verdict(self) -> str:
        """`within`, `over` where it misses its budget in either direction, or nothing without a budget."""
        if self.at_most is None and self.at_least is None:
            return ""
        high = self.at_most is None or _all_below(self.value, self.at_most)
        low = self.at_least is None or _all_below(self.at_least, self.value)
        return "within" if high and low else "over"

    def as_object(self) -> dict[str, Any]:
        return asdict(self) | {"value": asdict(self.value), "verdict": self.verdict}


def spread(values: Sequence[float]) -> Spread:
    return Spread(float(np.median(values)), float(np.percentile(values, 99)))


def minus(ours: float, peer: float) -> float:
    return ours - peer


def over(ours: float, peer: float) -> float:
    return ours / peer


def table(title: str, figures: Sequence[Figure]) -> str:
    """The figures under a title, `median / 99th percentile` where there are two numbers."""
    rows = [HEADER, *(_row(figure) for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(row[at].rjust(widths[at]) for at in range(1, len(HEADER)))]).rstrip()
        for row in rows
    ]
    peers = [f"{figure.what}: {figure.peer_is}" for figure in figures if figure.peer_is]
    notes = [f"  the bare peer of {peer}" for peer in dict.fromkeys(peers)]
    return "\n".join([title, *lines, *notes])


def _row(figure: Figure) -> tuple[str, ...]:
    sign = {"alone": figure.unit, "more": f"{figure.unit} more", "times": "x"}[figure.compared]
    peer = "" if figure.peer is None else f"{_text(figure.peer)} {figure.unit}"
    budget = "" if figure.at_most is None else f"<= {_text(figure.at_most)}"
    budget = budget or ("" if figure.at_least is None else f">= {_text(figure.at_least)}")
    return (
        figure.what,
        f"{_text(figure.ours)} {figure.unit}",
        peer,
        "" if figure.compared == "alone" else f"{_text(figure.value)} {sign}",
        budget,
        figure.verdict,
    )


def _text(value: Spread) -> str:
    return _number(value.p50) if value.p99 is None else f"{_number(value.p50)} / {_number(value.p99)}"


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _both(ours: Spread, peer: Spread, combine: Any) -> Spread:
    p99 = None if ours.p99 is None or peer.p99 is None else combine(ours.p99, peer.p99)
    return Spread(combine(ours.p50, peer.p50), p99)


def _all_below(low: Spread, high: Spread) -> bool:
    fits = low.p50 <= high.p50
    return fits and (low.p99 is None or high.p99 is None or low.p99 <= high.p99)
