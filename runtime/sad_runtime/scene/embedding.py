"""What embeddings of good parts look like: their mean and spread, one pair a precision, kept in the bundle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_SHARE = 0.05


@dataclass(frozen=True)
class Embeddings:
    mean: NDArray[np.float32]
    """(K,)"""
    spread: NDArray[np.float32]
    """(K,) standard deviations, all above 0."""
    count: int
    """How many parts they were learnt from."""

    @classmethod
    def of(cls, embeddings: NDArray[np.float32]) -> Embeddings:
        """`embeddings` (n, K). A number that hardly moves on good parts does not count more than 20 times the typical
        one: its spread is raised to a twentieth of the median spread."""
        mean = embeddings.mean(axis=0, dtype=np.float64)
        spread = embeddings.std(axis=0, dtype=np.float64)
        floor = max(LEAST_SHARE * float(np.median(spread)), 1e-6)
        return cls(mean.astype(np.float32), np.maximum(spread, floor).astype(np.float32), len(embeddings))
