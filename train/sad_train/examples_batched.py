"""Training examples made a batch at a time on the GPU, for methods whose maker has a twin there.

The stream of pictures is the one of examples.py; pose, anomalies and light are drawn anew from (seed, step), so that a
resumed run makes the batches it has not seen. The good pictures stay on the device when there is room.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sad_train.config import TrainConfig
from sad_train.data.profile import Profile
from sad_train.distributed import Ranks
from sad_train.examples import OUTCOME, rotation_of, streamed
from sad_train.methods.base import BatchMaker
from sad_train.nuisance_batched import posed, relit

ON_DEVICE_BYTES = 4 << 30


class BatchedExamples:
    """Batches by step. `pictures` (n, H, W, C) uint8."""

    def __init__(
        self, pictures: NDArray[np.uint8], config: TrainConfig, maker: BatchMaker, profile: Profile, ranks: Ranks
    ) -> None:
        self.config, self.maker, self.ranks = config, maker, ranks
        self.rotation_deg = rotation_of(config, profile)
        self.pictures = torch.from_numpy(pictures)
        if pictures.nbytes <= ON_DEVICE_BYTES:
            self.pictures = self.pictures.to(ranks.device)

    def batches(self, step: int) -> Iterator[dict[str, Tensor]]:
        """The batches from `step` to the last; each process makes its own share."""
        for at in range(step, self.config.steps):
            yield self.batch(at)

    @torch.no_grad()
    def batch(self, step: int) -> dict[str, Tensor]:
        """As the loader gives it: pictures (N, h, w, C) uint8, labels, outcomes; on the device."""
        first = step * self.config.batch
        slots = torch.tensor(self.ranks.share(self.config.batch, step))
        generator = torch.Generator().manual_seed((self.config.seed * 1_000_003 + step) * 64 + self.ranks.rank)
        indices = [first + int(slot) for slot in slots]

        def sources() -> Tensor:
            return self._posed([index - 1 for index in indices], generator)

        made = self.maker.batch(slots, self._posed(indices, generator), sources, generator)
        lit = {
            name: _bytes(relit(_planes(value), self.config.nuisance, generator))
            if value.dtype == torch.uint8
            else value
            for name, value in made.values.items()
        }
        return lit | {OUTCOME: made.outcomes}

    def _posed(self, indices: list[int], generator: torch.Generator) -> Tensor:
        """(N, h, w, C) uint8: the stream's pictures under their poses, flipped and cropped as training takes them."""
        config = self.config
        rows = [streamed(index, len(self.pictures), config.seed) for index in indices]
        pictures = _planes(self.pictures[torch.tensor(rows)].to(self.ranks.device))
        if config.nuisance.shift or self.rotation_deg:
            pictures = posed(pictures, config.nuisance, self.rotation_deg, generator).round()
        if config.flip:
            flipped = torch.rand((len(rows), 1, 1, 1), generator=generator) < 0.5
            pictures = torch.where(flipped.to(pictures.device), pictures.flip(2), pictures)
        return _bytes(pictures if config.crop_px is None else self._cropped(pictures, config.crop_px, generator))

    def _cropped(self, pictures: Tensor, side: int, generator: torch.Generator) -> Tensor:
        centre = self.config.centre_px or pictures.shape[2]
        corners = torch.randint(0, centre - side + 1, (len(pictures), 2), generator=generator)
        corners += (pictures.shape[2] - centre) // 2
        crops = [
            picture[:, top : top + side, left : left + side]
            for picture, (top, left) in zip(pictures, corners.tolist(), strict=True)
        ]
        return torch.stack(crops)


def _planes(pictures: Tensor) -> Tensor:
    """(N, H, W, C) uint8 -> (N, C, H, W) float32 in 0..255."""
    return pictures.permute(0, 3, 1, 2).float()


def _bytes(planes: Tensor) -> Tensor:
    return planes.to(torch.uint8).permute(0, 2, 3, 1).contiguous()
