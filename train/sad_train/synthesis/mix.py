"""The anomalies that `reseg` learns from: kinds by their shares, one or more in a picture, labelled by what changed.

Shares are ours, chosen on rendered parts. NSA's blends lead; the other kinds are what blends are poor in: tiny, thin,
faint, deformed, missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sad_runtime.errors import ConfigError
from sad_train.config import TrainConfig
from sad_train.data.profile import Profile
from sad_train.pixels import Picture
from sad_train.synthesis.cutpaste import CutPasteRecipe, cutpaste
from sad_train.synthesis.foreground import Background, foreground
from sad_train.synthesis.hairline import hairline
from sad_train.synthesis.hard_augmentation import HardRecipe, hard_anomaly
from sad_train.synthesis.labels import anomaly_label
from sad_train.synthesis.local_change import local_change
from sad_train.synthesis.missing_part import missing_part
from sad_train.synthesis.nsa import NsaRecipe, nsa_anomaly
from sad_train.synthesis.nsa_recipe import recipe_for
from sad_train.synthesis.own_texture import own_texture
from sad_train.synthesis.pasted import Pasted
from sad_train.synthesis.places import Mask
from sad_train.synthesis.scar import ScarRecipe, scar
from sad_train.synthesis.spot import spot

Source = Callable[[], Picture]

SHARES = {
    "nsa": 0.36,
    "cutpaste": 0.06,
    "hard": 0.08,
    "scar": 0.06,
    "hairline": 0.10,
    "spot": 0.10,
    "texture": 0.10,
    "change": 0.08,
    "missing": 0.06,
}
THIN = ("scar", "hairline", "spot")
MAX_DRAWS = 6
AGAIN = 1 / 3
"""Chance of a further kind in the same picture."""
CUTPASTE_AREA = (0.0015, 0.06)
"""Smaller than the paper's 0.02 to 0.15: large patches are found soon enough."""
SHOWN = 0.5
"""The clearest pixel of an anomaly is labelled above this, or it is drawn again."""


@dataclass(frozen=True)
class Mix:
    shares: dict[str, float]
    most_kinds: int
    background: Background | None
    logistic: tuple[float, float]
    nsa: NsaRecipe
    cutpaste: CutPasteRecipe
    scar: ScarRecipe
    hard: HardRecipe


@dataclass(frozen=True)
class Mixed:
    picture: Picture
    label: NDArray[np.float32]
    """(H, W) 0..1."""
    kinds: tuple[str, ...]


def mix_for(config: TrainConfig, profile: Profile) -> Mix:
    """Raises ConfigError for a kind that there is not."""
    if unknown := config.reseg.mix.keys() - SHARES.keys():
        raise ConfigError(f"reseg.mix: no kind {', '.join(sorted(unknown))}; there are {', '.join(SHARES)}")
    shares = SHARES | config.reseg.mix
    if not sum(shares.values()) > 0 or min(shares.values()) < 0:
        raise ConfigError("reseg.mix: shares must be 0 or more, and one of them above 0")
    wishes, side = config.cutpaste, (config.crop_px or config.size_px) / 256
    return Mix(
        shares={name: share / sum(shares.values()) for name, share in shares.items()},
        most_kinds=config.reseg.most_kinds,
        background=profile.background,
        logistic=profile.logistic,
        nsa=recipe_for(config.nsa, profile),
        cutpaste=CutPasteRecipe(CUTPASTE_AREA, wishes.aspect, wishes.jitter),
        scar=ScarRecipe(
            width_px=_scaled(wishes.scar_width_px, side),
            length_px=_scaled(wishes.scar_length_px, side),
            rotation_deg=180,
            jitter=wishes.jitter,
        ),
        hard=HardRecipe(config.anoseg.areas, 2, profile.noise_floor),
    )


def _scaled(range_px: tuple[float, float], by: float) -> tuple[float, float]:
    return max(1.0, range_px[0] * by), max(1.0, range_px[1] * by)


def mixed_anomaly(good: Picture, source: Source, mix: Mix, rng: np.random.Generator) -> Mixed | None:
    """`good` (H, W, C) with one to `most_kinds` kinds of anomalies; None when nothing drawn shows."""
    part = foreground(good, mix.background)
    picture, label = good, np.zeros(part.shape, np.float32)
    kinds: list[str] = []
    other: list[Picture] = []

    def another() -> Picture:
        """The same source for all kinds: a pose of it is drawn but once, and only if it is wanted."""
        if not other:
            other.append(source())
        return other[0]

    names, shares = list(mix.shares), list(mix.shares.values())
    for _ in range(MAX_DRAWS):
        if len(kinds) == mix.most_kinds or (kinds and rng.random() > AGAIN):
            break
        kind = names[int(rng.choice(len(names), p=shares))]
        made = _made(kind, picture, another, part, mix, rng)
        if made is None or made.label.max() <= SHOWN:
            continue
        picture, label = made.picture, np.maximum(label, made.label)
        kinds.append(kind)
    return Mixed(picture, label, tuple(kinds)) if kinds else None


def _made(kind: str, picture: Picture, source: Source, part: Mask, mix: Mix, rng: np.random.Generator) -> Mixed | None:
    if kind == "nsa":
        blended = nsa_anomaly(picture, source(), mix.nsa, rng)
        return Mixed(blended.picture, blended.label, (kind,))
    if kind == "hard":
        hard = hard_anomaly(picture, mix.hard, rng)
        return _labelled(picture, Pasted(hard.picture, hard.mask), mix, thin=False)
    pasted = _PASTES[kind](picture, source, part, mix, rng)
    if pasted is None or not (pasted.mask & part).any():
        return None
    return _labelled(picture, pasted, mix, thin=kind in THIN)


def _labelled(before: Picture, pasted: Pasted, mix: Mix, *, thin: bool) -> Mixed:
    """By how far each pixel changed, as in NSA; thin ones without a median, which would take hairlines away."""
    patch_px = 1 if thin else round(float(np.sqrt(np.count_nonzero(pasted.mask))))
    label = anomaly_label(before, pasted.picture, pasted.mask, "logistic", mix.logistic, patch_px=patch_px)
    return Mixed(pasted.picture, label, ())


_PASTES: dict[str, Callable[[Picture, Source, Mask, Mix, np.random.Generator], Pasted | None]] = {
    "cutpaste": lambda picture, source, part, mix, rng: cutpaste(picture, mix.cutpaste, rng),
    "scar": lambda picture, source, part, mix, rng: scar(picture, mix.scar, rng),
    "hairline": lambda picture, source, part, mix, rng: hairline(picture, part, rng),
    "spot": lambda picture, source, part, mix, rng: spot(picture, part, rng),
    "texture": lambda picture, source, part, mix, rng: own_texture(picture, source(), part, rng),
    "change": lambda picture, source, part, mix, rng: local_change(picture, part, rng),
    "missing": lambda picture, source, part, mix, rng: missing_part(picture, part, rng),
}
