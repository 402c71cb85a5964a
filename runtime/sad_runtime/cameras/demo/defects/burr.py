"""A burr: slivers of the part's own material left standing out over its edge."""

from __future__ import annotations

import numpy as np

from sad_runtime.cameras.demo.defects.patch import Patch, soften


def apply(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    """The patch's u points outwards, its centre lies on the edge."""
    surface = patch.surface
    share = np.clip(patch.v / patch.size_px + 0.5, 0, 1)
    hill = (4 * share * (1 - share)) ** 0.6
    teeth = np.interp(share, np.linspace(0, 1, 9), rng.uniform(0.25, 1.0, 9)).astype(np.float32)
    length = max(1.0, 0.28 * patch.size_px * rng.uniform(0.6, 1.2)) * strength**0.5
    reach = length * hill * teeth
    sliver = soften(np.minimum(reach - patch.u, patch.u + 1.2)) * (np.abs(patch.v) < patch.size_px / 2)
    curl = np.clip((patch.u + 1.2) / (length + 1.2), 0, 1)
    top = float(surface.height[surface.cover > 0.5].max(initial=0))
    surface.height += sliver * (top + 0.5 * patch.tall * curl * length - surface.height)
    ragged = np.asarray(rng.uniform(0.8, 1.25, sliver.shape), dtype=np.float32)
    blue, green, red = patch.base_bgr
    for plane, tone in zip(surface.albedo, (blue, green, red), strict=True):
        plane += sliver * ((0.06 + 1.05 * tone) * ragged - plane)
    surface.gloss += sliver * (0.30 - surface.gloss)
    surface.cover[...] = np.maximum(surface.cover, sliver)
    if surface.grain is not None:
        surface.grain[2] *= 1 - 0.7 * sliver
