"""Seamless cloning (Pérez et al., "Poisson Image Editing", 2003) by a direct sine transform.

The guidance field is the source's gradient inside the mask and the destination's elsewhere, an edge between two pixels
belonging to the upper or left one as in OpenCV; with `mixed`, the stronger of the two inside the mask. The Poisson
equation on the patch's rectangle, with the destination as its border, is diagonal under the type-I discrete sine
transform, so it is solved exactly in O(n log n). `cv2.seamlessClone` solves the same system on a mask eroded by three
pixels, to within one grey level (its `mixed` compares sums of gradients instead of each); tests hold the two together.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Grey = NDArray[np.float32]


def poisson_blend(
    destination: NDArray[np.uint8], source: NDArray[np.uint8], mask: NDArray[np.bool_], *, mixed: bool
) -> NDArray[np.uint8]:
    """`source` cloned into `destination` where `mask` is set.

    All of one size, (H, W, C) and (H, W), at least 3x3; the outermost ring of the rectangle keeps the destination.
    """
    target = destination.astype(np.float32)
    guide = source.astype(np.float32)
    rows = _guidance(np.diff(target, axis=0), np.diff(guide, axis=0), mask[:-1], mixed)
    columns = _guidance(np.diff(target, axis=1), np.diff(guide, axis=1), mask[:, :-1], mixed)
    divergence = np.diff(rows, axis=0)[:, 1:-1] + np.diff(columns, axis=1)[1:-1, :]
    divergence[0] -= target[0, 1:-1]
    divergence[-1] -= target[-1, 1:-1]
    divergence[:, 0] -= target[1:-1, 0]
    divergence[:, -1] -= target[1:-1, -1]
    target[1:-1, 1:-1] = _solved(divergence)
    return np.asarray(np.clip(np.rint(target), 0, 255), dtype=np.uint8)


def _guidance(target: Grey, guide: Grey, inside: NDArray[np.bool_], mixed: bool) -> Grey:
    chosen = np.where(np.abs(guide) > np.abs(target), guide, target) if mixed else guide
    return np.where(inside[..., np.newaxis], chosen, target)


def _solved(divergence: Grey) -> Grey:
    """f with laplace(f) = divergence on the (h, w, C) interior and 0 around it."""
    spectrum = fft.dstn(divergence, type=1, axes=(0, 1))
    height, width = divergence.shape[:2]
    spectrum /= _eigenvalues(height)[:, np.newaxis, np.newaxis] + _eigenvalues(width)[:, np.newaxis]
    return np.asarray(fft.idstn(spectrum, type=1, axes=(0, 1)), dtype=np.float32)


@lru_cache(maxsize=512)
def _eigenvalues(length: int) -> Grey:
    """Of the second difference along one axis, (length,); a pure function of its argument, hence the cache."""
    return np.asarray(2 * np.cos(np.pi * np.arange(1, length + 1) / (length + 1)) - 2, dtype=np.float32)
