"""Which pixels are the part and which the background, by grey level (profile.py finds the constants)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sad_train.pixels import grey, majority


@dataclass(frozen=True)
class Background:
    """Pixels whose grey level is nearer than `tolerance` to `level` are background (NSA's (b, t))."""

    level: float
    tolerance: float


def foreground(picture: NDArray[np.uint8], background: Background | None) -> NDArray[np.bool_]:
    """(H, W) True on the part; all True when no background is known. A 7x7 median removes specks, as in NSA."""
    if background is None:
        return np.ones(picture.shape[:2], bool)
    differs = np.abs(grey(picture).astype(np.float32) - background.level) > background.tolerance
    return majority(differs, 7)
