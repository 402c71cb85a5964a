"""How far restored features and pictures are from those of the good part.

Features: one less the cosine, as in DeSTSeg (Zhang et al., CVPR 2023), and the difference in size, relative to the
map's mean, because the head subtracts. Pictures: the absolute difference. Half of each comes from the hardest tenth of
the places, as in EfficientAD (Batzner et al., WACV 2024): a mean is dominated by what is easy and even.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

HARDEST = 0.1


def feature_restoration_loss(restored: list[Tensor], wanted: list[Tensor]) -> Tensor:
    """Mean over scales; maps (N, K, h, w). No gradient reaches `wanted`."""
    return torch.stack([_of_scale(one, good.detach()) for one, good in zip(restored, wanted, strict=True)]).mean()


def picture_restoration_loss(restored: Tensor, wanted: Tensor) -> Tensor:
    """(N, K, h, w) both."""
    return with_hardest((restored - wanted).abs().mean(1))


def _of_scale(restored: Tensor, wanted: Tensor) -> Tensor:
    angle = 1 - F.cosine_similarity(restored, wanted, dim=1)
    size = (restored - wanted).abs().mean(1) / wanted.mean().clamp(min=1e-6)
    return with_hardest(angle + 0.5 * size)


def with_hardest(places: Tensor) -> Tensor:
    """Half the mean, half that of the hardest tenth of all places of the batch."""
    flat = places.float().flatten()
    hardest = flat.topk(max(1, round(HARDEST * flat.numel())), sorted=False).values
    return (flat.mean() + hardest.mean()) / 2
