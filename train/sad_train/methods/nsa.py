"""Method `nsa`: a segmentation network trained to find Poisson-blended patches of other good pictures.

Schlüter et al., ECCV 2022 (see synthesis/nsa.py). Two presets: `paper` reproduces the reference network, schedule and
per-class constants; `fast` trains a small network on a CPU with constants measured from the good set, and adds clean
negatives under nuisance light and pose, which the paper does not have.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sad_train.config import TrainConfig
from sad_train.data.profile import Profile
from sad_train.losses.soft_label import soft_label_loss
from sad_train.methods.base import Batch, BatchMaker, Learner, Made, Maker, Method, Outcome, Sample, Source, Sources
from sad_train.networks.segmenters import segmenter_for, upsampled
from sad_train.pixels import Picture
from sad_train.synthesis.nsa import nsa_anomaly
from sad_train.synthesis.nsa_batched import nsa_batch
from sad_train.synthesis.nsa_recipe import recipe_for


class NsaMaker(Maker):
    """The first slots of a batch are clean, the others hold one to `max_patches` blended patches."""

    def __init__(self, config: TrainConfig, profile: Profile) -> None:
        self.recipe = recipe_for(config.nsa, profile)
        self.clean = config.clean_slots

    def sample(self, slot: int, destination: Picture, source: Source, rng: np.random.Generator) -> Sample:
        if slot < self.clean:
            label = np.zeros(destination.shape[:2], np.float32)
            return Sample({"picture": destination, "label": label}, Outcome.CLEAN)
        made = nsa_anomaly(destination, source(), self.recipe, rng)
        outcome = Outcome.ANOMALOUS if made.shows else Outcome.NO_PLACE
        return Sample({"picture": made.picture, "label": made.label}, outcome)


class NsaBatchMaker(BatchMaker):
    """The same for a whole batch on a GPU (synthesis/nsa_batched.py)."""

    def __init__(self, config: TrainConfig, profile: Profile) -> None:
        self.recipe = recipe_for(config.nsa, profile)
        self.clean = config.clean_slots

    def batch(self, slots: Tensor, destinations: Tensor, sources: Sources, generator: torch.Generator) -> Made:
        wanted = (slots >= self.clean).nonzero()[:, 0].to(destinations.device)  # found on the CPU: nothing waits
        pictures = destinations.clone()
        labels = torch.zeros(destinations.shape[:3], device=destinations.device)
        outcomes = torch.full(slots.shape, int(Outcome.CLEAN), device=destinations.device)
        if len(wanted):
            made = nsa_batch(destinations[wanted], sources()[wanted], self.recipe, generator)
            pictures[wanted], labels[wanted] = made.pictures, made.labels
            found = made.labels.flatten(1).any(1)
            outcomes[wanted] = torch.where(found, int(Outcome.ANOMALOUS), int(Outcome.NO_PLACE)).to(outcomes.dtype)
        return Made({"picture": pictures, "label": labels}, outcomes)


class NsaLearner(Learner):
    def __init__(self, config: TrainConfig, profile: Profile, channels: int) -> None:
        super().__init__()
        self.network = segmenter_for(config, profile, channels)
        self.continuous = config.nsa.label == "continuous"

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        seen = self.network(batch["picture"])
        logits = upsampled(seen.heatmap, batch["picture"].shape[-1])
        return {"loss": soft_label_loss(logits.float(), batch["label"], continuous=self.continuous)}


METHOD = Method("finds Poisson-blended patches of other good pictures", NsaMaker, NsaLearner, NsaBatchMaker)
