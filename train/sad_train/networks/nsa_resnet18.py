"""The reference network of NSA: a ResNet-18 encoder and a mirrored decoder of transposed blocks, without skips.

The decoder's exact shortcut is not in the paper; here it is a stride-2 transposed 1x1 convolution, the mirror of
ResNet's. About 12 M parameters and 2.5 GMAC at 256x256.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from sad_train.networks.coordconv import first_convolution
from sad_train.networks.resnet import BasicBlock, initialise
from sad_train.networks.seen import Seen


class TransposedBlock(nn.Module):
    """The basic block turned round: doubles height and width. (N, in, H, W) -> (N, out, 2H, 2W)."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.doubling = nn.Sequential(
            nn.ConvTranspose2d(channels_in, channels_out, 3, 2, 1, output_padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
        )
        self.conv2 = nn.Conv2d(channels_out, channels_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.upsample = nn.Sequential(
            nn.ConvTranspose2d(channels_in, channels_out, 1, 2, output_padding=1, bias=False),
            nn.BatchNorm2d(channels_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.doubling(x))))
        return F.relu(y + self.upsample(x))


class NsaResNet18(nn.Module):
    """(N, C, H, W) normalised -> logits (N, 1, H, W) and features (N, 512, H/32, W/32). H and W divide by 32."""

    def __init__(self, channels: int, *, coordinates: bool = False) -> None:
        super().__init__()
        self.feature_channels = 512
        self.conv1 = first_convolution(channels, 64, 7, 2, coordinates=coordinates)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = nn.Sequential(BasicBlock(64, 64), BasicBlock(64, 64))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, 2), BasicBlock(128, 128))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, 2), BasicBlock(256, 256))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, 2), BasicBlock(512, 512))
        self.bridge = nn.Sequential(
            nn.Conv2d(512, 256, 1, bias=False),
            nn.BatchNorm2d(256),
            nn.ReLU(),
            nn.Conv2d(256, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
        )
        self.decoder = nn.Sequential(TransposedBlock(128, 64), TransposedBlock(64, 32), TransposedBlock(32, 16))
        self.head = nn.ConvTranspose2d(16, 1, 7, 2, 3, output_padding=1)
        initialise(self)

    def forward(self, x: Tensor) -> Seen:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        features = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        y = self.decoder(self.bridge(features))
        y = F.interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False)
        return Seen(self.head(y), features)
