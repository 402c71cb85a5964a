"""A small U-net for CPUs: a stride-4 stem, four residual stages, skips, a logit map at a quarter of the side.

Made for training in minutes on two cores and for running in milliseconds: plain convolutions, ReLU, concatenation and
fixed doublings only, about 0.4 GMAC and 0.8 M parameters at 256x256. Skips keep small defects where they are, which the
reference network (nsa_resnet18.py) cannot.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sad_train.networks.coordconv import first_convolution
from sad_train.networks.resnet import BasicBlock, initialise
from sad_train.networks.seen import Seen


def _convolution(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, 1, 1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )


class SmallUNet(nn.Module):
    """(N, C, H, W) normalised -> logits (N, 1, H/4, W/4), features (N, 128, H/32, W/32). H, W divide by 32."""

    def __init__(self, channels: int, *, coordinates: bool = False, width: int = 32) -> None:
        super().__init__()
        self.feature_channels = 4 * width
        self.stem = nn.Sequential(
            first_convolution(channels, width, 7, 4, coordinates=coordinates), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.stage1 = BasicBlock(width, width)
        self.stage2 = BasicBlock(width, 2 * width, 2)
        self.stage3 = BasicBlock(2 * width, 4 * width, 2)
        self.stage4 = BasicBlock(4 * width, 4 * width, 2)
        self.join3 = _convolution(8 * width, 2 * width)
        self.join2 = _convolution(4 * width, width)
        self.join1 = _convolution(2 * width, width)
        self.head = nn.Conv2d(width, 1, 3, 1, 1)
        initialise(self)
        nn.init.constant_(self.head.bias, -3.0)  # type: ignore[arg-type]  # anomalous pixels are few: start near 5 %

    def forward(self, x: Tensor) -> Seen:
        a = self.stage1(self.stem(x))
        b = self.stage2(a)
        c = self.stage3(b)
        features = self.stage4(c)
        y = self.join3(torch.cat([_doubled(features), c], 1))
        y = self.join2(torch.cat([_doubled(y), b], 1))
        y = self.join1(torch.cat([_doubled(y), a], 1))
        return Seen(self.head(y), features)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
