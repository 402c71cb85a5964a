"""The calibration cache: how large each tensor gets, by every method, bound to the very fp32 model it was seen in.

Plain JSON, so that ranges measured on one machine make the INT8 model on another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone

import numpy as np
from pydantic import Field, field_validator, model_validator

from sad_calibration.int8.activations import conv_inputs, observed, picture_shape, picture_tensors
from sad_calibration.int8.amplitude import METHODS, amplitude, check_method
from sad_calibration.int8.histogram import Histogram
from sad_calibration.int8.mean_square import STEPS
from sad_calibration.int8.pictures import Pictures, PictureSet, check_pictures
from sad_runtime.bundle import sha256_hex
from sad_runtime.cli.command import version
from sad_runtime.errors import ConfigError
from sad_runtime.schema import Strict, parse

SCHEMA = 1


class Coverage(Strict):
    """What the anomalies added to the good pictures, and what no picture reached."""

    tensors: int = Field(ge=1)
    beyond_good: float | None = Field(ge=0, le=1)
    """Share of the tensors that got larger over the anomalies than over any good picture; None without anomalies."""
    farthest: str | None
    """The tensor they raised most, and how many times the good pictures' largest value it reached."""
    farthest_ratio: float | None = Field(ge=0)
    dead: list[str]
    """Tensors that were never anything but 0; they hold DEAD_AMPLITUDE by every method."""

    @property
    def text(self) -> str:
        """For a person."""
        dead = f"; never anything but 0: {', '.join(self.dead)}" if self.dead else ""
        if self.beyond_good is None:
            return f"ranges of {self.tensors} tensors from good pictures alone{dead}"
        most = f", farthest in '{self.farthest}' ({self.farthest_ratio:.2f} times)" if self.beyond_good else ""
        reached = round(self.beyond_good * self.tensors)
        return f"anomalies go beyond the good pictures in {reached} of {self.tensors} tensors{most}{dead}"


class Ranges(Strict):
    """Amplitude: the |x| that becomes 127; the scale of a Q/DQ pair is amplitude / 127."""

    schema_version: int = Field(alias="schema", default=SCHEMA, ge=1, le=SCHEMA)
    model_digest: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of the fp32 graph that they were measured on, as sad-export makes INT8 from it (joined maps split)."""
    amplitudes: dict[str, dict[str, float]]
    """By method, then tensor."""
    pictures: PictureSet
    coverage: Coverage
    sad_version: str
    created: str

    @field_validator("amplitudes")
    @classmethod
    def _usable(cls, amplitudes: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
        if set(amplitudes) != set(METHODS):
            raise ValueError(f"the methods are {', '.join(METHODS)}, all of them")
        named = {method: sorted(by_tensor) for method, by_tensor in amplitudes.items()}
        if any(names != named["max"] for names in named.values()) or not named["max"]:
            raise ValueError("every method gives an amplitude to the same tensors, one at least")
        for method, by_tensor in amplitudes.items():
            for tensor, value in by_tensor.items():
                check_amplitude(value, f"{method}.{tensor}")
        return amplitudes

    @model_validator(mode="after")
    def _of_one_set(self) -> Ranges:
        if self.coverage.tensors != len(self.amplitudes["max"]):
            raise ValueError(f"the coverage is of {self.coverage.tensors} tensors, not of those with an amplitude")
        return self

    def of(self, method: str) -> Mapping[str, float]:
        """Amplitude by tensor. Raises UsageError for a method that there is not."""
        check_method(method)
        return self.amplitudes[method]

    def to_json(self) -> bytes:
        return json.dumps(self.model_dump(by_alias=True), indent=1, allow_nan=False).encode() + b"\n"


def check_amplitude(value: float, where: str) -> None:
    """Raises ValueError for one whose float32 scale would be 0, denormal or infinite."""
    limits = np.finfo(np.float32)
    if not float(limits.tiny) <= value / STEPS <= float(limits.max):
        raise ValueError(f"{where}: an amplitude is a finite number above 0, not {value}")


def ranges_from_json(data: bytes, where: str, *, model: bytes) -> Ranges:
    """The cache in `data`, for the fp32 ONNX file `model`. Raises ConfigError; `where` names the file to a person."""
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: these INT8 ranges are not JSON ({error})") from None
    schema = values.get("schema") if isinstance(values, dict) else None
    if type(schema) is int and schema > SCHEMA:
        raise ConfigError(
            f"{where}: INT8 ranges of schema {schema}, this sad reads up to {SCHEMA}. "
            "Run: pip install --upgrade sad-inspection"
        )
    ranges = parse(Ranges, values, where)
    digest = sha256_hex(model)
    if ranges.model_digest != digest:
        raise ConfigError(
            f"{where}: these INT8 ranges are of another model ({ranges.model_digest[:12]}, this one is {digest[:12]}); "
            "used here they would clip or coarsen at random. Calibrate again on this model"
        )
    return ranges


def ranges_of(
    model: bytes,
    goods: Pictures,
    anomalies: Pictures = (),
    *,
    tensors: Sequence[str] | None = None,
    threads: int = 0,
) -> Ranges:
    """Runs the fp32 ONNX file over all pictures, (H, W, C) uint8 each. `tensors`: those that feed a Conv, if not given.

    Tensors that are only the picture, scaled, get the range of black to white by every method: what a lamp or a
    defect may show is known beforehand, and TensorRT's entropy would clip a bright picture at half its range.
    Raises DataError for pictures that cannot be used, BackendError for a model that cannot.
    """
    names = conv_inputs(model) if tensors is None else list(tensors)
    shape = picture_shape(model)
    material = check_pictures(goods, anomalies, shape)
    good = observed(model, names, goods, threads=threads, label="INT8 ranges of good parts")
    odd = (
        observed(model, names, anomalies, threads=threads, label="INT8 ranges of anomalies") if len(anomalies) else None
    )
    every = good if odd is None else {name: good[name].merged(odd[name]) for name in names}
    found = {method: {name: amplitude(every[name], method) for name in names} for method in METHODS}
    bounded = [name for name in picture_tensors(model) if name in every]
    if bounded:
        extremes = [np.full(shape, level, np.uint8) for level in (0, 255)]
        for name, histogram in observed(model, bounded, extremes, threads=threads).items():
            for by_tensor in found.values():
                by_tensor[name] = amplitude(histogram.merged(every[name]), "max")
    return Ranges(
        model_digest=sha256_hex(model),
        amplitudes=found,
        pictures=material,
        coverage=_coverage(good, odd),
        sad_version=version(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _coverage(good: Mapping[str, Histogram], odd: Mapping[str, Histogram] | None) -> Coverage:
    dead = [name for name, one in good.items() if one.dead and (odd is None or odd[name].dead)]
    if odd is None:
        return Coverage(tensors=len(good), beyond_good=None, farthest=None, farthest_ratio=None, dead=dead)
    # A tensor that only anomalies wake has no ratio; it counts as beyond all the same.
    ratios = {name: odd[name].maximum / one.maximum for name, one in good.items() if one.maximum}
    farthest = max(ratios, key=ratios.__getitem__, default=None)
    beyond = sum(odd[name].maximum > one.maximum for name, one in good.items())
    return Coverage(
        tensors=len(good),
        beyond_good=beyond / len(good),
        farthest=farthest,
        farthest_ratio=None if farthest is None else ratios[farthest],
        dead=dead,
    )
