"""The streaming histogram against numpy on all the values at once."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sad_calibration.int8.histogram import BINS, Histogram, histogram_from_record
from sad_runtime.errors import BackendError, ConfigError

Values = NDArray[np.float32]


def of(*parts: NDArray[np.floating]) -> Histogram:
    histogram = Histogram("relu_3")
    for part in parts:
        histogram.add(part)
    return histogram


def assert_same(one: Histogram, other: Histogram) -> None:
    assert one.as_record() == other.as_record()


def mixed(seed: int, size: int = 5000) -> Values:
    """Like an activation after a Relu, of some scale: half zeros, a long tail."""
    rng = np.random.default_rng(seed)
    values = np.maximum(rng.standard_t(3, size), 0) * 10.0 ** rng.uniform(-6, 6)
    return np.asarray(values, np.float32)


def test_bins_are_numpys() -> None:
    values = mixed(1)
    histogram = of(values)
    edges = np.arange(BINS + 1) * histogram.width
    expected, _ = np.histogram(np.abs(values[values != 0]), edges)
    assert histogram.counts.tolist() == expected.tolist()
    assert histogram.zeros == (values == 0).sum()
    assert histogram.count == values.size
    assert histogram.maximum == np.abs(values).max()


@settings(print_blob=True, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_in_any_parts_and_any_order_it_is_the_same_histogram(seed: int, parts: int) -> None:
    note(f"seed {seed}")
    rng = np.random.default_rng(seed)
    pieces = [mixed(seed + index, 400) * np.float32(10.0 ** rng.uniform(-3, 3)) for index in range(parts)]
    whole = of(np.concatenate(pieces))
    assert_same(of(*pieces), whole)
    assert_same(of(*(pieces[index] for index in rng.permutation(parts))), whole)
    merged = Histogram("relu_3")
    for piece in pieces:
        merged = merged.merged(of(piece))
    assert_same(merged, whole)


def test_a_larger_value_doubles_the_top_and_keeps_every_count() -> None:
    histogram = of(np.full(7, 0.9, np.float32), np.zeros(5, np.float32))
    before = histogram.width
    assert histogram.counts[math.floor(np.float32(0.9) / before)] == 7
    histogram.add(np.array([3.5], np.float32))
    assert histogram.width == 4 * before
    assert histogram.counts[math.floor(np.float32(0.9) / histogram.width)] == 7
    assert (histogram.count, histogram.zeros, histogram.maximum) == (13, 5, 3.5)


@pytest.mark.parametrize("exponent", [-90, -1, 0, 7, 127])
def test_a_power_of_two_opens_the_next_octave(exponent: int) -> None:
    """The top lies above every value, so a value on an edge never moves to another bin when the top doubles."""
    histogram = of(np.array([2.0**exponent], np.float32))
    assert histogram.used == BINS // 2 + 1
    assert histogram.counts[BINS // 2] == 1


def test_the_largest_value_stands_in_the_upper_half() -> None:
    for seed in range(50):
        assert BINS // 2 < of(mixed(seed)).used <= BINS


def test_the_largest_and_the_least_numbers_of_float32_can_be_counted() -> None:
    limits = np.finfo(np.float32)
    huge = of(np.array([limits.max, limits.tiny, 1e-45, -limits.max], np.float32))
    assert huge.maximum == float(limits.max)
    assert (huge.counts[0], huge.counts[-1], huge.zeros) == (2, 2, 0)
    assert of(np.array([1e-45, 0], np.float32)).dead


def test_half_floats_and_doubles_count_as_what_they_are_in_float32() -> None:
    values = mixed(4) / 1e9
    assert_same(of(values.astype(np.float64)), of(values))
    halves = np.array([65504, -65504, 6e-8, 0], np.float16)
    assert_same(of(halves), of(halves.astype(np.float32)))


def test_nothing_but_zeros_is_a_dead_tensor() -> None:
    histogram = of(np.zeros((1, 4, 8, 8), np.float32), np.full(3, -0.0, np.float32))
    assert histogram.dead
    assert (histogram.zeros, histogram.maximum, int(histogram.counts.sum())) == (259, 0.0, 0)


def test_an_empty_array_changes_nothing() -> None:
    histogram = of(mixed(2))
    before = histogram.as_record()
    histogram.add(np.zeros((0, 3), np.float32))
    assert histogram.as_record() == before


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 70_000])
def test_what_is_no_number_is_refused_by_the_tensors_name_and_counts_nothing(bad: float, place: int) -> None:
    histogram = of(mixed(3))
    before = histogram.as_record()
    values = np.ones(70_001, np.float32)
    values[place] = bad
    with pytest.raises(BackendError, match=r"tensor 'relu_3' .* NaN or infinity"):
        histogram.add(values)
    assert histogram.as_record() == before


def test_what_float32_cannot_hold_is_refused() -> None:
    with pytest.raises(BackendError, match="NaN or infinity"):
        of(np.array([1e300]))


@pytest.mark.parametrize("values", [mixed(5), np.zeros(9, np.float32), np.array([1e-45], np.float32)])
def test_a_record_survives_json(values: Values) -> None:
    histogram = of(values)
    data = json.loads(json.dumps(histogram.as_record().model_dump()))
    back = histogram_from_record(data, "kept")
    assert_same(back, histogram)
    assert_same(back.merged(histogram), histogram.merged(histogram))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"counts": [1] * 7}, "2048 counts"),
        ({"counts": [-1] + [1] * (BINS - 1)}, "none below 0"),
        ({"counts": [0] * BINS}, "do not belong to a maximum"),
        ({"maximum": 1e9}, "do not belong to a maximum"),
        ({"exponent": 30}, "do not belong to a maximum"),
        ({"maximum": float("nan")}, "'maximum'"),
        ({"maximum": 1e-3}, "do not belong to a maximum"),
        ({"zeros": -1}, "'zeros'"),
        ({"top": 4.0}, "unknown key 'top'"),
    ],
)
def test_a_record_that_cannot_be_is_refused(change: dict[str, object], said: str) -> None:
    data = of(np.linspace(0, 3, 1000, dtype=np.float32)).as_record().model_dump()
    with pytest.raises(ConfigError, match=said):
        histogram_from_record({**data, **change}, "kept")
