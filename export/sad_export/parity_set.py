"""The pictures that parity is judged on: held-out good ones, synthetic anomalies of them, known defects if given.

All at model size, through the line's own preprocessing. Training saw none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sad_runtime.errors import DataError
from sad_runtime.manifest import InputSpec, Roi
from sad_runtime.pictures import picture_files
from sad_runtime.preprocess import Picture
from sad_train.data.goodset import picture_at_model_size
from sad_train.synthesis.nsa import Anomaly, NsaRecipe, nsa_anomaly

MOST_GOOD = 100
FEWEST_SYNTHETIC, MOST_SYNTHETIC = 24, 100
DRAWS = 20
LABELLED = 0.5


@dataclass(frozen=True)
class ParityPicture:
    name: str
    kind: str
    """`good`, `synthetic` or `defect`."""
    picture: Picture
    mask: NDArray[np.bool_] | None = None
    """(H, W) where a synthetic anomaly is; None when nobody knows."""

    @property
    def is_good(self) -> bool:
        return self.kind == "good"


def parity_set(
    goods: NDArray[np.uint8], recipe: NsaRecipe, seed: int, defects: Sequence[ParityPicture] = ()
) -> list[ParityPicture]:
    """`goods` (n, H, W, C) uint8 that training never saw. Up to 100 of them, 24 to 100 synthetic ones, all defects."""
    kept = goods[:MOST_GOOD]
    pictures = [ParityPicture(f"good {index}", "good", good) for index, good in enumerate(kept)]
    for index in range(min(MOST_SYNTHETIC, max(FEWEST_SYNTHETIC, len(kept)))):
        made = _anomaly(kept, index, recipe, np.random.default_rng([seed, 15485863, index]))
        if made is not None:
            pictures.append(ParityPicture(f"synthetic {index}", "synthetic", made.picture, made.label > LABELLED))
    return [*pictures, *defects]


def known_defects(folder: Path, spec: InputSpec, roi: Roi | None) -> list[ParityPicture]:
    """Pictures of known bad parts in `folder`, any depth. Raises DataError naming the first unusable one."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder of known defects")
    files = picture_files(folder, recursive=True)
    if not files:
        raise DataError(f"{folder}: no pictures of known defects (png, jpg, bmp, tiff)")
    return [
        ParityPicture(str(path.relative_to(folder)), "defect", picture_at_model_size(path, spec, roi)) for path in files
    ]


def _anomaly(goods: NDArray[np.uint8], index: int, recipe: NsaRecipe, rng: np.random.Generator) -> Anomaly | None:
    """An anomaly that shows: one with a label; None when no source picture gave a legal patch."""
    for draw in range(DRAWS):
        source = goods[(index + 1 + draw) % len(goods)]
        made = nsa_anomaly(goods[index % len(goods)], source, recipe, rng)
        if (made.label > LABELLED).any():
            return made
    return None
