"""The pictures that reduced precisions are made with: some to measure ranges on, others to choose by.

Good parts alone never drive the activations that carry a defect, so that ranges measured on them would clip just those:
half of the pictures are synthetic anomalies, blended ones and hard ones. All come from the training share; the pictures
that thresholds and parity rest on stay unseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sad_export.parity_set import ParityPicture, parity_set
from sad_train.pixels import Picture
from sad_train.synthesis.cutpaste import CutPasteRecipe, cutpaste
from sad_train.synthesis.nsa import NsaRecipe

MOST_FOR_RANGES, MOST_FOR_CHOICE, MOST_FOR_MEANS = 64, 24, 32
HARD = CutPasteRecipe(area=(0.005, 0.15), aspect=(0.3, 3.3), jitter=0.4)
"""Pastes of all sizes whose colours are shaken four times as strongly as in the paper: far from anything good."""


@dataclass(frozen=True)
class Material:
    goods: NDArray[np.uint8]
    """(n, H, W, C): what ranges are measured on, with `odd`."""
    anomalies: list[Picture]
    """Blended ones, as slight as those that matter."""
    trial: list[ParityPicture]
    """Good ones and anomalies that settings are chosen by; of other pictures than `goods` when there are 88 or more."""
    extremes: list[Picture] = field(default_factory=list)
    """Hard pastes: what an activation may ever reach."""

    @property
    def odd(self) -> list[Picture]:
        return [*self.anomalies, *self.extremes]

    @property
    def evenly(self) -> list[Picture]:
        """A few of those that ranges are measured on, half of them odd: enough for means."""
        half = MOST_FOR_MEANS // 2
        return [*self.goods[:half], *self.odd[:: max(1, len(self.odd) // half)][:half]]

    @property
    def lessons(self) -> NDArray[np.uint8]:
        """(n, H, W, C): what fine-tuning learns from."""
        return np.concatenate([self.goods, np.stack(self.anomalies)]) if self.anomalies else self.goods


def material_from(
    training: NDArray[np.uint8], recipe: NsaRecipe, seed: int, given: NDArray[np.uint8] | None = None
) -> Material:
    """`training` (n, H, W, C) uint8 good pictures. `given`: pictures of the user's for ranges, taken as they are."""
    order = np.random.default_rng([seed, 86028121]).permutation(len(training))
    for_choice = training[order[: min(MOST_FOR_CHOICE, max(1, len(order) // 3))]]
    trial = parity_set(for_choice, recipe, seed + 1)
    if given is not None:
        return Material(given, [], trial)
    goods = training[order[::-1][:MOST_FOR_RANGES]]
    blended = [picture.picture for picture in parity_set(goods, recipe, seed + 2) if not picture.is_good]
    half = len(goods) // 2
    return Material(goods, blended[:half], trial, _pasted(goods[half:], seed))


def _pasted(goods: Sequence[Picture] | NDArray[np.uint8], seed: int) -> list[Picture]:
    made = [cutpaste(good, HARD, np.random.default_rng([seed, 122949823, index])) for index, good in enumerate(goods)]
    return [one.picture for one in made if one is not None]
