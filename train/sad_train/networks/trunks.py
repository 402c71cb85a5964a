"""The ResNets that give a map after every stage, by the name the configuration gives them: what a backbone can be."""

from __future__ import annotations

from typing import NamedTuple

from sad_runtime.errors import ConfigError
from sad_train.networks.resnet import Depth, ResNet


class TrunkShape(NamedTuple):
    depth: Depth
    width: int
    """Channels of the first stage."""


TRUNKS = {
    "narrow_resnet18": TrunkShape(18, 32),
    "resnet18": TrunkShape(18, 64),
    "resnet50": TrunkShape(50, 64),
}
"""narrow_resnet18 is ResNet-18 at half its width: a quarter of the work, for CPUs."""


def trunk_for(network: str, channels: int, *, stages: int = 4) -> ResNet:
    """The untrained trunk; `stages` 3 stops at stride 16. Raises ConfigError for a network that is none."""
    if network not in TRUNKS:
        raise ConfigError(f"network: {network} is no backbone; take one of {', '.join(TRUNKS)}")
    depth, width = TRUNKS[network]
    return ResNet(depth, channels, width=width, stages=stages)
