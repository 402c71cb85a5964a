"""The graph contract (DESIGN 4.1) as a torch module: raw uint8 pixels in, heatmap, score and embedding out.

The very module that evaluation runs in torch is the one that sad-export traces. Scaling, normalisation, the paper's
centre crop and its padding, the ignore mask and the score are all inside.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from sad_runtime.errors import ConfigError
from sad_runtime.manifest import InputSpec
from sad_train.config import TrainConfig
from sad_train.networks.segmenters import upsampled

NEVER = -20.0
"""The logit of pixels that are not judged: cropped away or under the ignore mask."""
PEAK_POOL_PX, PEAK_STEP_PX = 8, 4
PIXELS_AT_ONCE = 1 << 20
MEAN_BGR, STD_BGR = (0.406, 0.456, 0.485), (0.225, 0.224, 0.229)
MEAN_GREY, STD_GREY = (0.449,), (0.226,)


class InspectionGraph(nn.Module):
    """image (N, H, W, C) uint8 -> heatmap (N, H, W) logits or distances, score (N,), embedding (N, K), all float32."""

    def __init__(self, network: nn.Module, spec: InputSpec, config: TrainConfig) -> None:
        super().__init__()
        self.network = network
        self.spec = spec
        self.crop_px = config.crop_px
        self.score = config.score
        mean, std = (MEAN_BGR, STD_BGR) if spec.channels == 3 else (MEAN_GREY, STD_GREY)
        scale = 1 / (255 * torch.tensor(std))
        self.register_buffer("scale", scale.reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("offset", (-torch.tensor(mean) / torch.tensor(std)).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("judged", torch.ones(1, 1, 1, 1), persistent=False)

    @property
    def at_once(self) -> int:
        """How many pictures to judge in one batch, so that memory does not grow with their size: 16 at 256x256."""
        return max(1, PIXELS_AT_ONCE // (self.spec.height * self.spec.width))

    def ignore(self, mask: NDArray[np.uint8]) -> None:
        """`mask` (H, W): pixels above 127 are never judged. Applied before the score is pooled, on every backend.

        A network with a score of its own looks at the whole picture, and is shown nothing there; what it has measured
        of good pictures must be measured again (settling.py).
        """
        self.judged = torch.from_numpy((mask <= 127).astype(np.float32))[None, None]
        if self.score == "network":
            self.network.judged = self._cropped(self.judged)

    def normalised(self, image: Tensor) -> Tensor:
        """(N, H, W, C) uint8 -> (N, C, H, W) float32, as networks take it."""
        x = image.float().permute(0, 3, 1, 2)  # in this order: TensorRT moves no axes of uint8
        return x * self.scale + self.offset  # type: ignore[operator]

    def prepared(self, image: Tensor) -> Tensor:
        """(N, H, W, C) uint8 -> what the network takes on the line: normalised and cropped."""
        return self._cropped(self.normalised(image))

    def _cropped(self, x: Tensor) -> Tensor:
        return x if self.crop_px is None else _centre(x, self.crop_px)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, judged = self.prepared(image), self.judged
        seen = self.network(x)
        heatmap = upsampled(seen.heatmap, x.shape[-1])
        if self.crop_px is not None:
            before = (self.spec.height - self.crop_px) // 2
            after = self.spec.height - self.crop_px - before
            heatmap = F.pad(heatmap, (before, after, before, after), value=NEVER)
        if judged.numel() > 1:
            heatmap = heatmap * judged + NEVER * (1 - judged)
        return heatmap.squeeze(1), self._scored(heatmap, seen.score), seen.features.mean((2, 3))

    def _scored(self, heatmap: Tensor, score: Tensor | None) -> Tensor:
        if self.score == "mean":
            return self._mean_score(heatmap)
        if self.score == "peak":
            return self._peak_score(heatmap)
        if score is None:
            raise ConfigError("score: network: this method's network has no score of its own; take peak or mean")
        return score

    def _mean_score(self, logits: Tensor) -> Tensor:
        """Mean probability (the paper's score), as a logit so that small values keep their digits."""
        mean = torch.sigmoid(logits).mean((1, 2, 3)).clamp(1e-12, 1 - 1e-7)
        return torch.log(mean) - torch.log(1 - mean)

    def _peak_score(self, logits: Tensor) -> Tensor:
        """The highest logit after a small average, so that one noisy pixel does not decide."""
        pooled = F.avg_pool2d(logits, PEAK_POOL_PX, PEAK_STEP_PX)
        return pooled.amax((1, 2, 3))


def _centre(x: Tensor, side: int) -> Tensor:
    top, left = (x.shape[2] - side) // 2, (x.shape[3] - side) // 2
    return x[:, :, top : top + side, left : left + side]
