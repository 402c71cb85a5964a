"""AnoSeg's second output: the picture, painted from the deepest features. Only there in training; it does not ship.

Song et al., arXiv 2110.03396, where it has the full size. Here it has a quarter of the side, which is as much as
features at a 32nd of the side can tell, for a sixteenth of the work.
"""

from __future__ import annotations

from torch import Tensor, nn

SHRUNK = 4
"""The picture's side by the painted one's."""


class ReconstructionHead(nn.Module):
    """Features (N, K, h, w) at a 32nd of the picture's side -> (N, C, 8h, 8w), as normalised pictures."""

    def __init__(self, feature_channels: int, channels: int, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(feature_channels, width, 1), nn.ReLU()]
        for _ in range(3):
            doubled = nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)
            layers += [doubled, nn.Conv2d(width, width, 3, 1, 1), nn.ReLU()]
        self.paint = nn.Sequential(*layers, nn.Conv2d(width, channels, 3, 1, 1))

    def forward(self, features: Tensor) -> Tensor:
        painted: Tensor = self.paint(features)
        return painted
