"""The one table of precisions: how each model file is made from the fp32 graph. What several need is found once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

from sad_calibration.int8.activations import all_tensors
from sad_calibration.int8.amplitude import METHODS
from sad_calibration.int8.ranges import Ranges, ranges_from_json, ranges_of
from sad_calibration.int8.tensorrt_table import table_header, tensorrt_table
from sad_export.parity import Replay, aupro_of, map_difference, replay
from sad_export.precisions.bias_correction import with_corrected_biases
from sad_export.precisions.choice import Apart, Choice, Way, chosen
from sad_export.precisions.halved import half_candidates, halved, pairs_between, with_concatenations
from sad_export.precisions.material import Material
from sad_export.precisions.quantised import quantised
from sad_export.precisions.rounding import rounded
from sad_export.precisions.splitting import without_concatenated_inputs
from sad_runtime.backends.table import backend_for
from sad_runtime.errors import ConfigError, UsageError
from sad_runtime.files import reason_of, write_atomically
from sad_runtime.manifest import InputSpec
from sad_train.metrics.image import spearman


@dataclass(frozen=True)
class Made:
    """One model file. `note`: how it was made, for people."""

    model: bytes
    note: str
    emulation: bytes | None = None
    """For fp16: the same in float32, with every value rounded as half precision would (rounding.py)."""
    choice: Choice | None = None


class Models:
    """Makes the files of one fp32 graph. Slow parts run when a precision first asks for them."""

    def __init__(
        self,
        fp32: bytes,
        spec: InputSpec,
        material: Callable[[], Material],
        *,
        engine: str,
        cache: Path | None = None,
        trained: bytes | None = None,
        note: str = "",
    ) -> None:
        """`engine`: the backend that choices are measured on. `cache`: file of ranges to read, or to write when absent.

        `trained`: the fp32 file that the others should decide as, where that is not the one they are made from; `note`
        then says what it is. Raises nothing yet.
        """
        self.fp32 = fp32
        self._trained = trained or fp32
        self._note = note
        self._spec = spec
        self._material_of = material
        self._engine = engine
        self._cache = cache

    def made(self, precision: str) -> Made:
        """Raises UsageError for a precision that there is not, and what measuring raises."""
        if precision not in PRECISIONS:
            raise UsageError(f"precision {precision}: there are {', '.join(PRECISIONS)}")
        return PRECISIONS[precision](self)

    @cached_property
    def ranges(self) -> Ranges:
        """What every tensor reached. Raises ConfigError for a cache of another model."""
        if self._cache is not None and self._cache.exists():
            try:
                data = self._cache.read_bytes()
            except OSError as error:
                raise UsageError(f"{self._cache}: cannot be read ({reason_of(error)})") from None
            return self._complete(ranges_from_json(data, str(self._cache), model=self._split_file))
        material = self._material
        found = ranges_of(self._split_file, material.goods, material.odd, tensors=all_tensors(self._split_file))
        if self._cache is not None:
            write_atomically(self._cache, found.to_json())
        return found

    def _complete(self, ranges: Ranges) -> Ranges:
        missing = sorted(set(all_tensors(self._split_file)) - ranges.of("max").keys())
        if missing:
            raise ConfigError(
                f"{self._cache}: has no range of {missing[0]} and {len(missing) - 1} more; measure it anew"
            )
        return ranges

    def tensorrt_table(self, tensorrt: str) -> bytes:
        """The calibration table of the fp32 file for the older, implicit INT8 of TensorRT 8 and 10, by its version."""
        found = with_concatenations(self._whole, self.ranges.of(self.choice.way.method))
        return tensorrt_table(found, header=table_header(tensorrt))

    @cached_property
    def choice(self) -> Choice:
        return chosen(self._split, self._made_int8, self._apart_of, METHODS)

    @cached_property
    def _material(self) -> Material:
        return self._material_of()

    @cached_property
    def _whole(self) -> ModelProto:
        return onnx.load_from_string(self.fp32)

    @cached_property
    def _split(self) -> ModelProto:
        return without_concatenated_inputs(self._whole)

    @cached_property
    def _split_file(self) -> bytes:
        return bytes(self._split.SerializeToString(deterministic=True))

    @cached_property
    def _reference(self) -> Replay:
        return self._said_of_trial(self._trained)

    @cached_property
    def _reference_aupro(self) -> float | None:
        return aupro_of(self._reference, self._material.trial)

    def _said_of_trial(self, model: bytes) -> Replay:
        with backend_for(self._engine, model, self._spec) as backend:
            return replay(backend, self._material.trial)

    def _apart_of(self, model: ModelProto) -> Apart:
        found, reference = self._said_of_trial(model.SerializeToString()), self._reference
        maps = map_difference(reference, found)
        error = max(
            float(np.abs(found.scores - reference.scores).mean()) / max(float(np.ptp(reference.scores)), 1e-12),
            maps.mean / max(maps.spread, 1e-12),
        )
        ranks = spearman(found.scores, reference.scores)
        before, after = self._reference_aupro, aupro_of(found, self._material.trial)
        drop = 0.0 if before is None or after is None else before - after
        return Apart(error, 1.0 if ranks is None else ranks, drop)

    def _as_it_is(self) -> Made:
        return Made(self.fp32, "as trained")

    def _half(self) -> Made:
        nodes = half_candidates(self._whole, self.ranges.of("max"))
        total = len(self._whole.graph.node)
        return Made(
            halved(self._whole, nodes).SerializeToString(deterministic=True),
            f"{len(nodes)} of {total} operations in half precision",
            emulation=rounded(self._whole, nodes).SerializeToString(),
        )

    @cached_property
    def _in_int8(self) -> ModelProto:
        return self._made_int8(self.choice.way, self.choice.in_int8)

    def _made_int8(self, way: Way, layers: Sequence[str]) -> ModelProto:
        made = quantised(self._split, self.ranges.of(way.method), layers)
        return with_corrected_biases(self._split, made, self._material.evenly) if way.corrected else made

    def _int8(self) -> Made:
        return Made(self._in_int8.SerializeToString(deterministic=True), self._int8_note(), choice=self.choice)

    def _int8_and_half(self) -> Made:
        nodes = half_candidates(self._split, self.ranges.of("max"))
        nodes = [*nodes, *pairs_between(self._in_int8, nodes)]
        return Made(
            halved(self._in_int8, nodes).SerializeToString(deterministic=True),
            f"{self._int8_note()}; what is left in half precision where it is safe",
            emulation=rounded(self._in_int8, nodes).SerializeToString(),
            choice=self.choice,
        )

    def _int8_note(self) -> str:
        of = len(self.choice.layers)
        told = f"{len(self.choice.in_int8)} of {of} convolutions in INT8, ranges by {self.choice.way}"
        return f"{told}, {self._note}" if self._note else told


PRECISIONS: dict[str, Callable[[Models], Made]] = {
    "fp32": Models._as_it_is,
    "fp16": Models._half,
    "int8": Models._int8,
    "int8_fp16": Models._int8_and_half,
}
