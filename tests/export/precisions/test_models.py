"""The table of precisions: every file can be made, says how, and what was measured is kept and carried along."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from sad_calibration.int8.ranges import ranges_from_json
from sad_calibration.int8.tensorrt_table import ranges_from_table
from sad_export.graph_edit import floats_of
from sad_export.parity_set import ParityPicture
from sad_export.precisions.material import Material
from sad_export.precisions.models import PRECISIONS, Models
from sad_runtime.errors import ConfigError, UsageError
from sad_runtime.files import write_atomically
from sad_runtime.manifest import InputSpec
from unets import SIDE, picture, unet

SPEC = InputSpec(height=SIDE, width=SIDE, channels=3)
ENGINE = "onnxruntime"


def material() -> Material:
    goods = np.concatenate([picture(seed) for seed in range(10)])
    odd = [np.ascontiguousarray(255 - picture(seed)[0]) for seed in range(20, 24)]
    trial = [ParityPicture(f"good {seed}", "good", picture(seed)[0]) for seed in range(30, 36)]
    return Material(goods, odd, trial)


def models(cache: Path | None = None, seed: int = 7) -> Models:
    return Models(unet(seed=seed).SerializeToString(), SPEC, material, engine=ENGINE, cache=cache)


@pytest.fixture(scope="module")
def made() -> Models:
    return models()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_file_is_whole_and_says_how_it_was_made(made: Models, precision: str) -> None:
    found = made.made(precision)
    onnx.checker.check_model(onnx.load_from_string(found.model), full_check=True)
    assert found.note
    assert (found.emulation is not None) == ("fp16" in precision)
    assert (found.choice is not None) == ("int8" in precision)


def test_fp32_is_the_file_that_was_given(made: Models) -> None:
    assert made.made("fp32").model == unet().SerializeToString()


def test_int8_is_smaller_and_the_same_run_gives_the_same_bytes(made: Models) -> None:
    sizes = {name: len(made.made(name).model) for name in PRECISIONS}
    assert sizes["fp16"] < sizes["fp32"]
    again = models()
    for name in PRECISIONS:
        assert again.made(name).model == made.made(name).model, name


def test_an_unknown_precision_is_refused_by_name(made: Models) -> None:
    with pytest.raises(UsageError, match="precision int4: there are fp32, fp16, int8, int8_fp16"):
        made.made("int4")


def test_ranges_are_carried_to_another_machine(made: Models, tmp_path: Path) -> None:
    cache = tmp_path / "ranges.json"
    first = models(cache).made("int8").model
    assert first == made.made("int8").model

    def others() -> Material:
        """Only the ranges are carried: settings are measured anew on this machine's pictures."""
        return Material(material().goods[::-1].copy(), material().odd, material().trial)

    elsewhere = Models(unet().SerializeToString(), SPEC, others, engine=ENGINE, cache=cache)
    assert elsewhere.made("int8").model == first


def test_ranges_of_another_model_are_refused(tmp_path: Path) -> None:
    cache = tmp_path / "ranges.json"
    assert models(cache, seed=7).ranges
    with pytest.raises(ConfigError, match="are of another model"):
        assert models(cache, seed=8).ranges


@pytest.mark.parametrize("rubbish", [b"", b"{}", b"\x00\xff", b'{"schema": 1}', b"[]"])
def test_rubbish_instead_of_ranges_is_refused(tmp_path: Path, rubbish: bytes) -> None:
    cache = tmp_path / "ranges.json"
    write_atomically(cache, rubbish)
    with pytest.raises(ConfigError, match=r"ranges\.json"):
        assert models(cache).ranges


def test_the_cache_written_is_the_one_that_is_used(tmp_path: Path) -> None:
    cache = tmp_path / "ranges.json"
    found = models(cache).ranges
    digest_of = found.model_digest
    assert found.pictures.good == 10
    assert found.pictures.synthetic == 4
    with pytest.raises(ConfigError):
        ranges_from_json(cache.read_bytes(), "here", model=b"another")
    assert digest_of in cache.read_text()


def test_the_table_for_older_tensorrt_names_every_tensor_of_the_fp32_file(made: Models) -> None:
    """Also the joined one, which the file that ranges are measured on does not have."""
    data = made.tensorrt_table("10.3.0")
    assert data.startswith(b"TRT-100300-EntropyCalibration2\n")
    found = ranges_from_table(data, "here")
    floats = {name for node in unet().graph.node for name in node.output} & floats_of(unet())
    assert found.keys() >= floats
    assert found["joined"] == pytest.approx(max(found["b_large"], found["a"]))
