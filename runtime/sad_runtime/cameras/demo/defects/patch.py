"""The small piece of a part that a defect may change, and the irregular outlines that defects share.

A defect works in its own frame: `u` along it and `v` across it, in picture pixels from its centre. Where on
the part the patch lies is decided in `apply.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sad_runtime.cameras.demo.surface import SUPER, Bgr, Feature, Plane, Surface, as_plane


@dataclass(frozen=True)
class Patch:
    surface: Surface
    """A cut-out of the part, to be changed in place. Heights are in working pixels."""
    u: Plane
    """(h, w) picture pixels along the defect; for a burr, outwards from the part."""
    v: Plane
    """(h, w) picture pixels across the defect."""
    size_px: float
    """Characteristic size: the length of a line, the diameter of a spot."""
    base_bgr: Bgr
    """Colour of the part around the defect."""
    feature: Feature | None = None
    """What goes missing, for the kinds that take something away; the patch is then its window."""

    @property
    def tall(self) -> float:
        """Working pixels of height per picture pixel of height."""
        return float(SUPER)


Apply = Callable[[Patch, np.random.Generator, float], None]
"""(patch, draws, strength). Strength is 1, or more where 1 could not be seen."""


def soften(distance_px: Plane) -> Plane:
    """Distance inside an outline, picture pixels -> coverage 0 to 1, a working pixel wide."""
    return as_plane(np.clip(distance_px * SUPER + np.float32(0.5), 0, 1))


def blob(patch: Patch, rng: np.random.Generator, roughness: float, stretch: float = 1.0) -> Plane:
    """(h, w) 0 at the centre, 1 on an irregular closed outline, more outside it.

    `stretch` is its length over its width; the area stays that of a disc of the patch's size.
    """
    u, v = patch.u / math.sqrt(stretch), patch.v * math.sqrt(stretch)
    angle = np.arctan2(v, u)
    edge = np.ones_like(u)
    for wave in range(2, 7):
        swing = roughness * rng.normal(0, 1) / wave
        edge += swing * np.cos(wave * angle + rng.uniform(0, 2 * math.pi))
    return as_plane(np.hypot(u, v) / (np.clip(edge, 0.4, 1.4) * (patch.size_px / 2)))


def wander(patch: Patch, rng: np.random.Generator, bend: float, jag: float = 0.0) -> Plane:
    """(h, w) distance in picture pixels to a line along u that bends, and kinks if `jag` is above 0.

    Both are shares of the patch's size.
    """
    along = patch.u / max(patch.size_px, 1.0)
    line = bend * np.sin(along * rng.uniform(2, 4) + rng.uniform(0, 2 * math.pi))
    if jag > 0:
        corners = np.cumsum(rng.normal(0, 1, 12))
        corners -= np.linspace(corners[0], corners[-1], 12)
        line = line + jag * np.interp(along, np.linspace(-0.55, 0.55, 12), corners)
    line = (line - line.ravel()[np.argmin(np.abs(patch.u) + np.abs(patch.v))]) * patch.size_px
    return as_plane(np.abs(patch.v - line))


def taper(patch: Patch) -> Plane:
    """(h, w) 1 in the middle of the defect's length, falling to 0 at and beyond its ends."""
    return as_plane(np.clip(1 - (2 * np.abs(patch.u) / patch.size_px) ** 4, 0, 1))
