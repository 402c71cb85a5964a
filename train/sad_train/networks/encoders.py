"""The networks that turn a picture into one map of features, by the name the configuration gives them."""

from __future__ import annotations

from torch import Tensor, nn

from sad_runtime.errors import ConfigError
from sad_train.config import TrainConfig
from sad_train.networks.resnet import Depth, ResNet
from sad_train.networks.small_resnet import SmallResNet

DEPTHS: dict[str, Depth] = {"resnet18": 18, "resnet50": 50}


class LastMap(nn.Module):
    """A ResNet's last map alone. (N, C, H, W) normalised -> (N, width, H/32, W/32)."""

    def __init__(self, depth: Depth, channels: int) -> None:
        super().__init__()
        self.trunk = ResNet(depth, channels)
        self.width = self.trunk.widths[-1]

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = self.trunk(x)
        return maps[-1]


def encoder_for(config: TrainConfig, channels: int) -> SmallResNet | LastMap:
    """The untrained encoder that the configuration names. Raises ConfigError for a network that is none."""
    if config.network == "small_resnet":
        return SmallResNet(channels)
    if config.network not in DEPTHS:
        raise ConfigError(f"network: {config.network} is no encoder; take small_resnet, {', '.join(DEPTHS)}")
    return LastMap(DEPTHS[config.network], channels)
