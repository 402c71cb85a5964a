"""Method `fastflow`: normalising flows over a frozen encoder learn how good parts' features are spread.

Yu et al., 2021 (see networks/flow.py). It learns from clean pictures only. The encoder comes from a file that the user
names, or is the house backbone (methods/backbone.py); its weights are part of the checkpoint, so export needs no file.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sad_train.config import TrainConfig
from sad_train.data.profile import Profile
from sad_train.house_backbone import STAGES, backbone_path
from sad_train.losses.flow_likelihood import flow_likelihood_loss
from sad_train.methods.base import Batch, BatchMaker, Learner, Made, Maker, Method, Outcome, Sample, Source, Sources
from sad_train.networks.backbone_file import load_backbone, read_backbone
from sad_train.networks.flow import FastFlowNetwork, FlowShape
from sad_train.networks.trunks import trunk_for
from sad_train.pixels import Picture


class FastFlowMaker(Maker):
    """Good pictures as they are; pose and light are the loop's."""

    def __init__(self, config: TrainConfig, profile: Profile) -> None:
        pass

    def sample(self, slot: int, destination: Picture, source: Source, rng: np.random.Generator) -> Sample:
        return Sample({"picture": destination}, Outcome.CLEAN)


class FastFlowBatchMaker(BatchMaker):
    """The same on a GPU."""

    def __init__(self, config: TrainConfig, profile: Profile) -> None:
        pass

    def batch(self, slots: Tensor, destinations: Tensor, sources: Sources, generator: torch.Generator) -> Made:
        return Made({"picture": destinations}, torch.full(slots.shape, int(Outcome.CLEAN)))


class FastFlowLearner(Learner):
    network: FastFlowNetwork

    def __init__(self, config: TrainConfig, profile: Profile, channels: int) -> None:
        super().__init__()
        told = config.fastflow
        self.encoder_name = config.network
        self.named = told.backbone
        self.network = FastFlowNetwork(
            trunk_for(config.network, channels, stages=STAGES),
            FlowShape(told.steps, told.kernels, told.hidden_ratio, told.clamp, config.seed),
            config.crop_px or config.size_px,
            gain_by_place=told.gain_by_place,
            level_by_picture=told.level == "picture",
        )

    def start(self, folder: Path) -> None:
        file = read_backbone(backbone_path(self.named, folder))
        load_backbone(self.network.encoder, file, self.encoder_name)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        picture = batch["picture"]
        with torch.autocast(picture.device.type, enabled=False):  # products of eight exponentials need their digits
            flowed, _ = self.network.flowed(picture)
            return {f"stride{4 << stage}": flow_likelihood_loss(*one) for stage, one in enumerate(flowed)}


METHOD = Method(
    "learns how features of good parts are spread, over a frozen backbone",
    FastFlowMaker,
    FastFlowLearner,
    FastFlowBatchMaker,
    logits=False,
)
