"""All methods by name. To add one: its file, its row here, a preset `configs/train/NAME-fast.yaml`, a test."""

from __future__ import annotations

from sad_runtime.errors import ConfigError
from sad_train.config import TrainConfig
from sad_train.data.profile import Profile
from sad_train.methods import anoseg, backbone, cutpaste, fastflow, nsa, reseg
from sad_train.methods.base import BatchMaker, Learner, Maker, Method

METHODS: dict[str, Method] = {
    "nsa": nsa.METHOD,
    "cutpaste": cutpaste.CUTPASTE,
    "cutpaste_scar": cutpaste.SCAR,
    "cutpaste_3way": cutpaste.THREE_WAY,
    "anoseg": anoseg.METHOD,
    "fastflow": fastflow.METHOD,
    "reseg": reseg.METHOD,
    "backbone": backbone.METHOD,
}


def method_named(name: str) -> Method:
    """Raises ConfigError naming the methods there are."""
    if name not in METHODS:
        raise ConfigError(f"method {name}: there is none of this name, only {', '.join(METHODS)}")
    return METHODS[name]


def maker_for(config: TrainConfig, profile: Profile) -> Maker:
    return method_named(config.method).maker(config, profile)


def batch_maker_for(config: TrainConfig, profile: Profile) -> BatchMaker | None:
    make = method_named(config.method).batch_maker
    return None if make is None else make(config, profile)


def learner_for(config: TrainConfig, profile: Profile, channels: int) -> Learner:
    return method_named(config.method).learner(config, profile, channels)
