"""AnoSeg's discriminator: does this mask belong to this picture?

Song et al., arXiv 2110.03396; its layers are not published. Here: three strided convolutions and a fourth that judges
each 16x16 block by itself (a patch discriminator, Isola et al., CVPR 2017), because anomalies are local. It has no
batch norm and no other state beside its weights, so that it can run twice in a step and resume exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PairDiscriminator(nn.Module):
    """Normalised pictures (N, C, H, W) and masks (N, 1, H, W) in 0..1 -> judgements (N, 1, H/16, W/16)."""

    def __init__(self, channels: int, width: int = 16) -> None:
        super().__init__()
        self.judge = nn.Sequential(
            nn.Conv2d(channels + 1, width, 5, 4, 2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 3, 1, 1),
        )

    def forward(self, pictures: Tensor, masks: Tensor) -> Tensor:
        judged: Tensor = self.judge(torch.cat([pictures, masks], 1))
        return judged
