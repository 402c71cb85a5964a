"""Seamless cloning of many patches at once on any device: the torch twin of poisson.py.

Patches of different sizes lie in the upper left corners of equal boxes. Each is solved on its own rectangle exactly, by
its own sine matrices padded with zeros, so that a batch is four matrix products whatever the sizes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def poisson_blends(target: Tensor, guide: Tensor, mask: Tensor, sizes: Tensor, *, mixed: bool) -> Tensor:
    """`guide` cloned into `target` where `mask` is set, in whole grey levels 0..255.

    target, guide: (n, C, B, B) float32; mask: (n, B, B) bool, not set on or beyond a rectangle's outermost ring;
    sizes: (n, 2) height and width of each rectangle, at least 3. What is not inside a rectangle stays the target's.
    """
    rows = _added_gradient(target, guide, 2, mixed) * mask[:, None, :-1]
    columns = _added_gradient(target, guide, 3, mixed) * mask[:, None, :, :-1]
    divergence = rows[:, :, :, 1:-1].diff(dim=2) + columns[:, :, 1:-1].diff(dim=3)
    blended = target.clone()
    blended[:, :, 1:-1, 1:-1] += _solved(divergence, sizes - 2)
    return blended.round_().clamp_(0, 255)


def _added_gradient(target: Tensor, guide: Tensor, axis: int, mixed: bool) -> Tensor:
    """What the guidance field has beyond the target's gradients; one shorter along `axis`."""
    if not mixed:
        return (guide - target).diff(dim=axis)
    of_target, of_guide = target.diff(dim=axis), guide.diff(dim=axis)
    return torch.where(of_guide.abs() > of_target.abs(), of_guide - of_target, 0.0)


def _solved(divergence: Tensor, lengths: Tensor) -> Tensor:
    """f (n, C, b, b) with laplace(f) = divergence on each (h, w) in `lengths`, 0 around and beyond it."""
    most = divergence.shape[-1]
    down, across = (_sine_matrices(lengths[:, axis], most)[:, None] for axis in (0, 1))
    steps = (_eigenvalues(lengths[:, axis], most) for axis in (0, 1))
    of_rows, of_columns = steps
    spectrum = down @ divergence @ across
    spectrum /= of_rows[:, None, :, None] + of_columns[:, None, None, :]
    return down @ spectrum @ across


def _sine_matrices(lengths: Tensor, most: int) -> Tensor:
    """(n, most, most) float32: the orthonormal sine transform of each length, zeros beyond it."""
    index = torch.arange(1, most + 1, device=lengths.device)
    period = 2 * (lengths[:, None, None] + 1)
    phase = (index[:, None] * index) % period  # whole numbers, so that large angles lose nothing in float32
    waves = torch.sin(phase * (2 * math.pi) / period) * torch.sqrt(4.0 / period)
    within = index <= lengths[:, None]
    return waves * (within[:, :, None] & within[:, None, :])


def _eigenvalues(lengths: Tensor, most: int) -> Tensor:
    """Of the second difference, (n, most); -1 beyond each length, where the spectrum is 0."""
    index = torch.arange(1, most + 1, device=lengths.device)
    values = 2 * torch.cos(math.pi * index / (lengths[:, None] + 1)) - 2
    return torch.where(index <= lengths[:, None], values, -1.0)
