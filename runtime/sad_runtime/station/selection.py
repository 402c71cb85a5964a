"""From a station's configuration to what it will run: bundle, camera, state folder. Everything is checked before any
device is opened, so that a typing error costs seconds and not a line."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

from sad_runtime.cameras.base import Camera
from sad_runtime.cameras.table import camera_for
from sad_runtime.engines.settings import EngineSettings
from sad_runtime.errors import UsageError
from sad_runtime.faults.schedule import Schedule
from sad_runtime.station.config import RecipeConfig, StationConfig, TriggerMode
from sad_runtime.station.recipes import Recipe, recipe_from
from sad_runtime.station.state_folder import StateFolder, default_state_root


@dataclass(frozen=True)
class Selection:
    """Checked, and nothing opened yet."""

    config: StationConfig
    recipe: Recipe
    camera: Camera
    folder: StateFolder
    faults: Schedule


def selected(config: StationConfig, bundle: Path | None = None, threshold: float | None = None) -> Selection:
    """`bundle` and `threshold`: from the command line, before those of the recipe. Raises UsageError."""
    if config.camera.uri is None:
        raise UsageError(
            "which camera? Add --camera 0, --camera folder:PATH or --camera demo:washer, or set camera.uri"
        )
    faults = Schedule(config.inject, time.monotonic_ns())
    waiting = config.trigger.queue if config.trigger.mode is TriggerMode.HARDWARE else 1
    camera = camera_for(config.camera.uri, config.camera.settings, waiting=waiting, faults=faults)
    root = state_root(config)
    folder = StateFolder(root, config.station)
    config = config.model_copy(update={"engines": engines_in(root, config.engines)})
    number, wanted = wanted_recipe(config, bundle, Path.cwd())
    if threshold is not None:
        if not math.isfinite(threshold):
            raise UsageError(f"--threshold {threshold}: nothing can be judged by it; give a number in score units")
        wanted = wanted.model_copy(update={"threshold": threshold})
    return Selection(config, recipe_from(number, wanted, config, folder.thresholds), camera, folder, faults)


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


def state_root(config: StationConfig) -> Path:
    return Path(config.state).expanduser() if config.state else default_state_root()


def engines_in(root: Path, engines: EngineSettings) -> EngineSettings:
    """With the folder that they are kept in: the one asked for, else STATE/engines."""
    folder = Path(engines.folder).expanduser() if engines.folder else root / "engines"
    return engines.model_copy(update={"folder": str(folder)})


def shifted(address: str, ports: int) -> str:
    """`address` with its TCP port moved by `ports`, for the next station of a box; others stay as they are."""
    head, colon, port = address.rpartition(":")
    return f"{head}{colon}{int(port) + ports}" if address.startswith("tcp://") and port.isdigit() else address
