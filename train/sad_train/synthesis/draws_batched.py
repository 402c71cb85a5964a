"""What chance decides about a batch of NSA examples, drawn at once: one small table a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sad_train.synthesis.ellipses import ELLIPSES
from sad_train.synthesis.nsa import SMALLEST_PX, NsaRecipe

CANDIDATES = 64
"""Places drawn for each patch at either end; the first legal one is taken. nsa.py draws up to 200, one at a time."""


@dataclass(frozen=True)
class Draws:
    """For N examples of K possible patches each. Sizes in pixels are on the CPU, all else on the pictures' device."""

    attempted: Tensor
    """(N, K) bool: the first patch always, each further one with a chance of a half."""
    cuts: Tensor
    """(N, K, 2) height and width of what is cut from the source."""
    sizes: Tensor
    """(N, K, 2) height and width that it is resized to."""
    source_places: Tensor
    """(N, K, CANDIDATES, 2) shares of the free room."""
    destination_places: Tensor
    centres: Tensor
    """(N, K, ELLIPSES, 2) of ellipses, pixels of the cut."""
    axes: Tensor
    """(N, K, ELLIPSES, 2) semi-axes in pixels of the cut."""
    angles: Tensor
    """(N, K, ELLIPSES) radians"""


def drawn(shape: tuple[int, ...], recipe: NsaRecipe, generator: torch.Generator, device: torch.device) -> Draws:
    """For pictures (N, H, W, C). Draws on the generator's own device."""
    slots = (shape[0], recipe.max_patches)
    sides = torch.tensor(shape[1:3], dtype=torch.float64)

    def uniform(*more: int) -> Tensor:
        return torch.rand(*slots, *more, generator=generator, device=generator.device)

    attempted = uniform().cpu() < 0.5
    attempted[:, 0] = True
    cuts = _cuts(uniform(1).cpu(), uniform(2, 2).cpu(), recipe, sides)
    normal = torch.randn(*slots, 1, generator=generator, device=generator.device).cpu()
    places = uniform(2, CANDIDATES, 2).to(device)
    outline = uniform(ELLIPSES, 5).to(device)
    on_device = cuts.to(device, torch.float32)[:, :, None]
    least = torch.tensor(_least(recipe), device=device) * sides.to(device, torch.float32)
    most = (on_device / 4).clamp(min=1.0)
    lowest = least.clamp(min=1.0).minimum(most)
    return Draws(
        attempted=attempted,
        cuts=cuts,
        sizes=_sizes(cuts, normal, recipe, sides),
        source_places=places[:, :, 0],
        destination_places=places[:, :, 1],
        centres=outline[..., 0:2] * (on_device - 1),
        axes=lowest + outline[..., 2:4] * (most - lowest),
        angles=outline[..., 4] * torch.pi,
    )


def _cuts(pair: Tensor, uniforms: Tensor, recipe: NsaRecipe, sides: Tensor) -> Tensor:
    """Twice the half-sizes least + Gamma(2, scale), within the bounds: Gamma(2) is the sum of two exponentials."""
    table = torch.tensor(recipe.sizes, dtype=torch.float64)
    chosen = table[(pair[..., 0] * len(table)).long()]
    gamma = -torch.log1p(-uniforms.double()).sum(dim=-1)
    half = chosen[..., :1] + chosen[..., 1:] * gamma
    low, high = _bounds(recipe)
    return _whole(2 * half.clamp(low, high) * sides, sides)


def _sizes(cuts: Tensor, normal: Tensor, recipe: NsaRecipe, sides: Tensor) -> Tensor:
    """Resized by clip(N(1, 0.5), resize bounds), aspect kept, within the bounds."""
    low, high = _bounds(recipe)
    factor = (1 + 0.5 * normal.double()).clamp(*recipe.resize)
    factor = factor.maximum((2 * low * sides / cuts).amax(dim=-1, keepdim=True))
    factor = factor.minimum((2 * high * sides / cuts).amin(dim=-1, keepdim=True))
    return _whole(cuts * factor, sides)


def _whole(wanted: Tensor, sides: Tensor) -> Tensor:
    return wanted.round().minimum(sides - 2).clamp(min=SMALLEST_PX).long()


def _bounds(recipe: NsaRecipe) -> tuple[Tensor, Tensor]:
    low, high = zip(recipe.half_height, recipe.half_width, strict=True)
    return torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64)


def _least(recipe: NsaRecipe) -> tuple[float, float]:
    return recipe.half_height[0], recipe.half_width[0]
