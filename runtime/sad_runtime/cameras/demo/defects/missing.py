"""Missing: a hole never drilled, a component never placed, a yarn that broke. What is beneath is seen."""

from __future__ import annotations

import numpy as np

from sad_runtime.cameras.demo.defects.patch import Patch


def apply(patch: Patch, rng: np.random.Generator, strength: float) -> None:
    """All or nothing: draws and strength have no part in it, only the feature that was chosen."""
    feature = patch.feature
    assert feature is not None
    for plane, bare in zip(patch.surface.planes(), feature.bare.planes(), strict=True):
        plane[..., feature.touched] = bare[..., feature.touched]
