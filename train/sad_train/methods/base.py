"""The seam for training methods: what one must bring. One file a method; `table.py` lists them.

A method is a pair. Its **maker** turns good pictures into training examples, in worker processes, on numpy arrays. Its
**learner** holds the network that ships and whatever training needs beside it (heads, a discriminator), and says the
loss of a batch. Everything else (stream of pictures, pose and light, optimiser, checkpoints, export) is shared.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sad_train.config import TrainConfig
from sad_train.data.profile import Profile
from sad_train.pixels import Picture

Source = Callable[[], Picture]
"""Another good picture in a pose of its own; not every example wants one."""
Sources = Callable[[], Tensor]
"""The same for a whole batch, (N, h, w, C) uint8."""
Batch = dict[str, Tensor]
"""Samples stacked along a first axis. What was a picture is normalised (N, C, h, w) float32, as networks take it."""


class Outcome(IntEnum):
    """What became of an example."""

    CLEAN = 0
    """A good picture was wanted."""
    ANOMALOUS = 1
    NO_PLACE = 2
    """An anomaly was wanted and no legal place was found: the picture is clean, and labelled so."""


@dataclass(frozen=True)
class Sample:
    """One training example before it is lit. Every uint8 array of three axes in `values` is a picture (h, w, C)."""

    values: dict[str, NDArray[Any]]
    """What the learner takes, by name. By custom: `picture`, `label` (h, w) float32 0..1, `kind` () int64."""
    outcome: Outcome
    alike: bool = False
    """Whether its pictures show one part, so that one draw of light, focus and noise is to fall on all of them."""


class Maker(ABC):
    """Makes examples out of good pictures. Holds no torch and no state: it is copied into worker processes."""

    @abstractmethod
    def sample(self, slot: int, destination: Picture, source: Source, rng: np.random.Generator) -> Sample:
        """The example in place `slot` of its batch, from one or two good pictures of one shape, (h, w, C) uint8."""


@dataclass(frozen=True)
class Made:
    """A batch of examples before it is lit."""

    values: dict[str, Tensor]
    """As Sample's, stacked: pictures (N, h, w, C) uint8."""
    outcomes: Tensor
    """(N,) of Outcome."""


class BatchMaker(ABC):
    """A maker's twin for a GPU: the examples of a whole batch at once, on tensors."""

    @abstractmethod
    def batch(self, slots: Tensor, destinations: Tensor, sources: Sources, generator: torch.Generator) -> Made:
        """For places `slots` (N,) of the batch, from one or two pictures each, (N, h, w, C) uint8 on the device.

        `slots` and `generator` are on the CPU; whatever is drawn comes from the latter.
        """


class Learner(nn.Module, ABC):
    """What is optimised. `network` ships; all other parameters are only there to train it."""

    network: nn.Module
    """Normalised (N, C, h, w) float32 -> networks.seen.Seen."""

    def start(self, folder: Path) -> None:
        """Called once before the first step of a fresh training, never on resuming: reads what training starts from.

        `folder` is the run's.
        """

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Scalar losses by name; their sum is descended."""

    def settle(self, goods: Callable[[], Iterator[Tensor]]) -> None:
        """After the last step, in eval mode, without gradients: fits densities to the clean training pictures.

        `goods()` runs through them once, in batches as networks take them. Raises DataError when they are too few.
        """

    @property
    def judges(self) -> bool:
        """Whether the network's heatmap means something already; False until `settle` for methods with a density."""
        return True


@dataclass(frozen=True)
class Method:
    """A row of the table."""

    summary: str
    """A line for --help."""
    maker: Callable[[TrainConfig, Profile], Maker]
    learner: Callable[[TrainConfig, Profile, int], Learner]
    """From configuration, profile and the number of channels; weights are random until `start` or a checkpoint."""
    batch_maker: Callable[[TrainConfig, Profile], BatchMaker] | None = None
    """The maker's twin for a GPU, where there is one; else worker processes make the examples there too."""
    least_pictures: int = 1
    """Fewest training pictures that it can do with."""
    scores: bool = False
    """Whether its network has a score of its own for the whole picture, as `score: network` asks."""
    logits: bool = True
    """Whether its heatmap holds logits, of which probabilities can be made, and not distances."""
    inspects: bool = True
    """False for a method that only prepares weights for another: it is not exported."""
