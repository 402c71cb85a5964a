"""Discolouration: heat tint, corrosion or uneven dye. A change of colour with no edge and no shape."""

from __future__ import annotations

import numpy as np

from sad_runtime.cameras.demo.defects.patch import Patch, blob

SHIFTS = ((0.60, 0.90, 1.15), (1.20, 0.95, 0.75), (0.80, 1.08, 0.82), (1.20, 1.18, 1.16), (0.70, 0.72, 0.75))
"""Factors on blue, green and red at the centre: straw tint, blue tint, verdigris, bleached, faded."""


def apply(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    surface = patch.surface
    away = blob(patch, rng, roughness=0.25, stretch=rng.uniform(1.0, 1.6))
    amount = np.clip(1 - away * away, 0, 1) ** 2 * surface.cover * (strength * rng.uniform(0.45, 1.0))
    shift = SHIFTS[int(rng.integers(len(SHIFTS)))]
    for plane, factor in zip(surface.albedo, shift, strict=True):
        plane *= np.clip(1 + amount * (factor - 1), 0.1, 3.0)
    if surface.grain is not None:
        # Metal shows most of its colour in its highlight, which is white here: the oxide dulls it instead.
        surface.grain[2] *= np.clip(1 - 0.45 * amount, 0, 1)
        surface.gloss *= np.clip(1 - 0.3 * amount, 0, 1)
