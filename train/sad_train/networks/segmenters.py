"""The networks that draw a heatmap straight from a picture, by name, and the enlargement of what they draw."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from sad_runtime.errors import ConfigError
from sad_train.config import TrainConfig
from sad_train.data.profile import Profile
from sad_train.networks.nsa_resnet18 import NsaResNet18
from sad_train.networks.small_unet import SmallUNet

Segmenter = SmallUNet | NsaResNet18
SEGMENTERS: dict[str, type[SmallUNet] | type[NsaResNet18]] = {"small_unet": SmallUNet, "nsa_resnet18": NsaResNet18}


def segmenter_for(config: TrainConfig, profile: Profile, channels: int) -> Segmenter:
    """The untrained network that the configuration names. Raises ConfigError for one that draws no heatmap."""
    if config.network not in SEGMENTERS:
        raise ConfigError(f"network: {config.network} draws no heatmap; take one of {', '.join(SEGMENTERS)}")
    return SEGMENTERS[config.network](channels, coordinates=_knows_places(config, profile))


def _knows_places(config: TrainConfig, profile: Profile) -> bool:
    """auto: parts that turn or shift would have their pose learnt by heart instead of their look."""
    return profile.aligned if config.coords == "auto" else config.coords == "on"


def upsampled(heatmap: Tensor, side: int) -> Tensor:
    """(N, 1, h, w) enlarged bilinearly by the whole number that makes it `side` pixels wide."""
    if heatmap.shape[-1] == side:
        return heatmap
    factor = float(side // heatmap.shape[-1])
    return F.interpolate(heatmap, scale_factor=factor, mode="bilinear", align_corners=False)
