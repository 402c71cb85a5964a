"""Where the patches of a batch come from and go to: the first legal one of many drawn places, found all at once.

How much of the part a box holds is read off integral images. How much two parts overlap is estimated on 8x8 points of
the patch; nsa_batched.py counts exactly what was chosen and drops a patch that falls short after all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sad_train.synthesis.draws_batched import CANDIDATES, Draws
from sad_train.synthesis.foreground import Background
from sad_train.synthesis.labels_batched import majorities
from sad_train.synthesis.nsa import NsaRecipe

POINTS = 8
SPECKS_PX = 7
"""The window of the median that removes specks from a part's mask, as in foreground.py."""


@dataclass(frozen=True)
class Places:
    """Corners (N, K, 2) y and x in pixels, and whether they are legal, (N, K)."""

    source: Tensor
    destination: Tensor
    legal: Tensor


def foregrounds(pictures: Tensor, background: Background | None) -> Tensor:
    """(N, H, W) True on the part, as foreground.py has it for one picture; pictures (N, H, W, C) uint8."""
    if background is None:
        return torch.ones(pictures.shape[:3], dtype=torch.bool, device=pictures.device)
    return majorities((_grey(pictures) - background.level).abs_() > background.tolerance, SPECKS_PX)


def _grey(pictures: Tensor) -> Tensor:
    """Whole grey levels, float32: OpenCV's weights for BGR."""
    if pictures.shape[-1] == 1:
        return pictures[..., 0].float()
    blue, green, red = pictures.float().unbind(dim=-1)
    return (0.114 * blue + 0.587 * green + 0.299 * red).round_()


def chosen_places(parts: Tensor, source_parts: Tensor, draws: Draws, recipe: NsaRecipe) -> Places:
    """Places for every possible patch of every example; parts (N, H, W) bool."""
    sides = torch.tensor(parts.shape[1:], device=parts.device)
    cuts, sizes = draws.cuts.to(parts.device), draws.sizes.to(parts.device)
    corners = (draws.source_places * (sides - cuts + 1)[:, :, None]).long()
    source, found = _first(corners, _share(source_parts, corners, cuts) > recipe.min_object)
    corners = (draws.destination_places * (sides - sizes + 1)[:, :, None]).long()
    legal = _overlap(parts, corners, sizes, source_parts, source, cuts) > recipe.min_overlap
    if recipe.min_object_of == "destination":
        legal &= _share(parts, corners, sizes) > recipe.min_object
    destination, fits = _first(corners, legal)
    return Places(source, destination, found & fits)


def _first(corners: Tensor, legal: Tensor) -> tuple[Tensor, Tensor]:
    """The first legal of (N, K, CANDIDATES, 2) corners, and whether there is one."""
    ranks = torch.arange(CANDIDATES, 0, -1, device=legal.device)
    first = (legal * ranks).argmax(dim=-1)
    return corners.gather(2, first[..., None, None].expand(-1, -1, 1, 2))[:, :, 0], legal.any(dim=-1)


def _share(parts: Tensor, corners: Tensor, sizes: Tensor) -> Tensor:
    """(N, K, CANDIDATES): how much of each box the part fills, 0..1."""
    integral = F.pad(parts.cumsum(2, dtype=torch.int32).cumsum(1, dtype=torch.int32), (1, 0, 1, 0))
    number = torch.arange(len(parts), device=parts.device)[:, None, None]
    (top, left), (tall, wide) = corners.unbind(-1), sizes[:, :, None].unbind(-1)
    bottom, right = top + tall, left + wide
    count = integral[number, bottom, right] - integral[number, top, right]
    count += integral[number, top, left] - integral[number, bottom, left]
    return count / (tall * wide)


def _overlap(
    parts: Tensor, corners: Tensor, sizes: Tensor, source_parts: Tensor, source: Tensor, cuts: Tensor
) -> Tensor:
    """(N, K, CANDIDATES): about how much of the patch's own part lies on the part there, 0..1."""
    own = _sampled(source_parts, source[:, :, None], cuts)
    here = _sampled(parts, corners, sizes)
    return (own & here).sum(dim=-1) / own.sum(dim=-1).clamp(min=1)


def _sampled(parts: Tensor, corners: Tensor, sizes: Tensor) -> Tensor:
    """(N, K, n, POINTS²): the part at points spread evenly over boxes of n corners each."""
    at = (torch.arange(POINTS, device=parts.device) + 0.5) / POINTS
    rows = corners[..., 0, None] + (sizes[:, :, None, 0, None] * at).long()
    columns = corners[..., 1, None] + (sizes[:, :, None, 1, None] * at).long()
    number = torch.arange(len(parts), device=parts.device)[:, None, None, None, None]
    return parts[number, rows[..., :, None], columns[..., None, :]].flatten(3)
