"""The network that judges crops, and all crops of a picture in one pass: convolutions without any padding.

Li et al. (CVPR 2021) localise with a second network trained on crops of 64x64 and evaluated crop by crop every few
pixels. Without padding, and with an average pool that slides instead of one over all, the very same weights run over
the whole picture and give at place (i, j) what the crop at (STRIDE_PX i, STRIDE_PX j) gives alone.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from sad_train.networks.resnet import initialise

STRIDE_PX = 8
TRUNK_FIELD_PX = 32
"""Receptive field of the convolutions up to `deep`."""
WIDE_FIELD_PX = 48
"""The same when `deep` looks at 3x3 places, which it does where the crop has room for it."""


class PatchNet(nn.Module):
    """(N, C, H, W) normalised -> embeddings (N, size, h, w) of crops, h = (H - patch_px) / STRIDE_PX + 1.

    The receptive field is `patch_px`: a multiple of STRIDE_PX from 32 to 64. H and W divide by STRIDE_PX.
    """

    def __init__(self, channels: int, patch_px: int, *, size: int = 64, width: int = 32) -> None:
        super().__init__()
        wide = patch_px >= WIDE_FIELD_PX
        self.size = size
        self.pool = (patch_px - (WIDE_FIELD_PX if wide else TRUNK_FIELD_PX)) // STRIDE_PX + 1
        self.trunk = nn.Sequential(
            *_convolution(channels, width, 4, 2),
            *_convolution(width, width, 3),
            *_convolution(width, width, 3),
            *_convolution(width, 2 * width, 3, 2),
            *_convolution(2 * width, 2 * width, 3),
            *_convolution(2 * width, 4 * width, 3, 2),
            *_convolution(4 * width, size, 3 if wide else 1),
        )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.trunk(x)
        return features if self.pool == 1 else F.avg_pool2d(features, self.pool, 1)


def _convolution(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels_in, channels_out, kernel, stride, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
    )
