"""Training examples, made on demand: example `i` of a run is the same whenever and by whichever process it is made.

Destination and source follow a shuffled stream of the good pictures, as in NSA: the source of an anomaly is the picture
before it in the stream. A share of every batch is a good picture under nuisance light and pose, labelled good.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from sad_train.config import TrainConfig
from sad_train.nuisance import drawn_pose, relit
from sad_train.pixels import Picture
from sad_train.profile import Profile
from sad_train.synthesis.nsa import NsaRecipe, nsa_anomaly


@dataclass(frozen=True)
class Example:
    picture: Picture
    """(h, w, C) uint8, cropped as the network takes it in training."""
    label: NDArray[np.float32]
    """(h, w) 0..1"""
    patches: int
    """0: a clean negative."""


class Examples(Dataset[tuple[Tensor, Tensor, int]]):
    """Example by index. `pictures` (n, H, W, C) uint8."""

    def __init__(self, pictures: NDArray[np.uint8], config: TrainConfig, recipe: NsaRecipe, profile: Profile) -> None:
        self.pictures = pictures
        self.config = config
        self.recipe = recipe
        self.rotation_deg = _rotation(config, profile)
        self.clean = min(config.batch - 1, round(config.clean_share * config.batch))

    def __len__(self) -> int:
        return self.config.steps * self.config.batch

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        example = self.example(index)
        return torch.from_numpy(example.picture), torch.from_numpy(example.label), example.patches

    def example(self, index: int) -> Example:
        rng = np.random.default_rng([self.config.seed, index])
        destination = self._posed(self._streamed(index), rng)
        if index % self.config.batch < self.clean:
            picture, label, patches = destination, np.zeros(destination.shape[:2], np.float32), 0
        else:
            made = nsa_anomaly(destination, self._posed(self._streamed(index - 1), rng), self.recipe, rng)
            picture, label, patches = made.picture, made.label, made.patches
        return Example(np.ascontiguousarray(relit(picture, self.config.nuisance, rng)), label, patches)

    def _streamed(self, index: int) -> Picture:
        """The stream runs through all pictures once a round, in an order drawn for that round."""
        count = len(self.pictures)
        at, place = divmod(index + 1, count)  # +1: the example before the first has a picture too
        order = np.random.default_rng([self.config.seed, 7919, at]).permutation(count)
        return np.asarray(self.pictures[order[place]])

    def _posed(self, picture: Picture, rng: np.random.Generator) -> Picture:
        posed = drawn_pose(picture.shape, self.config.nuisance, self.rotation_deg, rng).moved(picture)
        if self.config.flip and rng.random() < 0.5:
            posed = posed[::-1]
        if self.config.crop_px is None:
            return np.ascontiguousarray(posed)
        centre = self.config.centre_px or posed.shape[0]
        corner = (posed.shape[0] - centre) // 2
        top, left = corner + rng.integers(0, centre - self.config.crop_px + 1, 2)
        return np.ascontiguousarray(posed[top : top + self.config.crop_px, left : left + self.config.crop_px])


class FromStep(Sampler[int]):
    """Indices from a given step on, so that a resumed run makes the examples it has not seen."""

    def __init__(self, examples: Examples, step: int) -> None:
        self.first, self.last = step * examples.config.batch, len(examples)

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.first, self.last))

    def __len__(self) -> int:
        return self.last - self.first


def _rotation(config: TrainConfig, profile: Profile) -> float:
    if config.nuisance.rotation_deg is not None:
        return config.nuisance.rotation_deg
    if profile.kind == "texture":
        return 0.0
    return 2.0 if profile.aligned else 5.0
