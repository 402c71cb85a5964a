"""Contamination: a loose particle or fibre lying on the part, casting its shadow."""

from __future__ import annotations

import numpy as np

from sad_runtime.cameras.demo.defects.patch import Patch, blob, soften, taper, wander
from sad_runtime.cameras.demo.surface import Plane

COLOURS = ((0.03, 0.03, 0.03), (0.60, 0.62, 0.62), (0.06, 0.10, 0.22), (0.28, 0.34, 0.36), (0.10, 0.08, 0.40))
"""Soot, lint, cardboard, sand, a crumb of paint."""


def apply(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    fibre = patch.size_px > 7 and rng.random() < 0.5
    body, tall_px = _fibre(patch, rng) if fibre else _particle(patch, rng)
    surface = patch.surface
    colour = COLOURS[int(rng.integers(len(COLOURS)))]
    surface.tint(colour, body * min(1.0, 0.85 * strength))
    surface.height += body * (tall_px * patch.tall)
    surface.gloss += body * (0.06 - surface.gloss)
    surface.ink *= 1 - body
    if surface.grain is not None:
        surface.grain[2] *= 1 - body


def _fibre(patch: Patch, rng: np.random.Generator) -> tuple[Plane, float]:
    width = rng.uniform(0.7, 1.4)
    away, ends = wander(patch, rng, bend=rng.uniform(0.1, 0.3)), taper(patch)
    return soften(width / 2 - away) * (ends > 0), width


def _particle(patch: Patch, rng: np.random.Generator) -> tuple[Plane, float]:
    away = blob(patch, rng, roughness=0.4, stretch=rng.uniform(1.0, 1.6))
    body = soften((1 - away) * (patch.size_px / 2))
    lump = np.asarray(body * (0.6 + 0.4 * np.sqrt(np.clip(1 - away * away, 0, 1))), dtype=np.float32)
    return np.minimum(body, lump + 0.3), rng.uniform(0.2, 0.4) * patch.size_px
