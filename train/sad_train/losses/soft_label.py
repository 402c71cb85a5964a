"""NSA's pixel losses: how far a heatmap stands from soft labels.

Schlüter et al., ECCV 2022, section 3.3: binary cross-entropy for labels in 0..1, squared error for continuous ones.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def soft_label_loss(logits: Tensor, labels: Tensor, *, continuous: bool = False) -> Tensor:
    """Mean over pixels. Logits (N, 1, H, W), labels (N, H, W) in 0..1."""
    if continuous:
        return F.mse_loss(logits[:, 0].sigmoid(), labels)
    return F.binary_cross_entropy_with_logits(logits[:, 0], labels)
