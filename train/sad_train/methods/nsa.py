"""Method `nsa`: a segmentation network trained to find Poisson-blended patches of other good pictures.

Schlüter et al., ECCV 2022 (see synthesis/nsa.py). Two presets: `paper` reproduces the reference network, schedule and
per-class constants; `fast` trains a small network on a CPU with constants measured from the good set, and adds clean
negatives under nuisance light and pose, which the paper does not have.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sad_runtime.errors import ConfigError
from sad_train.config import NsaConfig, TrainConfig
from sad_train.methods.nsa_tables import PAPER_CLASSES
from sad_train.profile import Profile
from sad_train.synthesis.foreground import Background
from sad_train.synthesis.nsa import NsaRecipe

PAPER_SIZE = (0.03, 0.05)
HALF_SIZE = (0.012, 0.025)
"""Half the patch sizes of the paper, which start at 15 px of 256. On rendered washers (600 steps of 8, seed 0) they
lift image AUROC from 0.73 to 0.86; the paper's own stay in the mix for the sake of large defects."""


def recipe_for(config: NsaConfig, profile: Profile) -> NsaRecipe:
    """The constants in force: what the configuration says, else the paper's table, else what the set measures."""
    recipe = _paper_recipe(config.paper_class) if config.paper_class else _measured_recipe(profile)
    changes: dict[str, object] = {
        name: value
        for name in ("max_patches", "sizes", "half_height", "half_width", "resize", "min_object", "logistic")
        if (value := getattr(config, name)) is not None
    }
    if config.gradients is not None:
        changes["mixed"] = config.gradients == "mixed"
    if config.background is not None:
        changes["background"] = Background(*config.background)
    return replace(recipe, label=config.label, min_overlap=config.min_overlap, **changes)  # type: ignore[arg-type]


def _paper_recipe(name: str) -> NsaRecipe:
    if name not in PAPER_CLASSES:
        raise ConfigError(f"nsa.paper_class: the paper has no class '{name}'; it has {', '.join(PAPER_CLASSES)}")
    row = PAPER_CLASSES[name]
    return NsaRecipe(
        label="logistic",
        mixed=row.texture,
        max_patches=row.max_patches,
        half_height=row.half_height,
        half_width=row.half_width,
        resize=(0.5, 2.0) if row.texture else (0.7, 1.3),
        sizes=(PAPER_SIZE,),
        min_changed_px=50,
        background=Background(*row.background) if row.background else None,
        min_object=row.min_object,
        min_overlap=0.25,
        logistic=row.logistic,
    )


def _measured_recipe(profile: Profile) -> NsaRecipe:
    texture = profile.kind == "texture"
    top, left, bottom, right = profile.foreground_box
    return NsaRecipe(
        label="logistic",
        mixed=texture,
        max_patches=4,
        sizes=(HALF_SIZE, PAPER_SIZE),
        min_changed_px=16,
        half_height=(HALF_SIZE[0], float(np.clip(0.4 * (bottom - top), 0.08, 0.40))),
        half_width=(HALF_SIZE[0], float(np.clip(0.4 * (right - left), 0.08, 0.40))),
        resize=(0.5, 2.0) if texture else (0.7, 1.3),
        background=profile.background,
        min_object=0.5,
        min_overlap=0.25,
        logistic=profile.logistic,
    )


def loss(logits: Tensor, labels: Tensor, config: TrainConfig) -> Tensor:
    """Binary cross-entropy of logits (N, 1, H, W) with soft labels (N, H, W); squared error for continuous labels."""
    if config.nsa.label == "continuous":
        return F.mse_loss(torch.sigmoid(logits[:, 0]), labels)
    return F.binary_cross_entropy_with_logits(logits[:, 0], labels)
