"""ResNet (He et al., CVPR 2016) as a feature extractor, with torchvision's parameter names, so its files can be read.

As in torchvision and timm, the stride of a bottleneck is in its 3x3 convolution ("ResNet v1.5"). There is no classifier
here; reading a file is backbone_file.py's work.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

Depth = Literal[18, 50]
BLOCKS: dict[Depth, tuple[int, int, int, int]] = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
"""Blocks in each of the four stages."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut. (N, in, H, W) -> (N, out, H/stride, W/stride)."""

    expansion = 1
    """Channels out of the block for each of its stage's width."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.downsample = _shortcut(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1x1 to `width`, 3x3, 1x1 to 4 `width`, and a shortcut. (N, in, H, W) -> (N, 4 width, H/stride, W/stride)."""

    expansion = 4

    def __init__(self, channels_in: int, width: int, stride: int = 1) -> None:
        super().__init__()
        channels_out = self.expansion * width
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.downsample = _shortcut(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """(N, channels, H, W) normalised -> the feature maps after each stage, at strides 4, 8, 16 (and 32).

    `width` is that of the first stage (64 in the published networks, and doubled from stage to stage); `stages` 3 stops
    at stride 16. H and W divide by the last stride.
    """

    def __init__(self, depth: Depth, channels: int, *, width: int = 64, stages: int = 4) -> None:
        super().__init__()
        block = BasicBlock if depth == 18 else Bottleneck
        self.conv1 = nn.Conv2d(channels, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.widths: list[int] = []
        """Channels of each feature map."""
        channels_in = width
        for stage, blocks in enumerate(BLOCKS[depth][:stages]):
            stage_width = width << stage
            layers: list[nn.Module] = []
            for index in range(blocks):
                layers.append(block(channels_in, stage_width, 2 if stage and not index else 1))
                channels_in = block.expansion * stage_width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
            self.widths.append(channels_in)
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        maps: list[Tensor] = []
        for stage in range(len(self.widths)):
            x = self.get_submodule(f"layer{stage + 1}")(x)
            maps.append(x)
        return maps


def _shortcut(channels_in: int, channels_out: int, stride: int) -> nn.Module | None:
    """What brings a block's input to the shape of its output; None where it has that shape already."""
    if stride == 1 and channels_in == channels_out:
        return None
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out))


def initialise(network: nn.Module) -> None:
    """Kaiming for convolutions, ones and zeros for batch norms, as ResNets are trained from scratch."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
