"""CoordConv: a convolution that knows where in the picture it stands.

Liu et al., "An intriguing failing of convolutional neural networks and the CoordConv solution", NeurIPS 2018 (reference
code: uber-research/CoordConv). Two ramps over the picture, and optionally the distance from its middle, are channels of
the input. Shapes on the line are static, so what the ramps contribute is a constant; sad_export/coordinates.py exports
an ordinary convolution and one addition.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CoordConv2d(nn.Conv2d):
    """(N, channels_in, H, W) -> (N, channels_out, H', W'). The weights of the coordinates come last."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        *,
        bias: bool = True,
        radius: bool = False,
    ) -> None:
        super().__init__(channels_in + 2 + radius, channels_out, kernel, stride, padding, bias=bias)
        self.radius = radius

    @property
    def seen_channels(self) -> int:
        """Channels of the input proper."""
        return self.in_channels - 2 - self.radius

    def forward(self, x: Tensor) -> Tensor:
        ramps = coordinates(x.shape[2], x.shape[3], radius=self.radius, like=x)
        return super().forward(torch.cat([x, ramps.expand(x.shape[0], -1, -1, -1)], 1))

    @torch.no_grad()
    def contribution(self, height: int, width: int) -> Tensor:
        """(1, channels_out, H', W'): what coordinates and bias add for every picture of this size."""
        ramps = coordinates(height, width, radius=self.radius, like=self.weight)
        return F.conv2d(ramps, self.weight[:, self.seen_channels :], self.bias, self.stride, self.padding)


def first_convolution(
    channels_in: int, channels_out: int, kernel: int, stride: int, *, coordinates: bool
) -> nn.Conv2d | CoordConv2d:
    """A network's first layer, in front of a batch norm: a CoordConv when `coordinates` says so."""
    kind = CoordConv2d if coordinates else nn.Conv2d
    return kind(channels_in, channels_out, kernel, stride, kernel // 2, bias=False)


def coordinates(height: int, width: int, *, radius: bool, like: Tensor) -> Tensor:
    """(1, 2 or 3, H, W): x and y from -1 to 1 and, with `radius`, the distance from the middle, √(x² + y²)."""
    x = _ramp(width, like).expand(height, width)
    y = _ramp(height, like).unsqueeze(1).expand(height, width)
    channels = [x, y, torch.sqrt(x * x + y * y)] if radius else [x, y]
    return torch.stack(channels).unsqueeze(0)


def _ramp(length: int, like: Tensor) -> Tensor:
    """The middle of pixels, not their edges, at -1 and 1; a single pixel is in the middle."""
    if length == 1:
        return torch.zeros(1, dtype=like.dtype, device=like.device)
    return torch.linspace(-1, 1, length, dtype=like.dtype, device=like.device)
