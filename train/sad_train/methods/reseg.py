"""Method `reseg`, "restore and segment": says what a good part would look like here, and compares.

Ours (networks/reseg.py, synthesis/mix.py). One run learns everything from scratch and at once: the head to find what
was changed, the restorer to undo it. The features it is to restore are those that the encoder, as it is at that step,
has of the unchanged picture; that target gets no gradient, and the head keeps the encoder from making it trivial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from sad_train.config import TrainConfig
from sad_train.data.profile import Profile
from sad_train.losses.overlap import overlap_loss
from sad_train.losses.restoration import feature_restoration_loss, picture_restoration_loss
from sad_train.losses.soft_label import soft_label_loss
from sad_train.methods.base import Batch, Learner, Maker, Method, Outcome, Sample, Source
from sad_train.networks.reseg import HEATMAP_STRIDE, Found, ReSeg, blocks_of, reseg_for
from sad_train.pixels import Picture
from sad_train.synthesis.mix import mix_for, mixed_anomaly


class ResegMaker(Maker):
    """The first slots of a batch are clean. Beside the picture stands the good one that is to be restored, `good`."""

    def __init__(self, config: TrainConfig, profile: Profile) -> None:
        self.mix = mix_for(config, profile)
        self.clean = config.clean_slots

    def sample(self, slot: int, destination: Picture, source: Source, rng: np.random.Generator) -> Sample:
        if slot < self.clean:
            return _sample(destination, destination, np.zeros(destination.shape[:2], np.float32), Outcome.CLEAN)
        made = mixed_anomaly(destination, source, self.mix, rng)
        if made is None:
            return _sample(destination, destination, np.zeros(destination.shape[:2], np.float32), Outcome.NO_PLACE)
        return _sample(made.picture, destination, made.label, Outcome.ANOMALOUS)


def _sample(picture: Picture, good: Picture, label: NDArray[np.float32], outcome: Outcome) -> Sample:
    return Sample({"picture": picture, "good": good, "label": label}, outcome, alike=True)


class ResegLearner(Learner):
    """Losses: `pixels`, and with weights above 0 `overlap`, `features` and `picture`."""

    network: ReSeg

    def __init__(self, config: TrainConfig, profile: Profile, channels: int) -> None:
        super().__init__()
        self.network = reseg_for(config, profile, channels)
        self.weights = config.reseg

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        found = self.network.found(batch["picture"])
        logits = found.heatmap[:, 0].float()
        label = F.max_pool2d(batch["label"], HEATMAP_STRIDE)  # a mean would fade a defect of one pixel
        losses = {"pixels": soft_label_loss(logits[:, None], label)}
        if self.weights.overlap_weight:
            losses["overlap"] = self.weights.overlap_weight * overlap_loss(logits, label)
        return losses | self._restoration(found, batch["good"])

    def _restoration(self, found: Found, good: Tensor) -> dict[str, Tensor]:
        restored, weights = found.restored, self.weights
        losses: dict[str, Tensor] = {}
        if restored is None:
            return losses
        if weights.feature_weight:
            losses["features"] = weights.feature_weight * feature_restoration_loss(restored.features, self._seen(good))
        if weights.picture_weight and weights.compares_pictures:
            losses["picture"] = weights.picture_weight * picture_restoration_loss(restored.picture, blocks_of(good))
        return losses

    def settle(self, goods: Callable[[], Iterator[Tensor]]) -> None:
        network = self.network
        network.score.fit((network.found(pictures).heatmap for pictures in goods()), network.judged)

    @torch.no_grad()
    def _seen(self, good: Tensor) -> list[Tensor]:
        """The encoder's maps of good pictures, by its running means, which this pass must not move."""
        trunk = self.network.trunk
        trunk.eval()
        maps: list[Tensor] = trunk(good)
        trunk.train(self.training)
        return maps


METHOD = Method(
    "restores the good part, and finds where the picture differs from it", ResegMaker, ResegLearner, scores=True
)
