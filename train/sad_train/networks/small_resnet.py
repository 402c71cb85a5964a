"""A small residual encoder for CPUs: SmallUNet's way down (small_unet.py) without the way up."""

from __future__ import annotations

from torch import Tensor, nn

from sad_train.networks.resnet import BasicBlock, initialise


class SmallResNet(nn.Module):
    """(N, C, H, W) normalised -> features (N, 4 width, H/32, W/32). H and W divide by 32."""

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        self.width = 4 * width
        self.stem = nn.Sequential(nn.Conv2d(channels, width, 7, 4, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU())
        self.stages = nn.Sequential(
            BasicBlock(width, width),
            BasicBlock(width, 2 * width, 2),
            BasicBlock(2 * width, 4 * width, 2),
            BasicBlock(4 * width, 4 * width, 2),
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.stages(self.stem(x))
        return features
