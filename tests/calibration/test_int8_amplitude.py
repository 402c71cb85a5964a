"""The four ways to choose a range: against known distributions, slow references and ONNX Runtime's calibrators."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import entropy as scipy_entropy

from sad_calibration.int8.amplitude import DEAD_AMPLITUDE, METHODS, amplitude, percentile
from sad_calibration.int8.entropy import LEVELS, divergences
from sad_calibration.int8.histogram import Histogram
from sad_calibration.int8.mean_square import square_errors
from sad_runtime.backends.engines import onnxruntime_alone
from sad_runtime.errors import UsageError

Values = NDArray[np.float32]


def of(values: NDArray[np.floating]) -> Histogram:
    histogram = Histogram("relu_3")
    histogram.add(values)
    return histogram


def gauss_with_outliers(seed: int = 0) -> Values:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.standard_normal(400_000), [12.0, -13.0, 15.0]]).astype(np.float32)


def laplace_with_outliers(seed: int = 0) -> Values:
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.laplace(size=400_000), [40.0, -38.0]]).astype(np.float32)


def quantised(values: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    step = reach / 127
    return np.clip(np.rint(values / step), -127, 127) * step


@settings(print_blob=True, deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["normal", "laplace", "cauchy", "uniform", "few"]))
def test_every_amplitude_is_positive_finite_and_no_larger_than_the_largest_value(seed: int, kind: str) -> None:
    note(f"seed {seed}")
    rng = np.random.default_rng(seed)
    draws = {
        "normal": lambda: rng.standard_normal(3000),
        "laplace": lambda: np.maximum(rng.laplace(size=3000), 0),
        "cauchy": lambda: rng.standard_cauchy(3000),
        "uniform": lambda: rng.uniform(-1, 1, 3000),
        "few": lambda: rng.standard_normal(1 + seed % 4),
    }
    histogram = of((draws[kind]() * 10.0 ** rng.uniform(-8, 8)).astype(np.float32))
    for method in METHODS:
        found = amplitude(histogram, method)
        assert 0 < found <= histogram.maximum, method
        assert np.isfinite(found)


def test_max_is_the_largest_value() -> None:
    assert amplitude(of(np.array([0.3, -7.25, 7.0])), "max") == 7.25


@pytest.mark.parametrize("method", METHODS)
def test_a_dead_tensor_gets_the_least_amplitude_that_an_fp16_engine_can_divide_by(method: str) -> None:
    assert amplitude(of(np.zeros(100)), method) == DEAD_AMPLITUDE
    assert np.float16(DEAD_AMPLITUDE / 127) == np.finfo(np.float16).tiny


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_of_one_value_gets_it(method: str) -> None:
    assert amplitude(of(np.full(1000, 2.5)), method) == pytest.approx(2.5, rel=2e-3)


def test_an_unknown_method_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(UsageError, match="'minmax': there are max, percentile, entropy, mse"):
        amplitude(of(np.ones(3)), "minmax")


def test_a_tensor_that_was_never_seen_has_no_amplitude() -> None:
    with pytest.raises(UsageError, match="no value was ever counted"):
        amplitude(Histogram("relu_3"), "max")


@pytest.mark.parametrize("percent", [60.0, 99.0, 99.9, 99.99, 100.0])
def test_a_percentile_is_numpys_within_a_bin(percent: float) -> None:
    for values in (gauss_with_outliers(), np.maximum(laplace_with_outliers(), 0)):
        histogram = of(values)
        expected = float(np.percentile(np.abs(values), percent))
        assert percentile(histogram, percent) == pytest.approx(expected, abs=1.01 * histogram.width)


def test_where_nearly_all_is_zero_the_percentile_is_of_the_rest() -> None:
    """A channel that one picture in a hundred wakes: zero would be no range, and a clip at a bin would kill it."""
    rest = np.random.default_rng(0).uniform(1, 2, 50)
    histogram = of(np.concatenate([np.zeros(1_000_000), rest]))
    assert amplitude(histogram, "percentile") == pytest.approx(rest.max(), abs=histogram.width)


@pytest.mark.parametrize("values", [gauss_with_outliers(), laplace_with_outliers()], ids=["gauss", "laplace"])
def test_with_outliers_entropy_clips_but_no_more_than_one_in_a_hundred(values: Values) -> None:
    histogram = of(values)
    found = amplitude(histogram, "entropy")
    assert percentile(histogram, 99) < found < histogram.maximum / 1.5


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_divergences_are_those_of_the_published_loop(seed: int) -> None:
    """Bin for bin as Migacz' slides and NVIDIA's calibrators do it; gaps and a bare last bin included."""
    rng = np.random.default_rng(seed)
    values = np.abs(rng.laplace(size=3000))
    counts, _ = np.histogram(values, 2048, (0, values.max() * (1 + 1e-12)))
    cuts = np.arange(LEVELS, 2049, 61)
    assert divergences(counts, cuts) == pytest.approx([_slow_divergence(counts, int(cut)) for cut in cuts], abs=1e-9)


def _slow_divergence(counts: NDArray[np.int64], cut: int) -> float:
    bins = counts.astype(float)
    bins[0] = bins[1]
    reference = bins[:cut].copy()
    reference[-1] += bins[cut:].sum()
    candidate = np.zeros(cut)
    for level in range(LEVELS):
        members = [index for index in range(cut) if index * LEVELS // cut == level and bins[index] > 0]
        for index in members:
            candidate[index] = sum(bins[member] for member in members) / len(members)
    return float(scipy_entropy(reference, candidate))


def test_a_cut_whose_last_bin_is_empty_cannot_hold_what_was_clipped() -> None:
    counts = np.full(1024, 50, np.int64)
    counts[199] = 0
    found = divergences(counts, np.array([200, 201, 1024]))
    assert found[0] == np.inf
    assert np.isfinite(found[1:]).all()


def test_relu_zeros_do_not_move_the_entropy_range() -> None:
    values = np.abs(laplace_with_outliers())
    with_zeros = np.concatenate([values, np.zeros(2_000_000, np.float32)])
    assert amplitude(of(values), "entropy") == amplitude(of(with_zeros), "entropy")


@pytest.mark.parametrize("reach", [1.0, 1.9, 6.3])
def test_uniform_values_keep_their_whole_range_by_mse(reach: float) -> None:
    """Half a step can be had for nothing: what lies in it rounds to 127 all the same. A little more pays too."""
    values = np.random.default_rng(0).uniform(-reach, reach, 500_000)
    assert amplitude(of(values), "mse") == pytest.approx(reach, rel=0.01)


@pytest.mark.parametrize("values", [gauss_with_outliers(), laplace_with_outliers()], ids=["gauss", "laplace"])
def test_mse_is_the_best_of_all_ranges_on_the_values_themselves(values: Values) -> None:
    found = amplitude(of(values), "mse")
    exact = values.astype(np.float64)
    errors = {
        reach: float(np.square(quantised(exact, reach) - exact).mean())
        for reach in (found, *np.linspace(0.02, 1, 50) * np.abs(exact).max())
    }
    assert errors[found] <= 1.01 * min(errors.values())


def test_the_squared_error_is_that_of_the_values() -> None:
    values = np.random.default_rng(0).laplace(size=300_000)
    histogram = of(values)
    for share in (0.02, 0.1, 0.3, 0.7, 1.0):
        reach = share * histogram.maximum
        expected = np.square(quantised(values, reach) - values).sum()
        found = square_errors(histogram, np.array([reach / histogram.width]))[0] * histogram.width**2
        assert found == pytest.approx(expected, rel=0.02), share


def test_the_methods_scale_with_the_values() -> None:
    """By powers of two the very bins are the same."""
    values = laplace_with_outliers()
    for method, factor in itertools.product(METHODS, (2.0**-30, 2.0**9)):
        assert amplitude(of(values * np.float32(factor)), method) == factor * amplitude(of(values), method)


def test_percentile_and_max_are_onnxruntimes() -> None:
    onnxruntime_alone()
    from onnxruntime.quantization.calibrate import HistogramCollector

    parts = [gauss_with_outliers(seed)[None] for seed in range(3)]
    collector = HistogramCollector("percentile", True, 2048, 128, 99.99, "same")
    collector.collect({"relu_3": parts})
    theirs = float(collector.compute_collection_result()["relu_3"][1])
    histogram = of(np.concatenate(parts))
    edges = collector.get_histogram_dict()["relu_3"][1]
    assert amplitude(histogram, "percentile") == pytest.approx(theirs, abs=histogram.width + float(edges[1] - edges[0]))
    assert amplitude(histogram, "max") == float(edges[-1])
