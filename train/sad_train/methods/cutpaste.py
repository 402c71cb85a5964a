"""Methods `cutpaste`, `cutpaste_scar`, `cutpaste_3way`: a classifier learns to tell pastes from good pictures.

Li et al., CVPR 2021 (see synthesis/cutpaste.py). What it learnt to look at is then the score: how far a picture's
embedding is from those of good pictures. The heatmap comes from a second, small network that learns the same on crops
and judges all crops of a picture in one pass; the paper's whole-picture network localises through Grad-CAM only
(gradcam.py). Both train in the same run and share nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sad_runtime.errors import ConfigError
from sad_train.config import TrainConfig
from sad_train.data.profile import Profile
from sad_train.methods.base import Batch, Learner, Maker, Method, Outcome, Sample, Source
from sad_train.networks.encoders import encoder_for
from sad_train.networks.field_spread import FieldSpread
from sad_train.networks.gaussian_density import FEWEST, GaussianDensity
from sad_train.networks.patch_density import PatchDensity
from sad_train.networks.patch_net import STRIDE_PX, PatchNet
from sad_train.networks.seen import Seen
from sad_train.pixels import Picture
from sad_train.synthesis.cutpaste import CutPasteRecipe, cutpaste
from sad_train.synthesis.pasted import MAX_DRAWS, VISIBLE, Pasted
from sad_train.synthesis.scar import ScarRecipe, scar

PAPER_PX = 256
"""The side of the pictures that the paper's scars are measured on."""
PATCH_PX, SMALL_PATCH_PX = 64, 32
"""Sides of crops: the paper's, and that of pictures in which such crops would be more than a quarter of the side."""


class CutPasteMaker(Maker):
    """Kinds follow each other through the slots of a batch: 0 good, then one a pretext.

    Beside the picture stands a strip of crops of it, one below the other, each with a kind of its own: `patch` (m p, p,
    C) uint8 and `patch_kind` (m,). A crop on which no paste shows is of kind 0 too; the outcome is the picture's.
    """

    def __init__(self, config: TrainConfig, profile: Profile, names: tuple[str, ...]) -> None:
        self.pretexts = [pretext_named(name, config) for name in names]
        self.ways = 1 + len(names)
        if config.batch % self.ways:
            raise ConfigError(
                f"batch: {config.batch} does not divide by {self.ways}, the kinds of pictures of method "
                f"{config.method}; take {max(1, round(config.batch / self.ways)) * self.ways}"
            )
        self.patch_px = patch_px_of(config)
        self.patches = config.cutpaste.patches

    def sample(self, slot: int, destination: Picture, source: Source, rng: np.random.Generator) -> Sample:
        wanted = slot % self.ways
        picture, kind = self._made(destination, wanted, rng)
        wide = _mirrored(destination, margin_px(self.patch_px))
        kinds = [(slot + index) % self.ways for index in range(self.patches)]
        crops, made = zip(*(self._made(self._crop(wide, rng), kind, rng) for kind in kinds), strict=True)
        values = {
            "picture": picture,
            "kind": np.int64(kind),
            "patch": np.concatenate(crops),
            "patch_kind": np.array(made, np.int64),
        }
        if kind != wanted:
            return Sample(values, Outcome.NO_PLACE)
        return Sample(values, Outcome.ANOMALOUS if kind else Outcome.CLEAN)

    def _made(self, picture: Picture, kind: int, rng: np.random.Generator) -> tuple[Picture, int]:
        """The picture with a paste of the kind, or as it is, of kind 0, where no paste shows."""
        pasted = self.pretexts[kind - 1](picture, rng=rng) if kind else None
        return (picture, 0) if pasted is None else (pasted.picture, kind)

    def _crop(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """A crop from anywhere that has something on it, as far as there is such a place. Alike for all kinds."""
        side = self.patch_px
        for _ in range(MAX_DRAWS):
            top, left = (int(rng.integers(0, length - side + 1)) for length in picture.shape[:2])
            crop = picture[top : top + side, left : left + side]
            if crop.std() >= VISIBLE:
                break
        return crop


class CutPasteNetwork(nn.Module):
    """(N, C, side, side) normalised -> Seen: the crops' distances as heatmap, the picture's as score."""

    judged: Tensor
    """1 where the whole picture's features may look, broadcast to (1, 1, side, side)."""

    def __init__(self, config: TrainConfig, profile: Profile, channels: int) -> None:
        super().__init__()
        side, patch_px = _seen_px(config), patch_px_of(config)
        self.register_buffer("judged", torch.ones(1, 1, 1, 1), persistent=False)
        self.encoder = encoder_for(config, channels)
        self.density = GaussianDensity(self.encoder.width)
        self.patches = PatchNet(channels, patch_px)
        self.margin_px = margin_px(patch_px)
        places = side // STRIDE_PX + 1
        self.patch_density = PatchDensity(self.patches.size, places, by_place=profile.aligned)
        self.spread = FieldSpread(side, patch_px, STRIDE_PX, self.margin_px)

    def forward(self, x: Tensor) -> Seen:
        features = self.features(x)
        distances = self.patch_density(self.embedded_crops(x))
        return Seen(self.spread(distances), features, self.density(features.mean((2, 3))))

    def features(self, x: Tensor) -> Tensor:
        """(N, K, h, w): of the whole picture, less what is not to be judged."""
        features: Tensor = self.encoder(x * self.judged)
        return features

    def embedded_crops(self, x: Tensor) -> Tensor:
        """(N, K, side / STRIDE_PX + 1, the same): of the crops around every STRIDE_PX-th pixel, borders included."""
        embedded: Tensor = self.patches(F.pad(x, [self.margin_px] * 4, mode="reflect"))
        return embedded


class CutPasteLearner(Learner):
    """The heads are for training only: embeddings are taken before them."""

    network: CutPasteNetwork

    def __init__(self, config: TrainConfig, profile: Profile, channels: int, names: tuple[str, ...]) -> None:
        super().__init__()
        ways = 1 + len(names)
        self.network = CutPasteNetwork(config, profile, channels)
        self.head = _head(self.network.density.size, ways)
        self.patch_head = _head(self.network.patches.size, ways)
        self.patch_px = patch_px_of(config)

    def logits(self, features: Tensor) -> Tensor:
        """(N, K, h, w) features of whole pictures -> (N, ways), the first that of good ones."""
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        logits = self.logits(self.network.encoder(batch["picture"]))
        embedded = self.network.patches(_crops(batch["patch"], self.patch_px))
        return {
            "picture": F.cross_entropy(logits.float(), batch["kind"]),
            "patch": F.cross_entropy(self.patch_head(embedded.flatten(1)).float(), batch["patch_kind"].flatten()),
        }

    def settle(self, goods: Callable[[], Iterator[Tensor]]) -> None:
        network = self.network
        network.density.fit(network.features(pictures).mean((2, 3)) for pictures in goods())
        network.patch_density.fit(lambda: (network.embedded_crops(pictures) for pictures in goods()))

    @property
    def judges(self) -> bool:
        return self.network.density.fitted


def patch_px_of(config: TrainConfig) -> int:
    """The side of crops. Raises ConfigError when they do not fit the picture."""
    side = _seen_px(config)
    patch_px = config.cutpaste.patch_px or (PATCH_PX if side >= 4 * PATCH_PX else SMALL_PATCH_PX)
    if 2 * patch_px > side:
        raise ConfigError(
            f"cutpaste.patch_px: crops of {patch_px} px are more than half of a picture of {side} px; "
            f"take size_px {2 * patch_px} or more"
            + (f", or patch_px {side // 2}" if side >= 2 * SMALL_PATCH_PX else "")
        )
    return patch_px


def margin_px(patch_px: int) -> int:
    """How far the picture is mirrored beyond its borders, so that crops have their middles in all of it."""
    return patch_px // 2


def _seen_px(config: TrainConfig) -> int:
    return config.crop_px or config.size_px


def pretext_named(name: str, config: TrainConfig) -> Callable[..., Pasted | None]:
    """Scars keep in a crop the size that they have in the whole picture; a rectangle is a share of what it is in."""
    wishes = config.cutpaste
    if name == "cutpaste":
        return partial(cutpaste, recipe=CutPasteRecipe(wishes.area, wishes.aspect, wishes.jitter))
    width, length = (_scaled(range_px, _seen_px(config)) for range_px in (wishes.scar_width_px, wishes.scar_length_px))
    return partial(scar, recipe=ScarRecipe(width, length, wishes.scar_rotation_deg, wishes.jitter))


def _scaled(range_px: tuple[float, float], side: int) -> tuple[float, float]:
    return range_px[0] * side / PAPER_PX, range_px[1] * side / PAPER_PX


def _mirrored(picture: Picture, margin: int) -> Picture:
    return np.pad(picture, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")


def _head(size: int, ways: int) -> nn.Sequential:
    """The projection head: its depth is not published; re-implementations found shallow ones better."""
    return nn.Sequential(
        *(nn.Linear(size, size), nn.BatchNorm1d(size), nn.ReLU()),
        *(nn.Linear(size, 128), nn.BatchNorm1d(128), nn.ReLU()),
        nn.Linear(128, ways),
    )


def _crops(strips: Tensor, side: int) -> Tensor:
    """(N, C, m side, side) -> (N m, C, side, side)."""
    count, channels, height, _ = strips.shape
    crops = strips.reshape(count, channels, height // side, side, side).transpose(1, 2)
    return crops.reshape(-1, channels, side, side)


def _method(summary: str, *names: str) -> Method:
    maker, learner = partial(CutPasteMaker, names=names), partial(CutPasteLearner, names=names)
    return Method(summary, maker, learner, least_pictures=FEWEST, scores=True, logits=False)


CUTPASTE = _method("tells pictures with a pasted rectangle from good ones", "cutpaste")
SCAR = _method("tells pictures with a pasted thin scar from good ones", "scar")
THREE_WAY = _method("tells good pictures, pasted rectangles and scars apart", "cutpaste", "scar")
