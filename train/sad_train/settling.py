"""Measuring good pictures once the weights stand: what densities are fitted to.

After the last step of a training, and again at export when an ignore mask changes what is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sad_train.graph import InspectionGraph
from sad_train.methods.base import Learner


@torch.no_grad()
def settle(learner: Learner, graph: InspectionGraph, pictures: NDArray[np.uint8], device: str) -> None:
    """Leaves `learner` in eval mode. `pictures` (n, H, W, C) uint8 are the ones it was trained on."""

    def goods() -> Iterator[Tensor]:
        for start in range(0, len(pictures), graph.at_once):
            chunk = torch.from_numpy(np.ascontiguousarray(pictures[start : start + graph.at_once]))
            yield graph.prepared(chunk.to(device))

    learner.eval()
    learner.settle(goods)
