"""A stain: a dried film of oil, coolant or flux. It tints, darkens most at its rim, and dulls or shines."""

from __future__ import annotations

import numpy as np

from sad_runtime.cameras.demo.defects.patch import Patch, blob

TINTS = ((0.45, 0.70, 0.85), (0.60, 0.60, 0.62), (0.35, 0.50, 0.75), (0.75, 0.72, 0.60))
"""Share of blue, green and red light that a thick film lets through: rust, soot, oil, coolant."""


def apply(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    surface = patch.surface
    away = blob(patch, rng, roughness=0.45, stretch=rng.uniform(1.0, 1.4))
    soft = 1.4 / patch.size_px + rng.uniform(0.08, 0.3)
    film = np.clip((1 - away) / soft, 0, 1)
    rim = np.exp(-(((away - 0.92) / 0.16) ** 2)) * film
    thick = np.minimum(strength * rng.uniform(0.35, 0.8) * (0.65 * film + 0.35 * rim), 1) * surface.cover
    tint = TINTS[int(rng.integers(len(TINTS)))]
    for plane, through in zip(surface.albedo, tint, strict=True):
        plane *= 1 - thick * (1 - through)
    surface.gloss += thick * (rng.uniform(0.05, 0.25) - surface.gloss)
    if surface.grain is not None:
        surface.grain[2] *= 1 - 0.6 * thick
