"""The drawing of the printed board: outline, copper, pads, legend and the list of components.

Drawn once per picture size with OpenCV and kept. Coordinates are shares of the picture's width, as the board
would lie in a perfect fixture; `board.py` lays it into the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_runtime.cameras.demo.lettering import FINE, write
from sad_runtime.cameras.demo.surface import SUPER

LEFT, TOP, RIGHT, BOTTOM = 0.045, 0.115, 0.955, 0.885


@dataclass(frozen=True)
class Component:
    """`wide` along the component's own axis, `high` across it."""

    name: str
    kind: str
    x: float
    y: float
    wide: float
    high: float
    turn_deg: float = 0.0


COMPONENTS: tuple[Component, ...] = (
    Component("U1", "chip", 0.400, 0.465, 0.170, 0.170),
    Component("U2", "chip", 0.725, 0.335, 0.095, 0.150),
    Component("C9", "can", 0.800, 0.700, 0.135, 0.135),
    Component("J1", "socket", 0.205, 0.745, 0.210, 0.090),
    Component("R1", "resistor", 0.165, 0.300, 0.056, 0.028),
    Component("R2", "resistor", 0.165, 0.370, 0.056, 0.028),
    Component("R3", "resistor", 0.165, 0.440, 0.056, 0.028),
    Component("C1", "capacitor", 0.340, 0.245, 0.056, 0.032),
    Component("C2", "capacitor", 0.460, 0.245, 0.056, 0.032),
    Component("C3", "capacitor", 0.610, 0.560, 0.056, 0.032, 90),
    Component("R4", "resistor", 0.670, 0.560, 0.044, 0.024, 90),
    Component("R5", "resistor", 0.440, 0.700, 0.030, 0.017),
    Component("R6", "resistor", 0.440, 0.740, 0.030, 0.017),
    Component("D1", "led", 0.560, 0.720, 0.048, 0.028),
    Component("C5", "capacitor", 0.200, 0.540, 0.019, 0.012),
    Component("C6", "capacitor", 0.245, 0.540, 0.019, 0.012, 90),
    Component("C7", "capacitor", 0.850, 0.520, 0.019, 0.012),
)
HOLES = ((0.095, 0.165), (0.905, 0.165), (0.905, 0.835), (0.075, 0.600))
VIAS = ((0.27, 0.36), (0.27, 0.44), (0.54, 0.36), (0.53, 0.60), (0.33, 0.63), (0.63, 0.47), (0.86, 0.43), (0.68, 0.78))
TRACKS: tuple[tuple[tuple[float, float], ...], ...] = (
    ((0.195, 0.300), (0.235, 0.300), (0.305, 0.410)),
    ((0.195, 0.370), (0.225, 0.370), (0.305, 0.437)),
    ((0.195, 0.440), (0.215, 0.440), (0.240, 0.463), (0.305, 0.463)),
    ((0.370, 0.245), (0.373, 0.370)),
    ((0.430, 0.245), (0.427, 0.370)),
    ((0.490, 0.245), (0.560, 0.245), (0.600, 0.280), (0.665, 0.280)),
    ((0.495, 0.410), (0.560, 0.350), (0.665, 0.350)),
    ((0.495, 0.437), (0.580, 0.390), (0.665, 0.390)),
    ((0.495, 0.490), (0.560, 0.530), (0.610, 0.530)),
    ((0.495, 0.517), (0.540, 0.590), (0.610, 0.590)),
    ((0.400, 0.560), (0.400, 0.630), (0.425, 0.660), (0.425, 0.700)),
    ((0.373, 0.560), (0.373, 0.680), (0.300, 0.715)),
    ((0.346, 0.560), (0.346, 0.650), (0.280, 0.700)),
    ((0.455, 0.700), (0.500, 0.700), (0.535, 0.720)),
    ((0.585, 0.720), (0.640, 0.720), (0.700, 0.660), (0.740, 0.680)),
    ((0.670, 0.585), (0.670, 0.640), (0.710, 0.700)),
    ((0.785, 0.280), (0.850, 0.280), (0.880, 0.320), (0.880, 0.600), (0.850, 0.650)),
    ((0.785, 0.320), (0.830, 0.320), (0.850, 0.350), (0.850, 0.510)),
    ((0.100, 0.690), (0.085, 0.660), (0.085, 0.520), (0.140, 0.440)),
    ((0.210, 0.540), (0.300, 0.520)),
)


@dataclass(frozen=True)
class Artwork:
    """(H, W) stencils at working resolution, 0 to 255."""

    outline: NDArray[np.uint8]
    copper: NDArray[np.uint8]
    pads: NDArray[np.uint8]
    legend: NDArray[np.uint8]


@dataclass(frozen=True)
class Stencil:
    """A picture that is drawn on in shares of its width."""

    plane: NDArray[np.uint8]

    def at(self, value: float) -> int:
        return round(value * len(self.plane) * (1 << FINE))

    def box(self, x: float, y: float, wide: float, high: float, value: int = 255) -> None:
        left, right = self.at(x - wide / 2), self.at(x + wide / 2)
        top, bottom = self.at(y - high / 2), self.at(y + high / 2)
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.int32)
        cv2.fillConvexPoly(self.plane, corners, (value,), cv2.LINE_AA, FINE)

    def disc(self, x: float, y: float, radius: float, value: int = 255) -> None:
        cv2.circle(self.plane, (self.at(x), self.at(y)), self.at(radius), (value,), -1, cv2.LINE_AA, FINE)

    def line(self, points: tuple[tuple[float, float], ...], wide: float, value: int = 255) -> None:
        path = np.array([[self.at(x), self.at(y)] for x, y in points], np.int32)
        thick = max(1, round(wide * self.plane.shape[0]))
        cv2.polylines(self.plane, [path], False, (value,), thick, cv2.LINE_AA, FINE)

    def text(self, words: str, x: float, y: float, high: float) -> None:
        """`x`, `y` is the middle of the words."""
        side = len(self.plane)
        write(self.plane, words, (x * side, y * side), high * side, max(1, round(side * high / 14)))


@lru_cache(maxsize=4)
def artwork_of(size_px: int) -> Artwork:
    side = size_px * SUPER
    outline, copper, pads, legend = (Stencil(np.zeros((side, side), np.uint8)) for _ in range(4))
    outline.box((LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2, RIGHT - LEFT, BOTTOM - TOP)
    _draw_copper(copper, pads)
    _draw_legend(legend)
    for x, y in HOLES:
        pads.disc(x, y, 0.030)
        for layer in (outline, copper, pads):
            layer.disc(x, y, 0.019, 0)
    return Artwork(*(layer.plane for layer in (outline, copper, pads, legend)))


def _draw_copper(copper: Stencil, pads: Stencil) -> None:
    for track in TRACKS:
        copper.line(track, 0.0075)
    for x, y in VIAS:
        copper.disc(x, y, 0.012)
        pads.disc(x, y, 0.008)
        pads.disc(x, y, 0.004, 0)
    for component in COMPONENTS:
        _draw_pads(pads, component)


def _draw_pads(pads: Stencil, part: Component) -> None:
    upright = part.turn_deg == 90
    if part.kind == "chip":
        rows = 6 if part.high > 0.16 else 5
        for row in range(rows):
            step = (row - (rows - 1) / 2) * 0.027
            for sign in (-1, 1):
                pads.box(part.x + sign * (part.wide / 2 + 0.008), part.y + step, 0.026, 0.013)
                if rows == 6:
                    pads.box(part.x + step, part.y + sign * (part.high / 2 + 0.008), 0.013, 0.026)
        return
    if part.kind == "socket":
        for pin in range(6):
            pads.disc(part.x + (pin - 2.5) * 0.033, part.y - part.high / 2 - 0.012, 0.009)
        return
    if part.kind == "can":
        for sign in (-1, 1):
            pads.box(part.x + sign * 0.066, part.y, 0.040, 0.034)
        return
    for sign in (-1, 1):
        off, long = sign * part.wide * 0.45, part.wide * 0.34
        if upright:
            pads.box(part.x, part.y + off, part.high * 1.15, long)
        else:
            pads.box(part.x + off, part.y, long, part.high * 1.15)


def _draw_legend(legend: Stencil) -> None:
    for part in COMPONENTS:
        if part.kind == "chip":
            legend.text("SAD7" if part.name == "U1" else "24C", part.x, part.y, 0.024)
            legend.disc(part.x - part.wide * 0.36, part.y - part.high * 0.38, 0.007)
        if part.wide > 0.04 and part.kind != "socket":
            rise = {"chip": 0.036, "can": 0.020}.get(part.kind, 0.018)
            tall = part.wide if part.turn_deg == 90 else part.high
            legend.text(part.name, part.x, part.y - tall / 2 - rise, 0.017)
    legend.line(((0.0875, 0.6875), (0.3225, 0.6875), (0.3225, 0.8025), (0.0875, 0.8025), (0.0875, 0.6875)), 0.004)
    legend.text("LINE CTRL  REV C", 0.500, 0.845, 0.024)
    legend.text("SAD-7", 0.500, 0.172, 0.028)
    for bar in range(14):
        legend.box(0.150 + bar * 0.011, 0.180, 0.003 + 0.004 * (bar * 7 % 3) / 2, 0.038)
