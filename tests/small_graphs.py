"""A graph in torch with all that INT8 meets: a batch norm, a shortcut, concatenated maps, an enlargement."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sad_runtime.manifest import InputSpec
from sad_runtime.schema import parse
from sad_train.config import TrainConfig
from sad_train.graph import InspectionGraph
from sad_train.networks.seen import Seen

SIDE = 32


class SmallNetwork(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(channels, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.down = nn.Conv2d(8, 12, 3, 2, 1, bias=False)
        self.norm_of_down = nn.BatchNorm2d(12)
        self.short = nn.Conv2d(8, 12, 1, 2)
        self.join = nn.Conv2d(22, 8, 3, 1, 1)
        self.head = nn.Conv2d(8, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> Seen:
        a = self.stem(x)
        b = F.relu(self.norm_of_down(self.down(a)) + self.short(a))
        enlarged = F.interpolate(b, scale_factor=2.0, mode="bilinear", align_corners=False)
        joined = torch.cat([enlarged, a, a[:, :2]], 1)
        return Seen(self.head(F.relu(self.join(joined))), b)


def small_graph(channels: int = 3, *, hostile: bool = False) -> InspectionGraph:
    """Untrained. `hostile`: one channel of the stem is 100 times as large as the rest, and hardly counts."""
    torch.manual_seed(3)
    network = SmallNetwork(channels)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                assert values is not None
                values.uniform_(0.5, 1.5)
    if hostile:
        norm = network.stem[1]
        assert isinstance(norm, nn.BatchNorm2d)
        with torch.no_grad():
            norm.weight[0] *= 100
            norm.bias[0] *= 100
            for reader, place in ((network.down, 0), (network.short, 0), (network.join, 12), (network.join, 20)):
                reader.weight[:, place] /= 100
    config = parse(TrainConfig, {"size_px": SIDE, "network": "small_unet"}, "test")
    return InspectionGraph(network, InputSpec(height=SIDE, width=SIDE, channels=channels), config).eval()


def pictures(count: int, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth ones, so that they differ in more than noise."""
    draws = np.random.default_rng(seed)
    coarse = draws.integers(0, 256, (count, 4, 4, channels)).astype(np.uint8)
    noise = draws.integers(-9, 10, (count, SIDE, SIDE, channels))
    return np.clip(coarse.repeat(SIDE // 4, 1).repeat(SIDE // 4, 2).astype(int) + noise, 0, 255).astype(np.uint8)
