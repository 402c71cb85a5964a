"""The physical description of a part, before any light falls on it: colour, shape, shine and print.

Parts build a `Surface`, defects change a window of it, `light.py` looks at it. Planes are float32 at the
working resolution, which is SUPER times the picture; nothing here knows about light, noise or files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

SUPER = 2
"""Working pixels per picture pixel, each way. Averaging them down is the anti-aliasing."""

Plane = NDArray[np.float32]
Bgr = tuple[float, float, float]
Slices = tuple[slice, slice]


@dataclass(frozen=True)
class Window:
    """A box of picture pixels, `bottom` and `right` outside it."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def around(cls, x_px: float, y_px: float, radius_px: float, size_px: int) -> Window:
        """The box that holds a disc, cut to the picture. Centre and radius in picture pixels."""
        top, left = max(0, math.floor(y_px - radius_px)), max(0, math.floor(x_px - radius_px))
        bottom, right = math.ceil(y_px + radius_px), math.ceil(x_px + radius_px)
        return cls(top, left, min(size_px, bottom), min(size_px, right))

    def grown(self, by_px: int, size_px: int) -> Window:
        return Window(
            max(0, self.top - by_px),
            max(0, self.left - by_px),
            min(size_px, self.bottom + by_px),
            min(size_px, self.right + by_px),
        )

    def within(self, outer: Window, scale: int = 1) -> Slices:
        """Slices that cut this box out of arrays that show `outer` at `scale` pixels per picture pixel."""
        rows = slice((self.top - outer.top) * scale, (self.bottom - outer.top) * scale)
        return rows, slice((self.left - outer.left) * scale, (self.right - outer.left) * scale)

    def slices(self, scale: int = 1) -> Slices:
        return self.within(Window(0, 0, 0, 0), scale)


def whole(size_px: int) -> Window:
    return Window(0, 0, size_px, size_px)


@dataclass
class Surface:
    """What a part is made of, seen from straight above. All planes share (H, W), in working pixels."""

    albedo: Plane
    """(3, H, W) BGR share of light thrown back in all directions, linear, 0 to 1."""
    height: Plane
    """(H, W) height towards the camera, in working pixels."""
    gloss: Plane
    """(H, W) strength of the mirror-like highlight, 0 to 1."""
    ink: Plane
    """(H, W) share covered by print or laser marking, 0 to 1; lies on top of `albedo`."""
    cover: Plane
    """(H, W) 1 on the part, 0 on what it lies on and in its holes."""
    ink_bgr: Bgr
    grain: Plane | None = None
    """(3, H, W) direction x, direction y and strength of fine parallel tool marks; None where there are none."""
    features: list[Feature] = field(default_factory=list)
    """Things that can be missing. Empty on a cut-out."""

    def view(self, slices: Slices) -> Surface:
        """A window cut out of working pixels. It shares memory: changing it changes this surface."""
        rows, columns = slices
        return Surface(
            albedo=self.albedo[:, rows, columns],
            height=self.height[rows, columns],
            gloss=self.gloss[rows, columns],
            ink=self.ink[rows, columns],
            cover=self.cover[rows, columns],
            ink_bgr=self.ink_bgr,
            grain=None if self.grain is None else self.grain[:, rows, columns],
        )

    def cut(self, window: Window) -> Surface:
        """A copy of the part under a window of picture pixels, without its features."""
        seen = self.view(window.slices(SUPER))
        return replace(
            seen,
            albedo=seen.albedo.copy(),
            height=seen.height.copy(),
            gloss=seen.gloss.copy(),
            ink=seen.ink.copy(),
            cover=seen.cover.copy(),
            grain=None if seen.grain is None else seen.grain.copy(),
        )

    def planes(self) -> list[Plane]:
        planes = [self.albedo, self.height, self.gloss, self.ink, self.cover]
        return planes if self.grain is None else [*planes, self.grain]

    def tint(self, bgr: Bgr, amount: Plane | float) -> None:
        """Moves the colour towards `bgr`, by `amount` 0 to 1."""
        for plane, value in zip(self.albedo, bgr, strict=True):
            plane += amount * (value - plane)


@dataclass(frozen=True)
class Feature:
    """A hole, a component or a stretch of yarn, and what would be there without it."""

    window: Window
    span_px: float
    """How large it looks, in picture pixels."""
    bare: Surface
    """The same window as it was before the feature was made."""
    touched: NDArray[np.bool_]
    """(H, W) working pixels of the window which the feature changed."""


def as_plane(values: ArrayLike) -> Plane:
    """As float32, without a copy where it is that already: OpenCV and NumPy do not always say or keep it."""
    return np.asarray(values, dtype=np.float32)


@lru_cache(maxsize=4)
def grid(size_px: int) -> tuple[Plane, Plane]:
    """(x, y) of each working pixel's centre, in working pixels, each (H, W), read-only."""
    side = np.arange(size_px * SUPER, dtype=np.float32) + np.float32(0.5)
    x, y = (np.ascontiguousarray(plane) for plane in np.meshgrid(side, side))
    x.flags.writeable = y.flags.writeable = False
    return x, y


def noise_field(rng: np.random.Generator, cells: int, size_px: int) -> Plane:
    """A smooth random (H, W) plane of about unit spread, with `cells` bumps across the picture."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    side = size_px * SUPER
    return as_plane(cv2.resize(coarse, (side, side), interpolation=cv2.INTER_LINEAR))


def ramp(plane: Plane) -> Plane:
    """Cuts a distance in pixels to coverage: 0 at -0.5 and below, 1 at 0.5 and above."""
    return as_plane(np.clip(plane + np.float32(0.5), 0, 1))
