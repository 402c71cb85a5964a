"""ReSeg, "restore and segment": an encoder, a narrow restorer that says what a good part would look like, a head that
compares the two. Ours; after DRAEM (Zavrtanik et al., ICCV 2021) and DeSTSeg (Zhang et al., CVPR 2023), which spend ten
to forty times the work on it.

The encoder is a ResNet's first three stages, so a backbone file or a house backbone fits. The restorer sees its deepest
map through a bottleneck at a 32nd of the side, with no skips: a defect does not get through it. It gives the features
of the good part at strides 4, 8 and 16, and a picture of it at full detail in a quarter of the side (4x4 pixels of each
channel as channels). The head looks at each pair and at nothing else, so that it learns to compare. Plain convolutions,
ReLU, one maximum pool, fixed doublings and concatenation: INT8 and every engine take them.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sad_runtime.errors import ConfigError
from sad_train.config import TrainConfig
from sad_train.data.profile import Profile
from sad_train.networks.peak_score import PeakScore
from sad_train.networks.resnet import initialise
from sad_train.networks.seen import Seen
from sad_train.networks.trunks import trunk_for

BLOCK_PX = 4
"""Side of the squares of pixels whose values are the channels of one place."""
HEATMAP_STRIDE = 2
STAGES = 3
STRIDES = (16, 8, 4, 4)
"""Of the restored features on the way up, and of the restored picture."""
PLACE_GAIN = 8.0
"""Adam moves a number by its learning rate a step whatever its size; these numbers have further to go than weights."""
RARE = -3.0
"""Bias of the last layer: anomalous pixels are few, so start near 5 %."""


class Widths(NamedTuple):
    restorer: tuple[int, int, int]
    """Channels at strides 16, 8, 4 on the way up."""
    bottleneck: int
    head: int


WIDTHS = {
    "narrow_resnet18": Widths((64, 48, 32), 128, 32),
    "resnet18": Widths((160, 128, 64), 256, 48),
}
"""At 256x256 with the trunk: 0.92 GMAC and 1.2 M parameters, and 3.2 GMAC and 4.8 M."""


class Restored(NamedTuple):
    features: list[Tensor]
    """As the trunk's maps of the good part would be, at strides 4, 8, 16."""
    picture: Tensor
    """(N, C 16, H/4, W/4), normalised as pictures are, laid out as `blocks_of` does."""


class Found(NamedTuple):
    """What training looks at beside what ships."""

    heatmap: Tensor
    """(N, 1, H/2, W/2) logits."""
    features: list[Tensor]
    restored: Restored | None


class ReSeg(nn.Module):
    """(N, C, H, W) normalised -> logits (N, 1, H/2, W/2), features (N, K, H/16, W/16), score. H and W divide by 32."""

    judged: Tensor
    """1 where the score may look, broadcast to (1, 1, H, W)."""

    def __init__(
        self, channels: int, network: str, *, places_px: int | None = None, restores: bool = True, pictures: bool = True
    ) -> None:
        """`places_px`: side of the pictures of parts that always lie alike, of which every place can be learnt."""
        super().__init__()
        widths = WIDTHS[network]
        self.trunk = trunk_for(network, channels, stages=STAGES)
        self.feature_channels = self.trunk.widths[-1]
        self.restorer = Restorer(self.trunk.widths, channels, widths, places_px) if restores else None
        self.head = Head(self.trunk.widths, channels, widths.head, pairs=restores, pictures=pictures)
        self.score = PeakScore(HEATMAP_STRIDE)
        self.register_buffer("judged", torch.ones(1, 1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Seen:
        found = self.found(x)
        return Seen(found.heatmap, found.features[-1], self.score(found.heatmap, self.judged))

    def found(self, x: Tensor) -> Found:
        features: list[Tensor] = self.trunk(x)
        restored = None if self.restorer is None else self.restorer(features[-1])
        return Found(self.head(x, features, restored), features, restored)


class Restorer(nn.Module):
    """The trunk's deepest map (N, K, H/16, W/16) -> Restored."""

    def __init__(self, trunk: list[int], channels: int, widths: Widths, places_px: int | None) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(
            nn.Conv2d(trunk[-1], widths.bottleneck, 3, 2, 1, bias=False),
            nn.BatchNorm2d(widths.bottleneck),
            nn.ReLU(),
            *_convolution(widths.bottleneck, widths.bottleneck),
        )
        sides = (widths.bottleneck, *widths.restorer)
        self.up = nn.ModuleList(nn.Sequential(*_convolution(*pair)) for pair in itertools.pairwise(sides))
        pairs = zip(widths.restorer, reversed(trunk), strict=True)
        self.features = nn.ModuleList(nn.Conv2d(given, wanted, 1) for given, wanted in pairs)
        self.picture = nn.Conv2d(widths.restorer[-1], channels * BLOCK_PX**2, 3, 1, 1)
        initialise(self)
        self.places = None if places_px is None else Places((*reversed(trunk), channels * BLOCK_PX**2), places_px)

    def forward(self, deepest: Tensor) -> Restored:
        y: Tensor = self.squeeze(deepest)
        found: list[Tensor] = []
        for up, features in zip(self.up, self.features, strict=True):
            y = up(_doubled(y))
            found.append(features(y))
        found.append(self.picture(y))
        if self.places is not None:
            found = self.places(found)
        *maps, picture = found
        return Restored([F.relu(one) for one in reversed(maps)], picture)


class Places(nn.Module):
    """What each place of a part looks like that always lies alike: a learnt map that is added to what is restored.

    A bottleneck takes thousands of steps to learn fine detail by heart, a map of the detail itself a few hundred. It is
    a constant of the graph: no work on the line, 1.7 MB at 256x256.
    """

    def __init__(self, channels: tuple[int, ...], side_px: int) -> None:
        super().__init__()
        sides = [side_px // stride for stride in STRIDES]
        self.maps = nn.ParameterList(
            nn.Parameter(torch.zeros(1, count, side, side)) for count, side in zip(channels, sides, strict=True)
        )

    def forward(self, found: list[Tensor]) -> list[Tensor]:
        return [one + PLACE_GAIN * place for one, place in zip(found, self.maps, strict=True)]


class Head(nn.Module):
    """Picture, features and what they should be -> logits at half the side."""

    blocks: Tensor

    def __init__(self, trunk: list[int], channels: int, width: int, *, pairs: bool, pictures: bool) -> None:
        super().__init__()
        blocks = channels * BLOCK_PX**2
        self.compare = nn.ModuleList(_comparison(count, width, pairs=pairs) for count in trunk)
        self.compare_pictures = _comparison(blocks, width, pairs=pairs) if pictures else None
        self.join8 = nn.Sequential(*_convolution(2 * width, width))
        self.join4 = nn.Sequential(*_convolution((3 if pictures else 2) * width, width))
        self.fine = nn.Sequential(*_convolution(width, width // 2))
        self.logit = nn.Conv2d(width // 2, 1, 3, 1, 1)
        self.register_buffer("blocks", _block_weights(channels), persistent=False)
        for part in (self.join8, self.join4, self.fine, self.logit):
            initialise(part)
        nn.init.constant_(self.logit.bias, RARE)  # type: ignore[arg-type]

    def forward(self, x: Tensor, features: list[Tensor], restored: Restored | None) -> Tensor:
        fine, middle, coarse = (
            compare(_pair(given, None if restored is None else restored.features[index]))
            for index, (compare, given) in enumerate(zip(self.compare, features, strict=True))
        )
        y = self.join8(torch.cat([_doubled(coarse), middle], 1))
        seen = [_doubled(y), fine]
        if self.compare_pictures is not None:
            picture = F.conv2d(x, self.blocks, stride=BLOCK_PX)
            seen.append(self.compare_pictures(_pair(picture, None if restored is None else restored.picture)))
        logits: Tensor = self.logit(self.fine(_doubled(self.join4(torch.cat(seen, 1)))))
        return logits


def reseg_for(config: TrainConfig, profile: Profile, channels: int) -> ReSeg:
    """The untrained network that the configuration names. Raises ConfigError for one that it is not made for."""
    if config.network not in WIDTHS:
        raise ConfigError(f"network: {config.network} is no encoder for method reseg; take one of {', '.join(WIDTHS)}")
    wishes = config.reseg
    knows = profile.aligned if wishes.places == "auto" else wishes.places == "on"
    return ReSeg(
        channels,
        config.network,
        places_px=(config.crop_px or config.size_px) if knows else None,
        restores=wishes.restores,
        pictures=wishes.compares_pictures,
    )


def blocks_of(pictures: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C 16, H/4, W/4): the 4x4 pixels of a place, row by row, as its channels."""
    return F.pixel_unshuffle(pictures, BLOCK_PX)


def _block_weights(channels: int) -> Tensor:
    """A convolution of stride 4 that does what `blocks_of` does, which engines know no quick way for."""
    return torch.eye(channels * BLOCK_PX**2).reshape(-1, channels, BLOCK_PX, BLOCK_PX)


def _comparison(channels: int, width: int, *, pairs: bool) -> nn.Sequential:
    """Starts as half-wave rectified differences: what is there less what should be, in `width` random directions."""
    layer = nn.Conv2d((2 if pairs else 1) * channels, width, 1, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if pairs:
        with torch.no_grad():
            layer.weight[:, channels:] = -layer.weight[:, :channels]
    return nn.Sequential(layer, nn.BatchNorm2d(width), nn.ReLU())


def _pair(given: Tensor, wanted: Tensor | None) -> Tensor:
    return given if wanted is None else torch.cat([given, wanted], 1)


def _convolution(channels_in: int, channels_out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels_in, channels_out, 3, 1, 1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
