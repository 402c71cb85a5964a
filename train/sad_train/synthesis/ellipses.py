"""A patch's outline as a cluster of ellipses, the authors' alternative to a box.

Schlüter et al., ECCV 2022, supplement; after the authors' code (`num_ellipses=5`), with a proper rotation where theirs
mixes up a sign.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ELLIPSES = 5


def ellipse_mask(shape: tuple[int, int], least_px: tuple[float, float], rng: np.random.Generator) -> NDArray[np.bool_]:
    """(H, W) True within any of five ellipses, never empty.

    Centres lie anywhere in the box; semi-axes between `least_px` (the least half-sizes of patches, at least 1) and a
    quarter of the box's sides, at any angle.
    """
    height, width = shape
    centres = rng.random((ELLIPSES, 2)) * (height - 1, width - 1)
    angles = rng.uniform(0, np.pi, ELLIPSES)
    draws = rng.random((ELLIPSES, 2))
    most = np.maximum(1.0, np.array(shape) / 4)
    least = np.clip(least_px, 1.0, most)
    axes = least + draws * (most - least)
    down = np.arange(height)[np.newaxis, :, np.newaxis] - centres[:, 0, np.newaxis, np.newaxis]
    right = np.arange(width)[np.newaxis, np.newaxis, :] - centres[:, 1, np.newaxis, np.newaxis]
    cos, sin = np.cos(angles)[:, np.newaxis, np.newaxis], np.sin(angles)[:, np.newaxis, np.newaxis]
    along, aside = down * cos + right * sin, right * cos - down * sin
    inside = (along / axes[:, :1, np.newaxis]) ** 2 + (aside / axes[:, 1:, np.newaxis]) ** 2 <= 1
    return np.asarray(inside.any(axis=0), dtype=bool)
