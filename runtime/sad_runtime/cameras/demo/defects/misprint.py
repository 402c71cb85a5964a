"""A misprint: ink or laser marking that is missing, smeared along the part's travel, or where none belongs."""

from __future__ import annotations

import cv2
import numpy as np

from sad_runtime.cameras.demo.defects.patch import Patch, blob, soften
from sad_runtime.cameras.demo.surface import SUPER, Plane


def apply(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    """The patch's centre lies on print."""
    ink = patch.surface.ink
    away = blob(patch, rng, roughness=0.4, stretch=rng.uniform(1.0, 1.8))
    inside = soften((1 - away) * (patch.size_px / 2))
    fault = int(rng.integers(3))
    if fault == 0:
        ink *= 1 - inside * min(1.0, 0.9 * strength)
    elif fault == 1:
        _smear(ink, inside, patch, rng, strength)
    else:
        spill = inside * min(1.0, rng.uniform(0.6, 0.95) * strength)
        np.maximum(ink, spill * patch.surface.cover, out=ink)


def _smear(ink: Plane, inside: Plane, patch: Patch, rng: np.random.Generator, strength: float) -> None:
    """Wet ink drawn sideways: a one-sided average along the rows."""
    reach = max(3, round(patch.size_px * SUPER * rng.uniform(0.3, 0.7)))
    kernel = np.linspace(1, 0, reach, dtype=np.float32)[None, :]
    kernel /= kernel.sum()
    drawn = cv2.filter2D(ink, cv2.CV_32F, kernel, anchor=(0, 0), borderType=cv2.BORDER_REPLICATE)
    wet = np.clip(np.asarray(drawn, dtype=np.float32) * (1.6 * strength), 0, 1)
    ink += inside * (np.maximum(0.6 * ink, wet) - ink)
