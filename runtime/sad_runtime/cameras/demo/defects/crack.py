"""A crack: a thin dark gap that kinks and forks, wider in its middle than at its tips."""

from __future__ import annotations

import numpy as np

from sad_runtime.cameras.demo.defects.patch import Patch, soften, taper, wander
from sad_runtime.cameras.demo.surface import Plane


def apply(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    surface = patch.surface
    width = float(np.clip(rng.uniform(0.5, 1.1) * (patch.size_px / 20) ** 0.4, 0.5, 2.0)) * strength**0.5
    gap = _gap(patch, rng, width)
    if patch.size_px > 9:
        gap = np.maximum(gap, _fork(patch, rng, width))
    gap *= surface.cover
    surface.height -= gap * (1.5 * patch.tall)
    surface.tint((0.012, 0.012, 0.012), gap * rng.uniform(0.75, 0.95))
    surface.ink *= 1 - gap
    surface.gloss *= 1 - gap
    if surface.grain is not None:
        surface.grain[2] *= 1 - gap


def _gap(patch: Patch, rng: np.random.Generator, width: float) -> Plane:
    away, ends = wander(patch, rng, bend=0.05, jag=0.035), taper(patch)
    return soften(width / 2 * ends - away) * (ends > 0)


def _fork(patch: Patch, rng: np.random.Generator, width: float) -> Plane:
    """A side branch: a shorter crack that leaves the main one at an angle."""
    turn = rng.choice((-1.0, 1.0)) * rng.uniform(0.5, 1.0)
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    reach = patch.size_px * rng.uniform(0.3, 0.5)
    u, v = c * patch.u + s * patch.v - np.float32(reach / 2), c * patch.v - s * patch.u
    branch = Patch(patch.surface, u, v, reach, patch.base_bgr)
    return _gap(branch, rng, 0.7 * width)
