"""How far every place of a picture is from the same place of good pictures, or from any place where parts lie anyhow.

The paper fits a full Gaussian at each place. Here places share one shrunk covariance, that of what is left when each
place's mean is taken away, and have their mean and one variance each of their own: 625 places x 64 dimensions need 40
thousand numbers and eight pictures instead of 2.5 million numbers and hundreds of pictures. For parts that lie anyhow
(profile.aligned) mean and variance are shared too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sad_train.networks.gaussian_density import check_enough, directions, ledoit_wolf, whitening_of

NEIGHBOURS = 3
"""A place's variance is that of the 3x3 places around it."""
PRIOR_PICTURES = 8
"""A place's variance is drawn towards 1 as if so many pictures had shown just that."""

Maps = Callable[[], Iterator[Tensor]]
"""Runs through the clean pictures once, in batches of embeddings (n, K, h, w)."""


class PatchDensity(nn.Module):
    """Embeddings (N, size, h, w) -> (N, 1, h, w) squared distances, about 1 on good pictures once fitted."""

    whitening: Tensor
    mean: Tensor
    """Of each place, whitened."""
    weight: Tensor
    """One over the variance of each place."""

    def __init__(self, size: int, places: int, *, by_place: bool) -> None:
        super().__init__()
        self.by_place = by_place
        own = places if by_place else 1
        self.register_buffer("whitening", torch.eye(size)[:, :, None, None])
        self.register_buffer("mean", torch.zeros(1, size, own, own))
        self.register_buffer("weight", torch.ones(1, 1, own, own))

    def forward(self, x: Tensor) -> Tensor:
        return self._squares(x) * self.weight

    def _squares(self, x: Tensor) -> Tensor:
        z = F.conv2d(directions(x), self.whitening) - self.mean
        return (z * z).mean(1, keepdim=True)

    def fit(self, maps: Maps) -> None:
        """Runs through `maps` three times. Raises DataError when the pictures are too few."""
        mean, pictures = self._mean(maps)
        check_enough(pictures)
        white = whitening_of(_covariance(maps, mean)).float()
        self.whitening.copy_(white[:, :, None, None])
        self.mean.copy_(F.conv2d(mean.float(), white[:, :, None, None].to(mean.device)))
        if self.by_place:
            self.weight.copy_(1 / self._variances(maps, pictures))

    def _mean(self, maps: Maps) -> tuple[Tensor, int]:
        """(1, K, h, w) by place or (1, K, 1, 1), float64, and the number of pictures."""
        total, pictures = torch.zeros_like(self.mean, dtype=torch.float64), 0
        for batch in maps():
            x = directions(batch.double())
            total += (x if self.by_place else x.mean((2, 3), keepdim=True)).sum(0, keepdim=True)
            pictures += len(x)
        return total / max(1, pictures), pictures

    def _variances(self, maps: Maps, pictures: int) -> Tensor:
        """(1, 1, h, w): the mean squared distance at each place, over neighbours, drawn towards 1."""
        seen = torch.zeros_like(self.weight)
        for batch in maps():
            seen += self._squares(batch).sum(0, keepdim=True)
        around = F.avg_pool2d(seen / pictures, NEIGHBOURS, 1, NEIGHBOURS // 2, count_include_pad=False)
        return (pictures * around + PRIOR_PICTURES) / (pictures + PRIOR_PICTURES)


def _covariance(maps: Maps, mean: Tensor) -> Tensor:
    """(K, K) float64, shrunk, of all places of all pictures about `mean`."""
    size = mean.shape[1]
    scatter, fourth, count = torch.zeros((size, size)).to(mean), 0.0, 0
    for batch in maps():
        centred = (directions(batch.double()) - mean).movedim(1, -1).reshape(-1, size)
        scatter += centred.T @ centred
        fourth += float((centred * centred).sum(1).square().sum())
        count += len(centred)
    return ledoit_wolf(scatter, fourth, count)
