"""From a station's configuration to what it will run: bundle, camera, state folder. Everything is checked before any
device is opened, so that a typing error costs seconds and not a line."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sad_runtime.cameras.base import Camera, Setting
from sad_runtime.cameras.table import camera_for, raw_camera_for
from sad_runtime.engines.settings import EngineSettings
from sad_runtime.errors import BundleError, GateFailed, UsageError
from sad_runtime.faults.schedule import Schedule
from sad_runtime.station.config import RecipeConfig, StationConfig, TriggerMode
from sad_runtime.station.recipes import Recipe, camera_settings, recipe_from
from sad_runtime.station.state_folder import StateFolder, state_root
from sad_runtime.station.versions import rolled_back_to


@dataclass(frozen=True)
class Selection:
    """Checked, and nothing opened yet."""

    config: StationConfig
    recipe: Recipe
    camera: Camera
    folder: StateFolder
    faults: Schedule
    camera_with: Callable[[Mapping[str, Setting]], Camera]
    """The same camera, closed, locked to other settings. Raises UsageError."""


def selected(config: StationConfig, bundle: Path | None = None, threshold: float | None = None) -> Selection:
    """`bundle` and `threshold`: from the command line, before those of the recipe. Raises UsageError."""
    if config.camera.uri is None:
        raise UsageError(
            "which camera? Add --camera 0, --camera folder:PATH or --camera demo:washer, or set camera.uri"
        )
    faults = Schedule(config.inject, time.monotonic_ns())
    waiting = config.trigger.queue if config.trigger.mode is TriggerMode.HARDWARE else 1
    camera_with = partial(camera_for, config.camera.uri, waiting=waiting, faults=faults)
    camera = camera_with(config.camera.settings)
    _check_camera_settings(config)
    root = state_root(config.state)
    folder = StateFolder(root, config.station)
    config = config.model_copy(update={"engines": engines_in(root, config.engines)})
    number, wanted = wanted_recipe(config, bundle, Path.cwd())
    if threshold is not None:
        if not math.isfinite(threshold):
            raise UsageError(f"--threshold {threshold}: nothing can be judged by it; give a number in score units")
        wanted = wanted.model_copy(update={"threshold": threshold})
    recipe = _recipe(number, wanted, config, folder)
    if wanted.camera.settings:
        camera = camera_with(recipe.camera)
    return Selection(config, recipe, camera, folder, faults, camera_with)


def _check_camera_settings(config: StationConfig) -> None:
    """Of every recipe, so that none is found wrong in the middle of a shift."""
    for number, wanted in config.recipes.items():
        if wanted.camera.settings:
            try:
                raw_camera_for(config.camera.uri or "", camera_settings(config, wanted))
            except UsageError as error:
                raise UsageError(f"recipes.{number}.camera.settings: {error}") from None


def _recipe(number: int, wanted: RecipeConfig, config: StationConfig, folder: StateFolder) -> Recipe:
    """Of its own file, or of the version that it is rolled back to."""
    kept = rolled_back_to(folder, number)
    if kept is None:
        return recipe_from(number, wanted, config, folder.thresholds)
    pinned = wanted.model_copy(update={"bundle": str(kept)})
    try:
        return replace(recipe_from(number, pinned, config, folder.thresholds), rolled_back=True)
    except (BundleError, GateFailed) as error:
        raise type(error)(
            f"recipe {number} is rolled back to a version that cannot be used now: {error}. "
            f"To take {wanted.bundle} again, move {folder.versions} away"
        ) from None


def wanted_recipe(config: StationConfig, bundle: Path | None, here: Path) -> tuple[int, RecipeConfig]:
    """The bundle asked for (recipe 0), else the active recipe, else the only bundle in the folder `here`."""
    if bundle is not None:
        return 0, RecipeConfig(bundle=str(bundle))
    if config.active_recipe is not None:
        return config.active_recipe, config.recipes[config.active_recipe]
    if len(config.recipes) == 1:
        return next(iter(config.recipes.items()))
    found = sorted(here.glob("*.sad"))
    if len(found) == 1:
        return 0, RecipeConfig(bundle=str(found[0]))
    if found:
        names = ", ".join(path.name for path in found)
        raise UsageError(f"which of {names}? Add --bundle {found[0].name}")
    raise UsageError(
        f"no bundle: none named, no active recipe, and no *.sad in {here}. "
        "Make one with: sad-export runs/NAME --out NAME.sad; then add --bundle NAME.sad"
    )


def engines_in(root: Path, engines: EngineSettings) -> EngineSettings:
    """With the folder that they are kept in: the one asked for, else STATE/engines."""
    folder = Path(engines.folder).expanduser() if engines.folder else root / "engines"
    return engines.model_copy(update={"folder": str(folder)})
