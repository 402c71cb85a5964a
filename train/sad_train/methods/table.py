"""All methods by name. To add one: its file, its row here, a preset `configs/train/NAME-fast.yaml`, a test."""

from __future__ import annotations

from sad_runtime.errors import ConfigError
from sad_train.config import TrainConfig
from sad_train.methods import nsa
from sad_train.methods.base import Learner, Maker, Method
from sad_train.profile import Profile

METHODS: dict[str, Method] = {
    "nsa": nsa.METHOD,
}


def method_named(name: str) -> Method:
    """Raises ConfigError naming the methods there are."""
    if name not in METHODS:
        raise ConfigError(f"method {name}: there is none of this name, only {', '.join(METHODS)}")
    return METHODS[name]


def maker_for(config: TrainConfig, profile: Profile) -> Maker:
    return method_named(config.method).maker(config, profile)


def learner_for(config: TrainConfig, profile: Profile, channels: int) -> Learner:
    return method_named(config.method).learner(config, profile, channels)
