"""Distances of crops spread over the pixels that the crops saw: FCDD's upsampling, as two products with constants.

Liznerski et al., "Explainable Deep One-Class Classification", ICLR 2021, enlarge a map of fields by a transposed
convolution with a Gaussian as large as the field. A Gaussian is the same along rows as along columns, so that is one
matrix from the left and one from the right. Each row of them sums to 1: a pixel gets the mean of the crops around it,
weighted by how near their middles are, and one at the border simply has fewer around it. (Where no crop has its middle
near the border, the nearest one's distance is smeared out to it in a streak; hence the margin.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SIGMA = 10 / 64
"""Of the Gaussian, as a share of the field: 10 pixels for fields of 64, as in FCDD's code."""


class FieldSpread(nn.Module):
    """(N, 1, h, h), fields of `field_px` every `stride_px` -> (N, 1, side_px, side_px).

    `margin_px`: how far the picture was widened on each side before the fields were laid over it.
    """

    down: Tensor
    across: Tensor

    def __init__(self, side_px: int, field_px: int, stride_px: int, margin_px: int = 0) -> None:
        super().__init__()
        places = (side_px + 2 * margin_px - field_px) // stride_px + 1
        middles = stride_px * torch.arange(places, dtype=torch.float64) + (field_px - 1) / 2 - margin_px
        pixels = torch.arange(side_px, dtype=torch.float64)
        nearness = -0.5 * ((pixels[:, None] - middles[None, :]) / (SIGMA * field_px)) ** 2
        weights = torch.softmax(nearness, dim=1).float()
        self.register_buffer("down", weights, persistent=False)
        self.register_buffer("across", weights.T.contiguous(), persistent=False)

    def forward(self, distances: Tensor) -> Tensor:
        return self.down @ distances @ self.across
