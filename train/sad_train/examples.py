"""Training examples, made on demand: example `i` of a run is the same whenever and by whichever process it is made.

Destination and source follow a shuffled stream of the good pictures, as in NSA: the source of an anomaly is the picture
before it in the stream. What is made of the two is the method's (methods/base.py); pose before and light after are the
same for all of them.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from sad_train.config import TrainConfig
from sad_train.data.profile import Profile
from sad_train.distributed import Ranks
from sad_train.methods.base import Maker, Sample
from sad_train.nuisance import drawn_pose, relit
from sad_train.pixels import Picture

OUTCOME = "outcome"
"""The key of a sample's Outcome in a batch."""


class Examples(Dataset[dict[str, Tensor]]):
    """Example by index. `pictures` (n, H, W, C) uint8."""

    def __init__(self, pictures: NDArray[np.uint8], config: TrainConfig, maker: Maker, profile: Profile) -> None:
        self.pictures = pictures
        self.config = config
        self.maker = maker
        self.rotation_deg = rotation_of(config, profile)

    def __len__(self) -> int:
        return self.config.steps * self.config.batch

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = self.example(index)
        tensors = {name: torch.from_numpy(np.asarray(value)) for name, value in sample.values.items()}
        return tensors | {OUTCOME: torch.tensor(int(sample.outcome))}

    def example(self, index: int) -> Sample:
        rng = np.random.default_rng([self.config.seed, index])
        _, made = self._made(index, rng)
        light = [copy.deepcopy(rng) if made.alike else rng for _ in made.values]
        lit = {name: self._lit(value, draw) for (name, value), draw in zip(made.values.items(), light, strict=True)}
        return Sample(lit, made.outcome, made.alike)

    def unlit(self, index: int) -> tuple[Picture, Sample]:
        """The good picture that example `index` is made of, and the example before light and noise: to be looked at."""
        return self._made(index, np.random.default_rng([self.config.seed, index]))

    def _made(self, index: int, rng: np.random.Generator) -> tuple[Picture, Sample]:
        destination = self._posed(self._streamed(index), rng)

        def source() -> Picture:
            return self._posed(self._streamed(index - 1), rng)

        return destination, self.maker.sample(index % self.config.batch, destination, source, rng)

    def _lit(self, value: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        if value.dtype != np.uint8 or value.ndim != 3:
            return value
        return np.ascontiguousarray(relit(value, self.config.nuisance, rng))

    def _streamed(self, index: int) -> Picture:
        return np.asarray(self.pictures[streamed(index, len(self.pictures), self.config.seed)])

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


class FromStep(Sampler[list[int]]):
    """The indices of each batch from a given step on, so that a resumed run makes the examples it has not seen.

    Of several processes each takes its share of a batch.
    """

    def __init__(self, config: TrainConfig, step: int, ranks: Ranks) -> None:
        self.config, self.step, self.ranks = config, step, ranks

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.step, self.config.steps):
            first = step * self.config.batch
            yield [first + slot for slot in self.ranks.share(self.config.batch, step)]

    def __len__(self) -> int:
        return self.config.steps - self.step


def streamed(index: int, count: int, seed: int) -> int:
    """Which of `count` pictures example `index` shows: all of them once a round, in an order drawn for that round."""
    at, place = divmod(index + 1, count)  # +1: the example before the first has a picture too
    return int(_order(count, seed, at)[place])


@lru_cache(maxsize=4)
def _order(count: int, seed: int, at: int) -> NDArray[np.int64]:
    """A pure function of its arguments, hence the cache."""
    return np.random.default_rng([seed, 7919, at]).permutation(count)


def rotation_of(config: TrainConfig, profile: Profile) -> float:
    if config.nuisance.rotation_deg is not None:
        return config.nuisance.rotation_deg
    if profile.kind == "texture":
        return 0.0
    return 2.0 if profile.aligned else 5.0
