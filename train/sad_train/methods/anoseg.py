"""Method `anoseg`: a segmentation network with coordinates, taught by pasted regions of strongly changed copies.

Song et al., arXiv 2110.03396 (withdrawn from ICLR 2022; no code). The heatmap is learnt from the pasted regions, good
pictures are to be reconstructed, and a discriminator of (picture, mask) pairs is to take the heatmap of a good picture
for the all-good mask. Published are the parts, not their sizes and weights: those are ours, each said where it stands.

What differs on purpose: the pair that is judged holds the good picture itself, not its reconstruction, whose blur alone
would tell the discriminator enough; and a picture's score is the peak of its heatmap, in the graph like every method's,
where the paper trains a second network for it. Nothing of the discriminator or the reconstruction ships.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from sad_train.config import TrainConfig
from sad_train.data.profile import Profile
from sad_train.losses.adversarial_pair import deceiving_loss, discriminator_loss
from sad_train.losses.balanced_l1 import balanced_l1_loss
from sad_train.methods.base import Batch, Learner, Maker, Method, Outcome, Sample, Source
from sad_train.networks.pair_discriminator import PairDiscriminator
from sad_train.networks.reconstruction_head import SHRUNK, ReconstructionHead
from sad_train.networks.segmenters import segmenter_for, upsampled
from sad_train.pixels import Picture
from sad_train.synthesis.hard_augmentation import hard_anomaly, hard_recipe


class AnoSegMaker(Maker):
    """The first slots of a batch are clean; the others hold regions of a strongly changed copy of themselves."""

    def __init__(self, config: TrainConfig, profile: Profile) -> None:
        self.recipe = hard_recipe(config.anoseg, profile)
        self.clean = config.clean_slots

    def sample(self, slot: int, destination: Picture, source: Source, rng: np.random.Generator) -> Sample:
        if slot < self.clean:
            label = np.zeros(destination.shape[:2], np.float32)
            return Sample({"picture": destination, "label": label}, Outcome.CLEAN)
        made = hard_anomaly(destination, self.recipe, rng)
        outcome = Outcome.ANOMALOUS if made.made else Outcome.NO_PLACE
        return Sample({"picture": made.picture, "label": made.mask.astype(np.float32)}, outcome)


class AnoSegLearner(Learner):
    """Losses: `segmentation`, and with weights above 0 `reconstruction`, `deceiving` and `discriminator`."""

    def __init__(self, config: TrainConfig, profile: Profile, channels: int) -> None:
        super().__init__()
        network = segmenter_for(config, profile, channels)
        self.network = network
        self.weights = config.anoseg
        self.painter = ReconstructionHead(network.feature_channels, channels) if self.weights.reconstruction else None
        self.discriminator = PairDiscriminator(channels) if self.weights.adversarial else None

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        picture, label = batch["picture"], batch["label"]
        seen = self.network(picture)
        logits = upsampled(seen.heatmap, picture.shape[-1]).float()
        losses = {"segmentation": balanced_l1_loss(logits[:, 0], label)}
        good = label.flatten(1).amax(1) == 0
        if self.painter is not None:
            painted = self.painter(seen.features[good])
            losses["reconstruction"] = self.weights.reconstruction * _painted_loss(painted, picture[good])
        if self.discriminator is not None:
            losses |= self._adversarial(self.discriminator, picture[good], logits[good].sigmoid())
        return losses

    def _adversarial(self, discriminator: PairDiscriminator, pictures: Tensor, maps: Tensor) -> dict[str, Tensor]:
        """Both sides of the game in one pass: the one sees maps without their history, the other frozen weights."""
        pairs = torch.cat([torch.zeros_like(maps), maps.detach()])
        true, false = discriminator(pictures.repeat(2, 1, 1, 1), pairs).chunk(2)
        frozen = {name: weight.detach() for name, weight in discriminator.named_parameters()}
        deceived = functional_call(discriminator, frozen, (pictures, maps))
        return {
            "deceiving": self.weights.adversarial * deceiving_loss(deceived),
            "discriminator": discriminator_loss(true, false),
        }


def _painted_loss(painted: Tensor, pictures: Tensor) -> Tensor:
    """Mean absolute difference from the pictures at the painted size; 0 when there are none."""
    return (painted - F.avg_pool2d(pictures, SHRUNK)).abs().sum() / max(1, painted.numel())


METHOD = Method("finds regions of strongly changed copies, with an adversarial term", AnoSegMaker, AnoSegLearner)
