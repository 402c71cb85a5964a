"""The manifest of a bundle: what a `.sad` file says about itself (DESIGN 4.2, 4.9). Schema 1.

Thresholds belong to a precision: they are set on the very file that runs. A reader refuses a newer schema.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field, field_validator

from sad_runtime.errors import BundleError
from sad_runtime.scene.limits import SceneLimits
from sad_runtime.schema import Strict, parse

SCHEMA = 1


class InputSpec(Strict):
    """What the graph takes: uint8 [N, height, width, channels]; 3 channels are BGR, 1 is grey."""

    height: int = Field(ge=16, le=8192)
    width: int = Field(ge=16, le=8192)
    channels: int

    @field_validator("channels")
    @classmethod
    def _grey_or_colour(cls, channels: int) -> int:
        if channels not in (1, 3):
            raise ValueError(f"a graph takes 1 channel (grey) or 3 (BGR), not {channels}")
        return channels

    @property
    def shape(self) -> tuple[int, int, int]:
        return (self.height, self.width, self.channels)


class PictureSize(Strict):
    """In camera pixels."""

    width: int = Field(ge=1)
    height: int = Field(ge=1)


class Roi(Strict):
    """The part of the camera picture that is judged, in camera pixels."""

    x: int = Field(ge=0)
    y: int = Field(ge=0)
    width: int = Field(ge=1)
    height: int = Field(ge=1)


class Precision(Strict):
    """One model file and the thresholds set on it. Scores and heatmaps are logits or distances, not probabilities."""

    file: str
    sha256: str
    score_threshold: float
    review_threshold: float | None = None
    pixel_threshold: float
    heatmap_low: float
    """The heatmap value of an ordinary good pixel: the cold end of the one fixed colour scale."""
    golden_tolerance: float | None = Field(default=None, ge=0)
    """How far a backend's score may stand from the expected one; None: the bundle's `golden_tolerance`."""
    note: str = ""
    """How the file was made: ranges, layers left in float."""


class DecisionPolicy(Strict):
    """How the thresholds were set. Rates are fractions: 0.002 is 0.2 %."""

    target_false_reject: float | None = Field(ge=0, le=1)
    guaranteed_false_reject: float = Field(ge=0, le=1)
    method: str
    n: int = Field(ge=0)


class Training(Strict):
    method: str
    preset: str
    seed: int
    data_digest: str
    pictures: int
    versions: dict[str, str]
    commit: str | None = None
    minutes: float | None = Field(default=None, ge=0)
    """Wall clock of the training."""
    parameters: int | None = Field(default=None, ge=0)
    """Learnt numbers in the shipped graph."""
    gmac: float | None = Field(default=None, ge=0)
    """Billions of multiply-accumulates a picture."""


class Backbone(Strict):
    name: str
    licence: str


class Golden(Strict):
    """One picture the station proves itself on at each start."""

    file: str
    score: dict[str, float]
    """Expected score by precision."""
    verdict: dict[str, str]
    """Expected verdict by precision."""


class Manifest(Strict):
    schema_version: int = Field(alias="schema", default=SCHEMA)
    part: str
    method: str
    created: str
    input: InputSpec
    roi: Roi | None = None
    judged: PictureSize | None = None
    """What the training pictures showed, after the ROI; None when their sizes differ. Other shapes are refused."""
    ignore: str | None = None
    precisions: dict[str, Precision]
    decision: DecisionPolicy
    golden: list[Golden] = []
    golden_tolerance: float = Field(default=0.02, ge=0)
    """How far a backend's score may stand from the expected one, in score units."""
    scene: SceneLimits | None = None
    """What the station may see before the model is asked; None in bundles of before."""
    training: Training
    backbone: Backbone | None = None

    @field_validator("scene", mode="before")
    @classmethod
    def _none_learnt(cls, scene: object) -> object:
        return None if scene == {} else scene  # as bundles had it before there were limits

    def to_json(self) -> bytes:
        text = json.dumps(self.model_dump(by_alias=True), indent=2, sort_keys=True, allow_nan=False)
        return text.encode() + b"\n"


def manifest_from_json(data: bytes, where: str) -> Manifest:
    """Raises BundleError for what is not JSON or has a newer schema, ConfigError for what does not fit."""
    try:
        values: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where}: the manifest is not JSON ({error})") from None
    schema = values.get("schema") if isinstance(values, dict) else None
    if type(schema) is not int or schema < 1:
        raise BundleError(f"{where}: the manifest does not say which schema it follows; is this a sad bundle?")
    if schema > SCHEMA:
        raise BundleError(
            f"{where}: made for bundle schema {schema}, this sad reads up to {SCHEMA}. "
            "Run: pip install --upgrade sad-inspection"
        )
    return parse(Manifest, values, f"{where}: manifest.json")
