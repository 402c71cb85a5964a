"""The harmless changes of nuisance.py for a whole batch at once, on whatever device the pictures are.

Draws come from a generator on the CPU, so that a device changes nothing about what is drawn. Distributions are the ones
there; the pictures are others.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from sad_train.config import NuisanceConfig

BLURRED = 0.3
"""Share of pictures that are blurred, as in nuisance.py."""


def posed(pictures: Tensor, config: NuisanceConfig, rotation_deg: float, generator: torch.Generator) -> Tensor:
    """(N, C, H, W) float32 shifted and turned about the centre, each by its own draw."""
    count, _, height, width = pictures.shape
    angle = torch.deg2rad(rotation_deg * _uniform((count,), generator))
    shift = 2 * config.shift * _uniform((count, 2), generator)  # a picture is 2 wide in the sampler's units
    cos, sin = angle.cos(), angle.sin()
    aspect = height / width
    rows = [torch.stack([cos, -sin * aspect, shift[:, 0]], 1), torch.stack([sin / aspect, cos, shift[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1).to(pictures.device), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def relit(pictures: Tensor, config: NuisanceConfig, generator: torch.Generator) -> Tensor:
    """(N, C, H, W) float32 in 0..255 under another light, focus and sensor noise, each its own; uint8 values."""
    count, channels, height, width = pictures.shape

    def drawn(*shape: int) -> Tensor:
        return _uniform((count, *shape), generator).to(pictures.device)

    gamma = (config.gamma * drawn(1, 1, 1)).exp()
    tint = (1 + config.gain * drawn(1, 1, 1)) * (1 + config.white_balance * drawn(channels, 1, 1))
    light = 255 * (pictures / 255).clamp(0, 1) ** gamma * tint * _falloff(height, width, config.vignette, drawn)
    light = _blurred(light, config.blur_px, generator)
    seed = int(torch.randint(2**31, (1,), generator=generator))
    noise = torch.randn(light.shape, device=light.device, generator=torch.Generator(light.device).manual_seed(seed))
    strength = config.noise * (1 + drawn(1, 1, 1)) / 2
    return (light + strength * noise).round().clamp(0, 255)


def _falloff(height: int, width: int, strength: float, draw: Callable[..., Tensor]) -> Tensor:
    centre = draw(2, 1, 1) / 2
    fall, slope = (strength / 4 * (1 + draw(1, 1, 1)) for _ in range(2))
    direction = math.pi * draw(1, 1, 1)
    down = torch.linspace(-1, 1, height, device=centre.device).reshape(1, 1, height, 1) - centre[:, :1]
    across = torch.linspace(-1, 1, width, device=centre.device).reshape(1, 1, 1, width) - centre[:, 1:]
    return 1 - fall * (down**2 + across**2) / 2 + slope * (direction.cos() * across + direction.sin() * down)


def _blurred(light: Tensor, most_px: float, generator: torch.Generator) -> Tensor:
    """A drawn share of the pictures under a Gaussian of up to `most_px`, by one depthwise filter for each axis."""
    if not most_px:
        return light
    count, channels = light.shape[:2]
    chosen = torch.rand((count,), generator=generator) < BLURRED
    sigma = 0.2 + (max(0.21, most_px) - 0.2) * torch.rand((count,), generator=generator)
    reach = max(1, math.ceil(3 * most_px))
    steps = torch.arange(-reach, reach + 1)
    kernel = (-(steps**2) / (2 * sigma[:, None] ** 2)).exp() * chosen[:, None] + (steps == 0) * ~chosen[:, None]
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0).to(light.device)
    flat = light.reshape(1, count * channels, *light.shape[2:])
    padded = F.pad(flat, (reach,) * 4, mode="reflect")
    across = F.conv2d(padded, kernel[:, None, None, :], groups=count * channels)
    return F.conv2d(across, kernel[:, None, :, None], groups=count * channels).reshape(light.shape)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """-1 to 1, on the CPU."""
    return 2 * torch.rand(shape, generator=generator) - 1
