"""What a network says of a batch of pictures; graph.py turns it into the outputs of the contract."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Seen(NamedTuple):
    heatmap: Tensor
    """(N, 1, h, w) logits or distances, higher is worse. The picture's side is a whole multiple of w."""
    features: Tensor
    """(N, K, any, any), averaged over places into the embedding."""
    score: Tensor | None = None
    """(N,) the network's own score of the whole picture; None: it is read off the heatmap."""
