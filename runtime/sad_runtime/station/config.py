"""A station's configuration: what a YAML file or a preset may say. `configs/station.yaml` shows every key.

Only its shape is checked here. What it names (bundle, camera, folder) is looked up in selection.py.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from sad_runtime.cameras.base import Setting
from sad_runtime.engines.settings import EngineSettings
from sad_runtime.errors import UsageError
from sad_runtime.faults.schedule import faults_from
from sad_runtime.feed.config import FeedConfig
from sad_runtime.manifest import Roi
from sad_runtime.ops.host_port import HostPort
from sad_runtime.plc.config import PlcConfig
from sad_runtime.scene.config import SceneConfig
from sad_runtime.schema import Strict
from sad_runtime.verdict import Verdict

STATION_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$"


class TriggerMode(str, Enum):
    FREE = "free"
    """Every picture of the camera is a part."""
    INTERVAL = "interval"
    """A part every `interval_ms`."""
    SOFTWARE = "software"
    """A part for every `trigger` command."""
    HARDWARE = "hardware"
    """The line triggers the camera; every picture is a part, in order."""


class CameraConfig(Strict):
    uri: str | None = None
    settings: dict[str, Setting] = {}
    expect: dict[str, str] = {}
    """What the camera must say of itself, like `serial`."""
    silent_after_s: float | None = Field(default=None, gt=0)
    """None: what the kind of camera says."""


class TriggerConfig(Strict):
    mode: TriggerMode = TriggerMode.FREE
    deadline_ms: int = Field(default=1000, ge=10, le=3_600_000)
    interval_ms: int | None = Field(default=None, ge=1, le=3_600_000)
    queue: int = Field(default=8, ge=1, le=64)
    announced: bool = False
    announce_within_ms: int = Field(default=100, ge=1, le=60_000)
    picture_within_ms: int | None = Field(default=None, ge=1, le=60_000)
    """None: 200 for announced parts, the deadline for mode software."""

    @model_validator(mode="after")
    def _interval_has_a_length(self) -> TriggerConfig:
        if self.mode is TriggerMode.INTERVAL and self.interval_ms is None:
            raise ValueError("mode interval needs interval_ms (--interval MS)")
        if self.announced and self.mode is not TriggerMode.HARDWARE:
            raise ValueError(
                "announced goes with mode hardware: there a command tells of each part that the camera sees"
            )
        return self


class RecipeCamera(Strict):
    settings: dict[str, Setting] = {}
    """Over those of the station's camera."""


class RecipeConfig(Strict):
    bundle: str
    threshold: float | None = Field(default=None, allow_inf_nan=False)
    deadline_ms: int | None = Field(default=None, ge=10, le=3_600_000)
    roi: Roi | None = None
    camera: RecipeCamera = RecipeCamera()


class JournalConfig(Strict):
    sync: Literal["normal", "full"] = "normal"
    wait_ms: float = Field(default=5.0, ge=0, le=1000)
    require_records: bool = False
    keep_rows: int = Field(default=2_000_000, ge=1000)
    keep_days: float = Field(default=90.0, gt=0)


class PicturesConfig(Strict):
    keep: list[Verdict] = [Verdict.FAIL, Verdict.INVALID]
    sample_pass: float = Field(default=0.0, ge=0, le=1)
    store: Literal["camera", "model"] = "camera"
    max_mb: int = Field(default=2000, ge=0)
    leave_free_mb: int = Field(default=200, ge=0)
    max_days: float = Field(default=30.0, gt=0)


class MetricsConfig(Strict):
    address: HostPort | None = None
    """None: no metrics are served."""


def _faults(text: str) -> str:
    try:
        faults_from(text)
    except UsageError as error:
        raise ValueError(str(error)) from None
    return text


class StationConfig(Strict):
    station: str = Field(default="line1", pattern=STATION_NAME)
    camera: CameraConfig = CameraConfig()
    trigger: TriggerConfig = TriggerConfig()
    scene: SceneConfig = SceneConfig()
    recipes: dict[int, RecipeConfig] = {}
    warm_recipes: int = Field(default=4, ge=0, le=32)
    trust: list[Annotated[str, Field(min_length=1)]] = []
    active_recipe: int | None = None
    backend: str = "auto"
    precision: str = "fp32"
    threads: int = Field(default=0, ge=0, le=256)
    engines: EngineSettings = EngineSettings()
    feed: FeedConfig = FeedConfig()
    journal: JournalConfig = JournalConfig()
    pictures: PicturesConfig = PicturesConfig()
    metrics: MetricsConfig = MetricsConfig()
    plc: PlcConfig = PlcConfig()
    """For sad-plc; the station itself does not look at it."""
    state: str | None = None
    inject: Annotated[str, AfterValidator(_faults)] = ""
    """Faults to stage, for trying out (faults/schedule.py)."""

    @model_validator(mode="after")
    def _recipes_fit(self) -> StationConfig:
        wrong = [number for number in self.recipes if not 1 <= number <= 65535]
        if wrong:
            raise ValueError(f"recipes: {wrong[0]} is no recipe number; PLCs want 1 to 65535")
        if self.active_recipe is not None and self.active_recipe not in self.recipes:
            known = ", ".join(str(number) for number in sorted(self.recipes)) or "none"
            raise ValueError(f"active_recipe {self.active_recipe} is not among the recipes ({known})")
        return self
