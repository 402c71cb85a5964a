"""How the magnitudes of one tensor are spread, gathered picture by picture in memory that does not grow.

The top is always a power of two above the largest value seen. So bins only ever merge in pairs, every value stands in
the bin where a single pass would have put it, and the order of pictures, or of merging, changes nothing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from sad_runtime.errors import BackendError, ConfigError
from sad_runtime.schema import Strict, parse

BINS = 2048
SMALLEST_EXPONENT = -100
"""A tensor that stays below 2**-101 counts as dead; its scale would be no number an engine can divide by."""
BLOCK = 1 << 15
"""Values binned at a time. They stay in a core's cache, which takes half the time of whole tensors."""


class Record(Strict):
    """A histogram as plain values, for JSON."""

    tensor: str
    exponent: int = Field(ge=SMALLEST_EXPONENT, le=128)
    """The top is 2 ** exponent."""
    maximum: float = Field(ge=0)
    zeros: int = Field(ge=0)
    counts: list[int]

    @field_validator("counts")
    @classmethod
    def _whole(cls, counts: list[int]) -> list[int]:
        if len(counts) != BINS or min(counts) < 0:
            raise ValueError(f"a histogram has {BINS} counts, none below 0")
        return counts


class Histogram:
    """Of |value|, in 2048 equal bins over [0, top). The largest value is always in the upper half of them."""

    def __init__(self, tensor: str) -> None:
        self.tensor = tensor
        self.maximum = 0.0
        """The largest |value|, exactly."""
        self.zeros = 0
        """Values that are exactly 0; they are in no bin."""
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)
        """Of values that are not 0."""
        self._exponent = SMALLEST_EXPONENT

    @property
    def width(self) -> float:
        """Of a bin."""
        return math.ldexp(1.0, self._exponent) / BINS

    @property
    def count(self) -> int:
        """Of all values, zeros too."""
        return self.zeros + int(self.counts.sum())

    @property
    def dead(self) -> bool:
        """Never anything but 0, or nothing that int8 could hold."""
        return self.maximum < math.ldexp(0.5, SMALLEST_EXPONENT)

    @property
    def used(self) -> int:
        """Bins up to and with that of the largest value: 1025 to 2048 unless the tensor is dead."""
        return math.floor(self.maximum / self.width) + 1

    def add(self, values: NDArray[Any]) -> None:
        """Counts `values`, float of any shape. Raises BackendError for NaN or infinity; nothing is counted then."""
        with np.errstate(over="ignore"):  # beyond float32 is infinity, which is refused below
            flat = np.asarray(values, np.float32).reshape(-1)
        if not flat.size:
            return
        largest = max(float(flat.max()), -float(flat.min()))  # NaN is both, infinity is one
        if not math.isfinite(largest):
            raise BackendError(
                f"tensor '{self.tensor}' of the model holds NaN or infinity, so it has no range. "
                "Does the fp32 model judge this picture? If not, train again"
            )
        self._make_room(largest)
        per_value = 1 / self.width
        for start in range(0, flat.size, BLOCK):
            bins = (np.abs(flat[start : start + BLOCK]) * per_value).astype(np.intp)
            self.counts += np.bincount(bins, minlength=BINS)
        zeros = flat.size - int(np.count_nonzero(flat))
        self.counts[0] -= zeros
        self.zeros += zeros

    def merged(self, other: Histogram) -> Histogram:
        """What one histogram of the values of both would be. Neither changes."""
        both = Histogram(self.tensor)
        both._make_room(max(self.maximum, other.maximum))
        for one in (self, other):
            both.counts += _halved(one.counts, both._exponent - one._exponent)
            both.zeros += one.zeros
        return both

    def as_record(self) -> Record:
        return Record(
            tensor=self.tensor,
            exponent=self._exponent,
            maximum=self.maximum,
            zeros=self.zeros,
            counts=self.counts.tolist(),
        )

    def _make_room(self, largest: float) -> None:
        """Doubles the top until `largest` is below it."""
        exponent = max(SMALLEST_EXPONENT, math.frexp(largest)[1])
        if exponent > self._exponent:
            self.counts = _halved(self.counts, exponent - self._exponent)
            self._exponent = exponent
        self.maximum = max(self.maximum, largest)


def histogram_from_record(data: object, where: str) -> Histogram:
    """Raises ConfigError for anything that `as_record` never gives."""
    record = parse(Record, data, where)
    histogram = Histogram(record.tensor)
    histogram._make_room(record.maximum)
    histogram.zeros = record.zeros
    histogram.counts = np.array(record.counts, np.int64)
    last = int(np.flatnonzero(histogram.counts)[-1]) + 1 if histogram.counts.any() else 0
    if histogram._exponent != record.exponent or last != (histogram.used if record.maximum else 0):
        raise ConfigError(f"{where}: the counts of '{record.tensor}' do not belong to a maximum of {record.maximum}")
    return histogram


def _halved(counts: NDArray[np.int64], times: int) -> NDArray[np.int64]:
    """`counts` as they stand once the top has doubled `times` times."""
    for _ in range(min(times, BINS.bit_length())):
        counts = np.concatenate([counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64)])
    return counts
