"""A scratch: something hard drawn across the part. A groove with raised lips and bright, fresh material."""

from __future__ import annotations

import numpy as np

from sad_runtime.cameras.demo.defects.patch import Patch, soften, taper, wander


def apply(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    surface = patch.surface
    width = float(np.clip(rng.uniform(0.6, 1.6) * (patch.size_px / 20) ** 0.3, 0.6, 2.2))
    away, ends = wander(patch, rng, bend=0.10), taper(patch)
    groove = soften(width / 2 * ends - away) * (ends > 0)
    lips = np.exp(-(((away - width) / (0.5 * width)) ** 2)) * ends
    depth = strength * rng.uniform(0.25, 0.7) * width * patch.tall
    surface.height += depth * (0.4 * lips - groove)
    fresh = 0.25 + 1.25 * max(patch.base_bgr)
    surface.tint((fresh, fresh, fresh), groove * min(0.9, 0.4 * strength))
    surface.ink *= 1 - groove
    surface.gloss += groove * (0.25 - surface.gloss)
    if surface.grain is not None:
        surface.grain[2] *= 1 - 0.85 * groove
