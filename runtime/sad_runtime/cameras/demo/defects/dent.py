"""A dent: the part was struck or pressed. Only its shape changes; what is seen is the light on it.

What is pressed in is pressed flat as well: tool marks and yarns lose most of their relief.
"""

from __future__ import annotations

import cv2
import numpy as np

from sad_runtime.cameras.demo.defects.patch import Patch, blob
from sad_runtime.cameras.demo.surface import SUPER, Plane, as_plane


def apply(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    surface = patch.surface
    away = blob(patch, rng, roughness=0.15, stretch=rng.uniform(1.0, 1.5))
    bowl = np.clip(1 - away * away, 0, 1) ** 2
    rim = np.exp(-(((away - 1.1) / 0.18) ** 2))
    depth = strength * rng.uniform(0.07, 0.16) * patch.size_px * patch.tall
    relief = surface.height - _smoothed(surface.height, patch.size_px)
    surface.height -= 0.6 * bowl * surface.cover * relief
    surface.height += depth * surface.cover * (0.22 * rim - bowl)
    if surface.grain is not None:
        surface.grain[2] *= 1 - 0.3 * bowl


def _smoothed(height: Plane, size_px: float) -> Plane:
    wide = max(3, round(size_px * SUPER / 2))
    return as_plane(cv2.blur(height, (wide, wide), borderType=cv2.BORDER_REPLICATE))
