"""Method `backbone`: an encoder learns from all good pictures of a site what changes look like, for others to build on.

CutPaste's 3-way classification (Li et al., CVPR 2021) and NSA's segmentation (Schlüter et al., ECCV 2022) together, on
one trunk; both heads are thrown away. No weights from elsewhere are needed, so none need a licence. It judges nothing
itself: `sad-train --method fastflow --backbone RUN` builds on it.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sad_train.config import TrainConfig
from sad_train.data.profile import Profile
from sad_train.house_backbone import STAGES
from sad_train.losses.soft_label import soft_label_loss
from sad_train.methods.base import Batch, Learner, Maker, Method, Outcome, Sample, Source
from sad_train.methods.cutpaste import pretext_named
from sad_train.networks.resnet import ResNet
from sad_train.networks.segmenters import upsampled
from sad_train.networks.trunks import trunk_for
from sad_train.pixels import Picture
from sad_train.synthesis.nsa import nsa_anomaly
from sad_train.synthesis.nsa_recipe import recipe_for

GOOD, PATCH, SCAR, UNASKED = 0, 1, 2, -1
"""Kinds of pictures to tell apart; blended patches are not asked about, only to be found."""


class BackboneMaker(Maker):
    """The first slots of a batch are clean, then pasted patches and scars in turn, then blended patches."""

    def __init__(self, config: TrainConfig, profile: Profile) -> None:
        self.clean = config.clean_slots
        self.pasted = self.clean + round(config.backbone.cutpaste_share * (config.batch - self.clean))
        self.pretexts = {PATCH: pretext_named("cutpaste", config), SCAR: pretext_named("scar", config)}
        self.recipe = recipe_for(config.nsa, profile)

    def sample(self, slot: int, destination: Picture, source: Source, rng: np.random.Generator) -> Sample:
        nothing = np.zeros(destination.shape[:2], np.float32)
        if slot < self.clean:
            return _sample(destination, nothing, GOOD, Outcome.CLEAN)
        if slot < self.pasted:
            kind = PATCH if (slot - self.clean) % 2 == 0 else SCAR
            pasted = self.pretexts[kind](destination, rng=rng)
            if pasted is None:
                return _sample(destination, nothing, GOOD, Outcome.NO_PLACE)
            return _sample(pasted.picture, pasted.mask.astype(np.float32), kind, Outcome.ANOMALOUS)
        made = nsa_anomaly(destination, source(), self.recipe, rng)
        outcome = Outcome.ANOMALOUS if made.shows else Outcome.NO_PLACE
        return _sample(made.picture, made.label, UNASKED if made.patches else GOOD, outcome)


class BackboneLearner(Learner):
    """The trunk is `network`; nothing is exported of it."""

    network: ResNet

    def __init__(self, config: TrainConfig, profile: Profile, channels: int) -> None:
        super().__init__()
        self.network = trunk_for(config.network, channels, stages=STAGES)
        widths, width = self.network.widths, config.backbone.head_width
        self.kinds = nn.Linear(widths[-1], 3)
        self.narrowed = nn.ModuleList(nn.Conv2d(channels_in, width, 1) for channels_in in widths)
        self.joined = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 1, 3, 1, 1))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        maps = self.network(batch["picture"])
        told = self.kinds(maps[-1].mean((2, 3))).float()
        logits = upsampled(self._found(maps), batch["picture"].shape[-1])
        return {
            "kind": _cross_entropy(told, batch["kind"]),
            "label": soft_label_loss(logits.float(), batch["label"]),
        }

    def _found(self, maps: list[Tensor]) -> Tensor:
        """(N, 1, h, w) logits at the finest map's size."""
        side = maps[0].shape[-1]
        parts = [upsampled(narrow(y), side) for narrow, y in zip(self.narrowed, maps, strict=True)]
        logits: Tensor = self.joined(torch.stack(parts).sum(0))
        return logits

    @property
    def judges(self) -> bool:
        return False


def _cross_entropy(told: Tensor, kinds: Tensor) -> Tensor:
    """Over the pictures whose kind is asked about; 0 in a batch that has none."""
    summed = F.cross_entropy(told, kinds, ignore_index=UNASKED, reduction="sum")
    return summed / (kinds != UNASKED).sum().clamp(min=1)


def _sample(picture: Picture, label: NDArray[np.float32], kind: int, outcome: Outcome) -> Sample:
    return Sample({"picture": picture, "label": label, "kind": np.int64(kind)}, outcome)


METHOD = Method(
    "learns an encoder from good pictures of one or more parts, for fastflow",
    BackboneMaker,
    BackboneLearner,
    inspects=False,
)
