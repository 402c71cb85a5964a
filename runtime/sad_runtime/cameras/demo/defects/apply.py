"""Puts one defect on a part: applies it to the description and marks exactly the pixels it changed.

The mask compares the same part under the same light with and without the defect, before sensor noise. A
draw that can hardly be seen is made again, a little stronger, so a defective picture never has an empty mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sad_runtime.cameras.demo.defects.patch import Patch
from sad_runtime.cameras.demo.defects.spot import Spot, spot_for
from sad_runtime.cameras.demo.defects.table import Defect
from sad_runtime.cameras.demo.light import Light, shade
from sad_runtime.cameras.demo.sensor import Camera, levels, margin_px
from sad_runtime.cameras.demo.surface import SUPER, Plane, Slices, Surface, Window, as_plane
from sad_runtime.errors import DataError

CHANGED = 2.0
"""Grey levels by which any channel must differ for a pixel to be in the mask."""
VISIBLE = 12.0
STANDING_OUT = 0.3
"""A defect's strongest pixel differs by VISIBLE grey levels plus this share of the spread around it."""
FEWEST_PIXELS = 3
ATTEMPTS = 40
STRONGEST = 6.0
REACH = 1.15
"""Share of its size that a defect may spread from its centre: a rough, drawn-out dent with its rim needs most."""


@dataclass(frozen=True)
class Scene:
    """One part, its light and its camera, and the noise-free picture of it."""

    surface: Surface
    light: Light
    camera: Camera
    linear: Plane
    """(H, W, 3) linear light."""

    @property
    def size_px(self) -> int:
        return len(self.linear)


def with_defect(
    scene: Scene, defect: Defect, entropy: list[int], defect_px: float | None
) -> tuple[Plane, NDArray[np.uint8]]:
    """(linear light with the defect, mask 0 or 255). `entropy` seeds the draws; each attempt adds its number."""
    for attempt in range(ATTEMPTS):
        rng = np.random.default_rng(np.random.SeedSequence([*entropy, attempt]))
        spot = spot_for(scene.surface, defect, rng, defect_px, attempt)
        window, linear = _reshoot(scene, defect, spot, rng, min(1.25**attempt, STRONGEST))
        good = levels(scene.linear[window.slices()])
        change = np.abs(levels(linear) - good).max(axis=2)
        changed = change > CHANGED
        enough = VISIBLE + STANDING_OUT * float(good.std())
        if change.max(initial=0) >= enough and np.count_nonzero(changed) >= FEWEST_PIXELS:
            return _pasted(scene, window, linear, changed)
    raise DataError(f"no visible defect in {ATTEMPTS} draws at {scene.size_px} px: ask for a larger one.")


def _pasted(scene: Scene, window: Window, linear: Plane, changed: NDArray[np.bool_]) -> tuple[Plane, NDArray[np.uint8]]:
    """Puts the changed window into the whole picture. Outside the mask the good part's own pixels stay."""
    mask = np.zeros((scene.size_px, scene.size_px), np.uint8)
    mask[window.slices()] = 255 * changed.astype(np.uint8)
    whole = scene.linear.copy()
    whole[window.slices()][changed] = linear[changed]
    return whole, mask


def _reshoot(
    scene: Scene, defect: Defect, spot: Spot, rng: np.random.Generator, strength: float
) -> tuple[Window, Plane]:
    """The window that the defect can have changed, and its light. Only that window is rendered again."""
    size_px, margin = scene.size_px, margin_px(scene.light)
    core = spot.feature.window if spot.feature else Window.around(spot.x, spot.y, REACH * spot.size_px + 4, size_px)
    seen = core.grown(margin, size_px)
    outer = seen.grown(margin, size_px)
    surface = scene.surface.cut(outer)
    _change(surface, core.within(outer, SUPER), defect, spot, core, rng, strength)
    exposed = scene.camera.expose(shade(surface, scene.light), outer)
    return seen, exposed[seen.within(outer)]


def _change(
    surface: Surface,
    inner: Slices,
    defect: Defect,
    spot: Spot,
    core: Window,
    rng: np.random.Generator,
    strength: float,
) -> None:
    """Lets the defect change the `inner` working pixels of a cut-out, in place."""
    view = surface.view(inner)
    u, v = _frame(core, spot)
    on_part = view.cover > 0.5
    colours = view.albedo[:, on_part] if on_part.any() else view.albedo.reshape(3, -1)
    blue, green, red = (float(np.median(plane)) for plane in colours)
    defect.apply(Patch(view, u, v, spot.size_px, (blue, green, red), spot.feature), rng, strength)


def _frame(core: Window, spot: Spot) -> tuple[Plane, Plane]:
    """(u, v) of each working pixel of a window along and across the defect, picture pixels."""
    x = (np.arange(core.left * SUPER, core.right * SUPER, dtype=np.float32) + 0.5) / SUPER - spot.x
    y = (np.arange(core.top * SUPER, core.bottom * SUPER, dtype=np.float32) + 0.5) / SUPER - spot.y
    c, s = math.cos(spot.angle), math.sin(spot.angle)
    return as_plane(c * x[None, :] + s * y[:, None]), as_plane(c * y[:, None] - s * x[None, :])
