"""Charts for reports as inline SVG: a histogram of scores, a curve of two rates, lines over steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 520, 290
LEFT, RIGHT, TOP, BOTTOM = 52, 26, 30, 44


@dataclass(frozen=True)
class _Frame:
    """Maps values to places in the drawing."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        return LEFT + (value - self.x_low) / (self.x_high - self.x_low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (value - self.y_low) / (self.y_high - self.y_low) * (HEIGHT - TOP - BOTTOM)


def histogram(good: Sequence[float], defect: Sequence[float], threshold: float | None, bins: int = 40) -> str:
    """Scores of good pictures and of defects over one axis, with the threshold as a dashed line."""
    values = np.array([*good, *defect, *([] if threshold is None else [threshold])], np.float64)
    low, high = _padded(float(values.min()), float(values.max()), 0.02)
    edges = np.linspace(low, high, bins + 1)
    counts = [np.histogram(np.asarray(scores, np.float64), edges)[0] for scores in (good, defect)]
    frame = _Frame(low, high, 0.0, max(1, *(int(count.max()) for count in counts)) * 1.08)
    parts = [_axes(frame, "score (higher is worse)", "pictures", whole=True)]
    parts += [_bars(frame, edges, count, tone) for count, tone in zip(counts, ("good", "bad"), strict=True)]
    parts.append(_legend([(f"good ({len(good)})", "good"), (f"defect ({len(defect)})", "bad")]))
    if threshold is not None:
        parts.append(_cut(frame, threshold))
    return _svg("Histogram of scores, good pictures and defects", parts)


def trade_off(
    x: Sequence[float],
    y: Sequence[float],
    *,
    x_label: str,
    y_label: str,
    point: tuple[float, float] | None = None,
    x_high: float = 1.0,
) -> str:
    """Two rates between 0 and 1, `x` ascending (a ROC curve, say), with the working point on it."""
    frame = _Frame(0.0, x_high, 0.0, 1.02)
    path = [(a, b) for a, b in zip(x, y, strict=True) if a <= x_high]
    path += [(x_high, path[-1][1])] if path else []
    parts = [_axes(frame, x_label, y_label, percent=True), _polyline(frame, path, "line line0")]
    if point is not None and point[0] <= x_high:
        parts.append(_point(frame.x(point[0]), frame.y(point[1])))
    return _svg(f"{y_label} against {x_label}", parts)


def lines(series: Mapping[str, Sequence[tuple[float, float]]], *, x_label: str, y_label: str) -> str:
    """Up to four named lines of (x, y); points that are not finite are left out."""
    clean = {name: [p for p in points if all(map(math.isfinite, p))] for name, points in series.items()}
    every = [point for points in clean.values() for point in points] or [(0.0, 0.0)]
    x_low, x_high = _padded(min(p[0] for p in every), max(p[0] for p in every), 0.0)
    y_low, y_high = _padded(min(0.0, *(p[1] for p in every)), max(p[1] for p in every), 0.04)
    frame = _Frame(x_low, x_high, min(y_low, 0.0) if y_low < -0.05 * y_high else 0.0, y_high)
    parts = [_axes(frame, x_label, y_label)]
    parts += [_polyline(frame, points, f"line line{index % 4}") for index, points in enumerate(clean.values())]
    parts.append(_legend([(name, f"fill{index % 4}") for index, name in enumerate(clean)]))
    return _svg(f"{y_label} over {x_label}", parts)


def _svg(title: str, parts: Sequence[str]) -> str:
    name = escape(title)
    opening = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}"><title>{name}</title>'
    return opening + "".join(parts) + "</svg>"


def _axes(frame: _Frame, x_label: str, y_label: str, *, whole: bool = False, percent: bool = False) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for value in _ticks(frame.y_low, frame.y_high, 5, whole):
        y = frame.y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{_label(value, percent)}</text>')
    for value in _ticks(frame.x_low, frame.x_high, 7, False):
        x = frame.x(value)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{_label(value, percent)}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {TOP - 6}V{bottom}H{right}"/>')
    parts.append(f'<text x="{(LEFT + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x_label)}</text>')
    parts.append(f'<text x="6" y="13">{escape(y_label)}</text>')
    return "".join(parts)


def _bars(frame: _Frame, edges: NDArray[np.float64], counts: NDArray[np.int64], tone: str) -> str:
    bars = []
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count:
            x, y = frame.x(float(low)), frame.y(float(count))
            width = frame.x(float(high)) - x - 0.6
            height = HEIGHT - BOTTOM - y
            bars.append(f'<rect class="bar {tone}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>')
    return "".join(bars)


def _cut(frame: _Frame, threshold: float) -> str:
    x = frame.x(threshold)
    anchor, away = ("end", -5) if x > WIDTH * 0.6 else ("start", 5)
    return (
        f'<line class="cut" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 6}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="strong" x="{x + away:.1f}" y="{TOP + 4}" text-anchor="{anchor}">threshold {threshold:.4g}</text>'
    )


def _point(x: float, y: float) -> str:
    """The working point, with its name on the side where there is room."""
    anchor, away = ("end", -10) if x > WIDTH * 0.75 else ("start", 10)
    below = 20 if y < HEIGHT - BOTTOM - 30 else -8
    return (
        f'<circle class="bad" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'
        f'<text class="strong" x="{x + away:.1f}" y="{y + below:.1f}" text-anchor="{anchor}">threshold</text>'
    )


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    parts = []
    x = WIDTH - RIGHT
    for text, tone in reversed(entries):
        x -= 7 * len(text) + 4
        parts.append(f'<rect class="{tone}" x="{x - 14}" y="5" width="10" height="10" rx="2"/>')
        parts.append(f'<text x="{x}" y="14">{escape(text)}</text>')
        x -= 28
    return "".join(parts)


def _polyline(frame: _Frame, points: Sequence[tuple[float, float]], style: str) -> str:
    places = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y in points)
    return f'<polyline class="{style}" points="{places}"/>'


def _ticks(low: float, high: float, wanted: int, whole: bool) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) between `low` and `high`."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    if whole:
        step = max(1.0, step)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _label(value: float, percent: bool) -> str:
    return f"{100 * value:.4g} %" if percent else f"{value:.6g}"


def _padded(low: float, high: float, share: float) -> tuple[float, float]:
    """A range that is never empty, a little wider than its values."""
    span = high - low
    if span <= 0:
        return low - 0.5, high + 0.5
    return low - share * span, high + share * span
