"""Two-dimensional normalising flows over the maps of a frozen encoder: the network of FastFlow.

Yu et al., "FastFlow: Unsupervised Anomaly Detection and Localization via 2D Normalizing Flows", 2021 (arXiv
2111.07677); there is no official code, the layout follows gathierry/FastFlow (Apache-2.0). Choices of ours:
- The gain of the normalisation belongs to the flow, its logarithm to the log-determinant. In the reference it is free,
  so that shrinking it lowers the loss without end, which is one cause of the known instability.
- The last convolution of each subnet starts at zero: a flow starts as a mere permutation.
- A scale's distance is log(1 + ½ mean z²). The paper's −exp(−½ mean z²) is the same in order but saturates: far from
  good parts every value rounds to one number, and thresholds there mean nothing. ½ mean z² itself reaches 10⁹ on large
  defects, and the scale that does so drowns the others in the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from sad_train.networks.resnet import ResNet
from sad_train.networks.seen import Seen
from sad_train.networks.segmenters import upsampled

EPSILON = 1e-5


class FlowShape(NamedTuple):
    """How a flow is built."""

    steps: int
    kernels: Sequence[int]
    """Sides of the subnets' convolutions, taken in turn."""
    hidden_ratio: float
    """Channels inside a subnet for each that goes in."""
    clamp: float
    """Most that a step may scale by, as a logarithm."""
    seed: int
    """Of the permutations."""


class Coupling(nn.Module):
    """One affine coupling step and a permutation. (N, C, h, w) -> the same shape, and the log-determinant (N,)."""

    order: Tensor

    def __init__(self, channels: int, kernel: int, shape: FlowShape, draws: torch.Generator) -> None:
        super().__init__()
        self.kept = channels // 2
        moved, hidden = channels - self.kept, max(1, round(self.kept * shape.hidden_ratio))
        self.clamp = shape.clamp
        self.subnet = nn.Sequential(
            nn.Conv2d(self.kept, hidden, kernel, padding=kernel // 2),
            nn.ReLU(),
            nn.Conv2d(hidden, 2 * moved, kernel, padding=kernel // 2),
        )
        for weight in self.subnet[2].parameters():
            nn.init.zeros_(weight)
        # Floats, because a moving average of the weights averages buffers too, and rounds whole numbers down.
        self.register_buffer("order", torch.randperm(channels, generator=draws).float())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = x[:, : self.kept], x[:, self.kept :]
        log_scale, shift = self._affine(kept)
        y = torch.cat([kept, moved * torch.exp(log_scale) + shift], 1)
        return torch.index_select(y, 1, self.order.long()), log_scale.sum((1, 2, 3))

    def inverse(self, y: Tensor) -> Tensor:
        y = torch.index_select(y, 1, torch.argsort(self.order))
        kept, moved = y[:, : self.kept], y[:, self.kept :]
        log_scale, shift = self._affine(kept)
        return torch.cat([kept, (moved - shift) * torch.exp(-log_scale)], 1)

    def _affine(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """The paper's soft clamp is an arctangent; engines take a hyperbolic tangent faster and bend as well."""
        told = self.subnet(kept)
        half = told.shape[1] // 2
        return self.clamp * torch.tanh(told[:, :half]), told[:, half:]


class Flow(nn.Module):
    """A gain and a shift, then coupling steps. (N, C, h, w) -> z of the same shape, and the log-determinant (N,)."""

    def __init__(self, channels: int, shape: FlowShape, places: tuple[int, int] = (1, 1)) -> None:
        """`places` (h, w): a gain and a shift for every place of the map; (1, 1): one for all places."""
        super().__init__()
        draws = torch.Generator().manual_seed(shape.seed)
        self.log_gain = nn.Parameter(torch.zeros(1, channels, *places))
        self.shift = nn.Parameter(torch.zeros(1, channels, *places))
        kernels = [shape.kernels[step % len(shape.kernels)] for step in range(shape.steps)]
        self.steps = nn.ModuleList(Coupling(channels, kernel, shape, draws) for kernel in kernels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_det = self.log_gain.expand(x.shape).sum((1, 2, 3))
        x = x * torch.exp(self.log_gain) + self.shift
        for step in self.steps:
            x, gained = step(x)
            log_det = log_det + gained
        return x, log_det

    @torch.no_grad()
    def inverse(self, z: Tensor) -> Tensor:
        for step in reversed(self.steps):
            z = step.inverse(z)  # type: ignore[operator]
        return (z - self.shift) * torch.exp(-self.log_gain)


class FastFlowNetwork(nn.Module):
    """(N, C, H, W) normalised -> distances (N, 1, H/4, W/4), and the encoder's last map as features.

    The encoder never changes: its weights take no gradient, and its batch norms stay as they were learnt.
    """

    def __init__(
        self, encoder: ResNet, shape: FlowShape, side_px: int, *, gain_by_place: bool, level_by_picture: bool
    ) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        sides = [side_px // (4 << stage) for stage in range(len(encoder.widths))]
        self.flows = nn.ModuleList(
            Flow(channels, shape._replace(seed=shape.seed + stage), (side, side) if gain_by_place else (1, 1))
            for stage, (channels, side) in enumerate(zip(encoder.widths, sides, strict=True))
        )

        self.levels = nn.ModuleList(
            PictureLevel() if level_by_picture else SetLevel(channels) for channels in encoder.widths
        )

    def train(self, mode: bool = True) -> FastFlowNetwork:
        super().train(mode)
        self.encoder.eval()
        return self

    def flowed(self, x: Tensor) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """z and log-determinant of each of the encoder's maps, finest first; and its last map."""
        maps = self.encoder(x)
        return [flow(level(y)) for flow, level, y in zip(self.flows, self.levels, maps, strict=True)], maps[-1]

    def forward(self, x: Tensor) -> Seen:
        flowed, features = self.flowed(x)
        distances = [torch.log(1 + 0.5 * (z * z).mean(1, keepdim=True)) for z, _ in flowed]
        finest, *others = [upsampled(distance, distances[0].shape[-1]) for distance in distances]
        return Seen(sum(others, finest) / len(distances), features)


class SetLevel(nn.Module):
    """Every channel to mean 0 and variance 1: of the batch in training, of the training pictures on the line."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.seen = nn.BatchNorm2d(channels, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return cast(Tensor, self.seen(x))
        mean, variance = self.seen.get_buffer("running_mean"), self.seen.get_buffer("running_var")
        scale = 1 / torch.sqrt(variance + self.seen.eps)  # a constant, where a batch norm would stay one in the graph
        return x * scale[:, None, None] - (mean * scale)[:, None, None]


class PictureLevel(nn.Module):
    """LayerNorm's own part, in plain operations: engines differ in how they take the ONNX operator."""

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean((1, 2, 3), keepdim=True)
        return x / torch.sqrt((x * x).mean((1, 2, 3), keepdim=True) + EPSILON)
