"""Golden pictures: 8 to 32 whose verdict no rounding can change, kept in the bundle for every start to be tried on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sad_export.parity_set import ParityPicture
from sad_runtime.errors import GateFailed

FEWEST, MOST_OF_A_KIND = 8, 16
CLEAR = 3.0
"""How many times the engines' noise a golden score stands from the threshold, at least."""


def golden_indices(
    pictures: Sequence[ParityPicture], scores: NDArray[np.float64], threshold: float, noise: float
) -> list[int]:
    """Which pictures of the set are golden: spread over the scores, up to 16 good and 16 anomalous ones.

    Raises GateFailed when fewer than 8 stand clear of the threshold: such a model says nothing definite.
    """
    clear = stands_clear(scores, threshold, noise)
    chosen: list[int] = []
    for good in (True, False):
        candidates = [index for index, picture in enumerate(pictures) if picture.is_good is good and clear[index]]
        candidates.sort(key=lambda index: scores[index])
        places = np.unique(np.linspace(0, len(candidates) - 1, MOST_OF_A_KIND).round().astype(int))
        chosen += [candidates[place] for place in places if candidates]
    if len(chosen) < FEWEST:
        raise GateFailed(
            f"only {len(chosen)} pictures score clear of the threshold {threshold:.4g} (noise {noise:.2g}); "
            f"{FEWEST} are needed to prove an engine. Train longer, or bring more good pictures"
        )
    return sorted(chosen)


def stands_clear(scores: NDArray[np.float64], threshold: float, noise: float) -> NDArray[np.bool_]:
    """Of each picture, whether no rounding of this size can change its verdict."""
    return np.abs(scores - threshold) >= CLEAR * noise
