"""Which pretrained encoder a run builds on: a file or run that the user names, or one learnt for this run first.

What a house backbone learns is methods/backbone.py's; reading weights is networks/backbone_file.py's.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from sad_runtime.errors import DataError, UsageError
from sad_runtime.manifest import Backbone
from sad_runtime.presets import preset_path
from sad_runtime.schema import parse, yaml_values
from sad_train.config import TrainConfig
from sad_train.data.split import Split
from sad_train.networks.backbone_file import HOUSE_METHOD, load_backbone, read_backbone
from sad_train.networks.trunks import trunk_for
from sad_train.run import Run

log = logging.getLogger("sad-train")

STAGES = 3
"""Maps at strides 4, 8 and 16, as FastFlow is published over ResNets."""
OWN_PICTURES = "none needed: learnt from the site's own pictures"
HANDED_ON = (
    *("network", "size_px", "crop_px", "centre_px", "flip", "roi", "nuisance"),
    *("seed", "calibration_share", "validation_share", "workers", "checkpoint_every_s", "compile"),
)
"""What a run's own house backbone takes over from it; the rest is its preset's. The shares only say which pictures it
is learnt from, so that one learnt from others is not taken for it."""


def builds_on_backbone(config: TrainConfig) -> bool:
    return config.method == "fastflow"


def wants_house_backbone(config: TrainConfig) -> bool:
    """Whether one must be learnt first."""
    return builds_on_backbone(config) and config.fastflow.backbone is None


def house_run(run: Run) -> Run:
    """Where a run's own house backbone is learnt."""
    return Run(run.folder / HOUSE_METHOD)


def backbone_path(named: str | None, folder: Path) -> Path:
    """Where the weights of a run in `folder` come from: what the user named, or what was learnt for it."""
    return house_run(Run(folder)).folder if named is None else Path(named).expanduser()


def house_config(config: TrainConfig, channels: int) -> TrainConfig:
    """The configuration of the house backbone that the run of `config` wants."""
    preset = _preset(config.preset)
    own: dict[str, Any] = yaml_values(preset)
    given = config.model_dump(mode="json")
    steps = config.fastflow.backbone_steps or min(own["steps"], config.steps)
    values = own | {key: given[key] for key in HANDED_ON} | {"channels": channels, "steps": steps}
    return parse(TrainConfig, values, str(preset))


def named_backbone(config: TrainConfig, run: Run, split: Split, channels: int) -> Backbone | None:
    """What goes into the bundle about the encoder; None for methods without one.

    The weights are tried here, so that a wrong file is refused before anything of the run is written.
    """
    if not builds_on_backbone(config):
        return None
    file = read_backbone(backbone_path(config.fastflow.backbone, run.folder))
    load_backbone(trunk_for(config.network, channels, stages=STAGES), file, config.network)
    if file.house is None:
        return Backbone(name=file.name, licence=config.fastflow.backbone_licence)
    known = _calibration_pictures_seen(file.path, split)
    if known is None:
        log.warning("%s: its list of pictures is gone, so whether it saw calibration pictures is not known", file.path)
    elif known:
        log.warning(
            "%s learnt from %d of the %d pictures that the threshold will be set on, so more good parts may be "
            "rejected than promised. Give both trainings the same --seed and pictures",
            *(file.path, known, len(split.calibration)),
        )
    return Backbone(name=file.name, licence=OWN_PICTURES)


def _calibration_pictures_seen(path: Path, split: Split) -> int | None:
    """None where the checkpoint alone was handed on and nothing is known of its pictures."""
    folder = path if path.is_dir() else path.parent
    try:
        learnt = {picked.sha256 for picked in Run(folder).split().train}
    except DataError:
        return None
    return sum(picked.sha256 in learnt for picked in split.calibration)


def _preset(name: str) -> Path:
    try:
        return preset_path(f"train/{HOUSE_METHOD}-{name}")
    except UsageError:  # a preset of the user's own making
        return preset_path(f"train/{HOUSE_METHOD}-fast")
