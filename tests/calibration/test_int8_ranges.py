"""The calibration cache: what it says, what it refuses, what it rests on; and TensorRT's table of the same."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bundles import tiny_onnx
from convolutions import SHAPE, convolving_onnx, pictures
from sad_calibration.int8.activations import all_tensors, conv_inputs, observed
from sad_calibration.int8.amplitude import DEAD_AMPLITUDE, METHODS, amplitude
from sad_calibration.int8.pictures import check_pictures
from sad_calibration.int8.ranges import Ranges, ranges_from_json, ranges_of
from sad_calibration.int8.tensorrt_table import ranges_from_table, table_header, tensorrt_table
from sad_runtime.bundle import sha256_hex
from sad_runtime.errors import BackendError, ConfigError, DataError, GateFailed, UsageError

MODEL = convolving_onnx()


@pytest.fixture(scope="module")
def ranges() -> Ranges:
    return ranges_of(MODEL, pictures(8), pictures(4, low=0, high=256, seed=9))


def changed(ranges: Ranges, **keys: Any) -> bytes:
    return json.dumps({**json.loads(ranges.to_json()), **keys}).encode()


def black(level: int = 0) -> NDArray[np.uint8]:
    return np.full(SHAPE, level, np.uint8)


def test_ranges_are_those_of_good_parts_and_anomalies_together(ranges: Ranges) -> None:
    names = conv_inputs(MODEL)
    every = observed(MODEL, names, pictures(8) + pictures(4, low=0, high=256, seed=9))
    for method in METHODS:
        assert list(ranges.of(method)) == names
        for name in ("relu0", "large"):
            assert ranges.of(method)[name] == pytest.approx(amplitude(every[name], method), rel=1e-4), (method, name)
    assert (ranges.pictures.good, ranges.pictures.synthetic) == (8, 4)
    assert ranges.model_digest == sha256_hex(MODEL)


@pytest.mark.parametrize("method", METHODS)
def test_the_picture_itself_keeps_the_range_of_black_to_white(method: str) -> None:
    """Whatever was shown: (255 / 64) - 2 and 0 - 2 are the ends of the stand's scaling."""
    dim = ranges_of(MODEL, pictures(8, low=100, high=130))
    assert dim.of(method)["normalised"] == 2.0
    assert dim.of("max")["relu0"] < ranges_of(MODEL, pictures(8, low=0, high=256)).of("max")["relu0"]


def test_coverage_says_what_the_anomalies_added(ranges: Ranges) -> None:
    assert ranges.coverage.beyond_good == 1.0
    assert ranges.coverage.farthest in conv_inputs(MODEL)
    assert ranges.coverage.farthest_ratio is not None
    assert ranges.coverage.farthest_ratio > 1.2
    assert ranges.coverage.text.startswith("anomalies go beyond the good pictures in 3 of 3 tensors, farthest in '")
    inside = ranges_of(MODEL, pictures(12), pictures(4, low=120, high=131)).coverage
    assert inside.beyond_good == 0.0
    assert inside.text == "anomalies go beyond the good pictures in 0 of 3 tensors"


def test_without_anomalies_there_is_nothing_to_cover() -> None:
    coverage = ranges_of(MODEL, pictures(8)).coverage
    assert (coverage.beyond_good, coverage.farthest) == (None, None)
    assert coverage.text == "ranges of 3 tensors from good pictures alone"


def test_a_dead_tensor_is_named_and_gets_the_least_amplitude() -> None:
    dead = ranges_of(convolving_onnx(dead=True), pictures(8), pictures(2, seed=5))
    assert dead.coverage.dead == ["relu0", "large"]
    assert {dead.of(method)["relu0"] for method in METHODS} == {DEAD_AMPLITUDE}
    assert dead.coverage.text.endswith("never anything but 0: relu0, large")


def test_a_cache_survives_json(ranges: Ranges) -> None:
    assert ranges_from_json(ranges.to_json(), "ranges.json", model=MODEL) == ranges


def test_the_same_pictures_give_the_same_digest_and_others_another() -> None:
    digests = {
        check_pictures(good, odd, SHAPE).digest
        for good, odd in (
            (pictures(8), pictures(2, seed=5)),
            (np.stack(pictures(8)), pictures(2, seed=5)),
            (pictures(8, seed=1), pictures(2, seed=5)),
            (pictures(8), ()),
        )
    }
    assert len(digests) == 3


def test_a_cache_of_another_model_is_refused(ranges: Ranges) -> None:
    with pytest.raises(ConfigError, match=r"ranges.json: .* another model .* Calibrate again"):
        ranges_from_json(ranges.to_json(), "ranges.json", model=convolving_onnx(gain=1.001))


def test_a_newer_cache_asks_for_a_newer_sad(ranges: Ranges) -> None:
    with pytest.raises(ConfigError, match="schema 2, this sad reads up to 1"):
        ranges_from_json(changed(ranges, schema=2), "ranges.json", model=MODEL)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-40, 1e45, "NaN", "Infinity", None, "much"])
def test_an_amplitude_that_no_engine_can_divide_by_is_refused(ranges: Ranges, value: Any) -> None:
    amplitudes = json.loads(ranges.to_json())["amplitudes"]
    amplitudes["entropy"]["large"] = value
    data = changed(ranges, amplitudes=amplitudes).replace(b'"NaN"', b"NaN").replace(b'"Infinity"', b"Infinity")
    with pytest.raises(ConfigError, match=r"entropy\.large"):
        ranges_from_json(data, "ranges.json", model=MODEL)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"amplitudes": {"max": {"large": 1.0}}}, "the methods are max, percentile, entropy, mse"),
        ({"amplitudes": {method: {} for method in METHODS}}, "one at least"),
        ({"amplitudes": {method: {method: 1.0} for method in METHODS}}, "the same tensors"),
        ({"amplitudes": {method: {"large": 1.0} for method in METHODS}}, "coverage is of 3 tensors"),
        ({"model_digest": "abc"}, "'model_digest'"),
        ({"pictures": {"good": 8}}, "pictures.synthetic' is missing"),
        ({"amplitude": {}}, "did you mean 'amplitudes'"),
        ({"schema": 0}, "'schema'"),
    ],
)
def test_a_cache_that_does_not_fit_is_refused_by_key(ranges: Ranges, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ranges_from_json(changed(ranges, **keys), "ranges.json", model=MODEL)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"[]", b"7", b"{", b"[" * 100_000])
def test_rubbish_is_no_cache(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"ranges\.json"):
        ranges_from_json(data, "ranges.json", model=MODEL)


def test_an_unknown_method_is_refused(ranges: Ranges) -> None:
    with pytest.raises(UsageError, match="there are max"):
        ranges.of("minmax")


def test_seven_good_pictures_are_too_few_and_copies_do_not_count() -> None:
    with pytest.raises(DataError, match="7 different good pictures; ranges need 8"):
        ranges_of(MODEL, pictures(7))
    with pytest.raises(DataError, match=r"1 different good pictures \(40 with copies\)"):
        ranges_of(MODEL, pictures(1) * 40)
    with pytest.raises(DataError, match="0 different good pictures; "):
        ranges_of(MODEL, [])


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (black(), "good picture 9 is black"),
        (black(3), "good picture 9 is black"),
        (black(255), "good picture 9 is flat: all grey levels are 255 to 255"),
        (
            np.zeros((32, 64, 3), np.uint8),
            r"good picture 9 is uint8 \(32, 64, 3\), the model takes uint8 \(32, 32, 3\)",
        ),
        (np.ones(SHAPE, np.float32), "good picture 9 is float32"),
    ],
)
def test_a_picture_that_shows_nothing_is_refused_by_number(bad: NDArray[Any], said: str) -> None:
    with pytest.raises(GateFailed, match=said):
        ranges_of(MODEL, [*pictures(8), bad])
    with pytest.raises(GateFailed, match="anomaly 2 is"):
        ranges_of(MODEL, pictures(8), [*pictures(1), bad])


def test_many_bad_pictures_are_counted_not_listed() -> None:
    with pytest.raises(GateFailed, match=r"good picture 8 is black; and 92 more\. Take such pictures out"):
        check_pictures([black()] * 100, (), SHAPE)


def test_a_model_with_nothing_to_calibrate_is_refused() -> None:
    goods = [np.random.default_rng(seed).integers(0, 255, (64, 64, 3)).astype(np.uint8) for seed in range(8)]
    with pytest.raises(BackendError, match="no Conv"):
        ranges_of(tiny_onnx(), goods)


def test_the_table_is_tensorrts_text() -> None:
    table = tensorrt_table({"image": 127.0, "a/Relu_output_0": 1.0, "scope: x:0": 254.0})
    assert table == b"TRT-8502-EntropyCalibration2\nimage: 3f800000\na/Relu_output_0: 3c010204\nscope: x:0: 40000000\n"


def test_every_tensor_of_a_graph_goes_to_the_table_and_back() -> None:
    ranges = ranges_of(MODEL, pictures(8), tensors=all_tensors(MODEL)).of("entropy")
    back = ranges_from_table(tensorrt_table(ranges, header=table_header("10.3.0")), "table")
    assert list(back) == all_tensors(MODEL)
    assert back == pytest.approx(dict(ranges), rel=1e-6)


def test_the_header_is_that_of_the_boxs_tensorrt() -> None:
    assert table_header("8.5.2.2") == "TRT-8502-EntropyCalibration2"
    assert table_header("8.6.1") == "TRT-8601-EntropyCalibration2"
    assert table_header("10.3.0", "MinMaxCalibration") == "TRT-100300-MinMaxCalibration"
    for odd in ("", "10", "ten.3.0"):
        with pytest.raises(ConfigError, match="no version of TensorRT"):
            table_header(odd)


@pytest.mark.parametrize("name", ["", "two\nlines", "a\u2028b", "a\r"])
def test_a_name_that_would_break_the_table_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name"):
        tensorrt_table({name: 1.0})


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e-40])
def test_a_range_that_is_none_stays_out_of_the_table(value: float) -> None:
    with pytest.raises(ConfigError, match="x: an amplitude is a finite number above 0"):
        tensorrt_table({"x": value})


def test_a_foreign_header_is_refused() -> None:
    with pytest.raises(ConfigError, match="no header"):
        tensorrt_table({"x": 1.0}, header="sad\nx: 00000000")


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "not a TensorRT calibration table"),
        ("x: 3f800000", "it begins with"),
        ("TRT-8502-EntropyCalibration2\nx 3f800000", "line 2: expected"),
        ("TRT-8502-EntropyCalibration2\nx: 3f80", "line 2: expected"),
        ("TRT-8502-EntropyCalibration2\nx: 3f800000\nx: 3f800000", "line 3: a second range"),
        *(
            (
                f"TRT-8502-EntropyCalibration2\nx: {struct.pack('>f', scale).hex()}",
                "line 2: x: an amplitude is a finite",
            )
            for scale in (0.0, -1.0, np.nan, np.inf)
        ),
    ],
)
def test_a_table_that_cannot_be_is_refused_by_line(lines: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ranges_from_table(lines.encode(), "calibration.cache")
    with pytest.raises(ConfigError, match="not a TensorRT"):
        ranges_from_table(b"\xff\xfe", "calibration.cache")


def test_a_cache_can_be_carried_as_a_file(tmp_path: Path, ranges: Ranges) -> None:
    path = tmp_path / "ranges.json"
    path.write_bytes(ranges.to_json())
    assert path.read_text().count("\n") > 10
    assert "/" not in path.read_text(), "no path of the machine that calibrated"
