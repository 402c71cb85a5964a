"""The guard against a set that would give useless ranges: too few pictures, copies, dark or flat ones, a wrong size."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sad_runtime.errors import DataError, GateFailed
from sad_runtime.schema import Strict

FEWEST_GOOD = 8
FLAT_LEVELS = 8
"""A camera's own noise spans more grey levels than this; a picture that does not shows nothing."""

Pictures = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
"""Each (H, W, C) uint8 at model size; a list of them, or one array of all. Read more than once."""


class PictureSet(Strict):
    """What the ranges rest on."""

    good: int = Field(ge=0)
    synthetic: int = Field(ge=0)
    """Anomalies: made by a generator, or real defects."""
    digest: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 over all pictures, good ones first, in order."""


def check_pictures(goods: Pictures, anomalies: Pictures, shape: tuple[int, int, int]) -> PictureSet:
    """Raises GateFailed for pictures that no ranges should rest on, DataError for too few.

    `shape`: (H, W, C) as the model takes it. There may be no anomalies, though ranges are the better for them: an
    activation that only a defect raises is clipped by ranges that never saw one.
    """
    digest = hashlib.sha256()
    distinct = set()
    faults = []
    for kind, pictures in (("good picture", goods), ("anomaly", anomalies)):
        for number, picture in enumerate(pictures, start=1):
            fault = _fault(picture, shape)
            if fault:
                faults.append(f"{kind} {number} {fault}")
                continue
            own = hashlib.sha256(picture.tobytes()).digest()
            digest.update(own)
            if kind == "good picture":
                distinct.add(own)
    if faults:
        more = f"; and {len(faults) - 8} more" if len(faults) > 8 else ""
        raise GateFailed(f"INT8 calibration: {'; '.join(faults[:8])}{more}. Take such pictures out of the set")
    if len(distinct) < FEWEST_GOOD:
        copies = f" ({len(goods)} with copies)" if len(distinct) < len(goods) else ""
        raise DataError(
            f"INT8 calibration: {len(distinct)} different good pictures{copies}; ranges need {FEWEST_GOOD} or more, "
            "better 64, of different parts"
        )
    return PictureSet(good=len(goods), synthetic=len(anomalies), digest=digest.hexdigest())


def _fault(picture: NDArray[np.uint8], shape: tuple[int, int, int]) -> str | None:
    """What is wrong with this one, in words that follow its number."""
    if picture.dtype != np.uint8 or picture.shape != shape:
        return f"is {picture.dtype} {picture.shape}, the model takes uint8 {shape}"
    darkest, brightest = int(picture.min()), int(picture.max())
    if brightest < FLAT_LEVELS:
        return "is black"
    if brightest - darkest < FLAT_LEVELS:
        return f"is flat: all grey levels are {darkest} to {brightest}"
    return None
