"""Labels of a batch of synthetic anomalies on any device: the torch twin of labels.py.

Whole pictures at once, without a sort: medians of 3x3 by minima and maxima, the widest as a median of row medians at
half resolution. Windows of 5 to 9 px are one of 6 px here.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sad_train.config import LabelMode
from sad_train.synthesis.labels import SUPPORT_PX, TOLERANCE


def anomaly_labels(
    before: Tensor, after: Tensor, touched: Tensor, patch_px: Tensor, mode: LabelMode, logistic: tuple[float, float]
) -> Tensor:
    """(N, H, W) float32 in 0..1 for two batches (N, H, W, C) uint8; only `touched` pixels can differ from 0.

    touched: (N, H, W) bool; patch_px: (N, H, W), the smaller side of the patch that touched a pixel.
    """
    channels = before.shape[-1]
    total = (after.short() - before.short()).abs_().sum(dim=-1, dtype=torch.int16)
    total *= touched
    support = _majority(total > TOLERANCE * channels, patch_px) & touched
    if mode == "binary":
        return support.float()
    total *= support
    smooth = _smoothed((total / channels).round_().to(torch.uint8), patch_px)
    if mode == "continuous":
        return smooth * support / 255
    k, x0 = logistic
    return torch.sigmoid(k * (smooth - x0)) * support


def _majority(changed: Tensor, patch_px: Tensor) -> Tensor:
    """The median of a mask over 5, 3 or 1 pixels, by what a patch holds three of."""
    narrow = torch.where(patch_px >= 9, majorities(changed, 3), changed)
    return torch.where(patch_px >= 15, majorities(changed, SUPPORT_PX), narrow)


def majorities(mask: Tensor, side_px: int) -> Tensor:
    """The median filter of masks (N, H, W) over a square of odd side up to 15, by counting."""
    votes = mask.to(torch.uint8)
    for dim in (1, 2):
        first, *others = _shifted(votes, side_px, dim)
        votes = first.clone()
        for other in others:
            votes += other
    return votes > side_px * side_px // 2


def _smoothed(difference: Tensor, patch_px: Tensor) -> Tensor:
    """The median over about a third of each patch, (N, H, W) float32 grey levels."""
    height, width = difference.shape[1:]
    even = _evened(difference)
    quarters = even[:, ::2, ::2].short() + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2]
    half = ((quarters + 2) // 4).to(torch.uint8)
    coarse, middle = (
        F.interpolate(median[:, None].float(), even.shape[1:], mode="bilinear")[:, 0, :height, :width].round_()
        for median in (_row_medians_5x5(half), _median_3x3(half))
    )
    fine = torch.where(patch_px >= 9, _median_3x3(difference), difference).float()
    return torch.where(patch_px >= 33, coarse, torch.where(patch_px >= 15, middle, fine))


def _evened(picture: Tensor) -> Tensor:
    """(N, H, W) with its last row and column twice where their number is odd."""
    if picture.shape[1] % 2:
        picture = torch.cat([picture, picture[:, -1:]], dim=1)
    return torch.cat([picture, picture[:, :, -1:]], dim=2) if picture.shape[2] % 2 else picture


def _median_3x3(picture: Tensor) -> Tensor:
    """Exact, of (N, H, W) uint8: sort the three of each row, then take the middle of what can be the middle."""
    low, middle, high = _sorted(*_shifted(picture, 3, dim=2))
    least, _, _ = _shifted_sorted(high)
    _, median, _ = _shifted_sorted(middle)
    _, _, most = _shifted_sorted(low)
    return _sorted(least, median, most)[1]


def _shifted_sorted(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _sorted(*_shifted(rows, 3, dim=1))


def _sorted(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    middle, highest = torch.minimum(high, c), torch.maximum(high, c)
    return torch.minimum(low, middle), torch.maximum(low, middle), highest


def _row_medians_5x5(picture: Tensor) -> Tensor:
    """The median of the medians of five rows: near the median of all 25, and 14 steps instead of 99."""
    return _median_of_5(*_shifted(_median_of_5(*_shifted(picture, 5, dim=2)), 5, dim=1))


def _median_of_5(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor) -> Tensor:
    """The least and the greatest of four cannot be the middle of five; of the other two and `e` it is the middle."""
    low = torch.maximum(torch.minimum(a, b), torch.minimum(c, d))
    high = torch.minimum(torch.maximum(a, b), torch.maximum(c, d))
    return _sorted(low, high, e)[1]


def _shifted(picture: Tensor, count: int, dim: int) -> list[Tensor]:
    """`count` views of (N, H, W), each one pixel on along `dim`, borders repeated."""
    reach = count // 2
    first, last = (picture.narrow(dim, at, 1) for at in (0, picture.shape[dim] - 1))
    padded = torch.cat([*[first] * reach, picture, *[last] * reach], dim=dim)
    return [padded.narrow(dim, at, picture.shape[dim]) for at in range(count)]
