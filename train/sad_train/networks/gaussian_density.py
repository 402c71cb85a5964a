"""How far an embedding is from those of good pictures: a Gaussian of their directions, fitted once, then constants.

The distance is Mahalanobis's, with Ledoit and Wolf's shrunk covariance (Journal of Multivariate Analysis 88, 2004):
few pictures and many dimensions still give a matrix that can be inverted. In the graph it is one matrix product (the
whitening) and a mean of squares. It is divided by the number of dimensions, so that a usual good picture stands near 1.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sad_runtime.errors import DataError

FEWEST = 8
"""Pictures below which no density is fitted: of 8 already, the mean is off by a third of a standard deviation."""
EPSILON = 1e-12
LEAST_VARIANCE = 1e-4
"""Of the mean one: no direction counts for less, or rounding would be blown up into distance."""


class GaussianDensity(nn.Module):
    """Embeddings (N, size) -> (N,) distances, >= 0; about 1 for good pictures once fitted."""

    whitening: Tensor
    offset: Tensor
    pictures: Tensor
    """How many it was fitted to; 0 before."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("whitening", torch.eye(size))
        self.register_buffer("offset", torch.zeros(size))
        self.register_buffer("pictures", torch.tensor(0))

    @property
    def fitted(self) -> bool:
        return bool(self.pictures > 0)

    def forward(self, x: Tensor) -> Tensor:
        z = F.linear(directions(x), self.whitening, self.offset)
        return (z * z).mean(1).sqrt()

    def fit(self, embeddings: Iterable[Tensor]) -> None:
        """`embeddings`: batches (n, size) of clean pictures. Raises DataError when they are fewer than FEWEST."""
        x = directions(torch.cat(list(embeddings)).double())
        check_enough(len(x))
        mean = x.mean(0)
        centred = x - mean
        shrunk = ledoit_wolf(centred.T @ centred, float((centred * centred).sum(1).square().sum()), len(x))
        white = whitening_of(shrunk)
        self.whitening.copy_(white)
        self.offset.copy_(-white @ mean)
        self.pictures.fill_(len(x))


def check_enough(pictures: int) -> None:
    if pictures < FEWEST:
        raise DataError(
            f"{pictures} good pictures to fit a density to; at least {FEWEST} are needed beside those kept for "
            "calibration. Add good pictures, or take a method that needs no density: --method nsa"
        )


def directions(x: Tensor) -> Tensor:
    """(N, K, ...) scaled so that the mean of squares over K is 1: an L2 norm up to a constant, which no distance sees.

    A vector of zeros stays one.
    """
    return x / ((x * x).mean(1, keepdim=True) + EPSILON).sqrt()


def ledoit_wolf(scatter: Tensor, fourth: float, count: int) -> Tensor:
    """The shrunk covariance (K, K) of `count` centred samples.

    `scatter`: the sum of their outer products; `fourth`: the sum of their lengths' fourth powers. Both can be gathered
    batch by batch, so that no sample need be kept.
    """
    size = len(scatter)
    covariance = scatter / count
    mean_variance = covariance.diagonal().mean()
    squares = covariance.square().sum()
    spread = (squares - size * mean_variance**2) / size
    error = (fourth / count - squares) / (size * count)
    share = torch.where(spread > 0, (error / spread).clamp(0, 1), 0.0)
    return (1 - share) * covariance + share * mean_variance * torch.eye(size).to(covariance)


def whitening_of(covariance: Tensor) -> Tensor:
    """(K, K) such that its product with centred samples has the identity for covariance, weak directions bounded."""
    variances, axes = torch.linalg.eigh(covariance)
    floor = (LEAST_VARIANCE * variances.mean()).clamp_min(EPSILON)
    whitening: Tensor = (axes / variances.clamp_min(floor).sqrt()).T
    return whitening
