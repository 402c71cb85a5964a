"""A picture's score from its heatmap: the highest average over windows of several sizes, each in its own measure.

A small window finds a hairline, a large one what is faint and wide; good pictures' own peaks fall as windows grow, so
plain averages cannot be compared. Each window's peak therefore counts from its mean over good training pictures, in
their standard deviations, and the largest is the score. Nothing is chosen by defects.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SMALLEST = 2
"""Side of the smallest window in places, however large the map: tiny defects do not grow with the picture."""
WINDOWS = (0.0, 0.06, 0.16)
"""Sides, as shares of the map's; at least SMALLEST places."""
LEAST_SPREAD = 0.1
"""In logits; peaks of good pictures that hardly differ would make a measure of rounding errors."""
NEVER = -20.0
"""The logit of places that are not judged."""


class PeakScore(nn.Module):
    """Logits (N, 1, h, w), and where they count -> (N,). `stride`: pixels of the picture to a place of the map."""

    level: Tensor
    spread: Tensor

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.register_buffer("level", torch.zeros(len(WINDOWS)))
        self.register_buffer("spread", torch.ones(len(WINDOWS)))

    def forward(self, heatmap: Tensor, judged: Tensor) -> Tensor:
        return ((self.peaks(heatmap, judged) - self.level) / self.spread).amax(1)

    def peaks(self, heatmap: Tensor, judged: Tensor) -> Tensor:
        """(N, windows): the highest average of each. `judged` (1, 1, H, W) of 0 and 1, or one 1 for everywhere."""
        if judged.numel() > 1:
            counts = judged[:, :, :: self.stride, :: self.stride]
            heatmap = heatmap * counts + NEVER * (1 - counts)
        found = [self._peak(heatmap, max(SMALLEST, round(share * heatmap.shape[-1]))) for share in WINDOWS]
        return torch.cat(found, 1)

    def _peak(self, heatmap: Tensor, side: int) -> Tensor:
        return F.avg_pool2d(heatmap, side, max(1, side // 3)).amax((2, 3))

    @torch.no_grad()
    def fit(self, heatmaps: Iterable[Tensor], judged: Tensor) -> None:
        """From the heatmaps of good pictures, in batches."""
        peaks = torch.cat([self.peaks(heatmap, judged) for heatmap in heatmaps])
        self.level.copy_(peaks.mean(0))
        self.spread.copy_(peaks.std(0, unbiased=False).clamp(min=LEAST_SPREAD))
