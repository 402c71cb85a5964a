"""Where NSA's constants come from: the configuration, the paper's table, or the good set itself.

`probe_recipe` is what every method's validation, previews and parity pictures are made with, whatever it trains on, so
that methods can be compared on them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sad_runtime.errors import ConfigError
from sad_train.config import NsaConfig
from sad_train.data.profile import Profile
from sad_train.synthesis.foreground import Background
from sad_train.synthesis.nsa import NsaRecipe
from sad_train.synthesis.nsa_tables import PAPER_CLASSES

PAPER_SIZE = (0.03, 0.05)
HALF_SIZE = (0.012, 0.025)
"""Half the patch sizes of the paper, which start at 15 px of 256. On rendered washers (600 steps of 8, seed 0) they
lift image AUROC from 0.73 to 0.86; the paper's own stay in the mix for the sake of large defects."""

RECIPE_KEYS = (
    "gradients",
    "max_patches",
    "sizes",
    "half_height",
    "half_width",
    "resize",
    "min_object",
    "min_object_of",
    "logistic",
)
"""What a configuration may say in place of the table or the measurement."""


def probe_recipe(profile: Profile) -> NsaRecipe:
    return recipe_for(NsaConfig(), profile)


def recipe_for(config: NsaConfig, profile: Profile) -> NsaRecipe:
    """The constants in force: what the configuration says, else the paper's table, else what the set measures."""
    recipe = _paper_recipe(config.paper_class) if config.paper_class else _measured_recipe(profile)
    changes: dict[str, object] = {name: value for name in RECIPE_KEYS if (value := getattr(config, name)) is not None}
    if config.background is not None:
        changes["background"] = Background(*config.background)
    always = {"label": config.label, "shape": config.shape, "min_overlap": config.min_overlap}
    return replace(recipe, **always, **changes)  # type: ignore[arg-type]


def _paper_recipe(name: str) -> NsaRecipe:
    if name not in PAPER_CLASSES:
        raise ConfigError(f"nsa.paper_class: the paper has no class '{name}'; it has {', '.join(PAPER_CLASSES)}")
    row = PAPER_CLASSES[name]
    return NsaRecipe(
        label="logistic",
        gradients="mixed" if row.texture else "source",
        max_patches=row.max_patches,
        half_height=row.half_height,
        half_width=row.half_width,
        resize=(0.5, 2.0) if row.texture else (0.7, 1.3),
        sizes=(PAPER_SIZE,),
        min_changed_px=50,
        background=Background(*row.background) if row.background else None,
        min_object=row.min_object,
        min_object_of="source",
        min_overlap=0.25,
        logistic=row.logistic,
    )


def _measured_recipe(profile: Profile) -> NsaRecipe:
    texture = profile.kind == "texture"
    top, left, bottom, right = profile.foreground_box
    return NsaRecipe(
        label="logistic",
        gradients="mixed" if texture else "source",
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
