"""What a station judges by: the bundle's thresholds, those set on the line, and the scores that p-values rest on."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sad_runtime.backends.onnxruntime import ONNXRuntimeBackend
from sad_runtime.backends.table import BACKENDS
from sad_runtime.bundle import read_bundle, write_bundle
from sad_runtime.errors import BundleError, GateFailed
from sad_runtime.station.config import RecipeConfig, StationConfig
from sad_runtime.station.recipes import moved, opened, recipe_from


@pytest.fixture
def scored(tmp_path: Path, tiny_bundle: Path) -> Path:
    """The tiny bundle with the scores of nine good calibration parts."""
    return with_file(tiny_bundle, tmp_path / "scored.sad", scores([0.9, 0.1, 0.5]))


def scores(values: list[float]) -> bytes:
    data = io.BytesIO()
    np.savez(data, fp32_score=np.array(values, np.float32))
    return data.getvalue()


def with_file(source: Path, path: Path, calibration: bytes) -> Path:
    bundle = read_bundle(source)
    files = {name: data for name, data in bundle.files.items() if name not in ("manifest.json", "digests.txt")}
    write_bundle(path, bundle.manifest, files | {"calibration.npz": calibration})
    return path


def line_side(path: Path, digest: str, **changes: Any) -> None:
    entry: dict[str, Any] = {
        "revision": 1,
        "set_at": "2026-01-01T00:00:00+00:00",
        "model_digest": digest,
        "precision": "fp32",
        "backend": "onnxruntime",
        "score_threshold": 2.5,
        "pixel_threshold": 3.5,
        "heatmap_low": 0.5,
        "decision": {"target_false_reject": None, "guaranteed_false_reject": 0.1, "method": "split-conformal", "n": 9},
        "good_scores": [0.3, 0.2],
    }
    path.write_text(json.dumps({"entries": [entry | changes]}))


def test_the_bundles_own_thresholds_and_scores_are_used_first(tmp_path: Path, scored: Path) -> None:
    config = StationConfig(backend="onnxruntime")
    recipe = recipe_from(3, RecipeConfig(bundle=str(scored)), config, tmp_path / "none.json")
    assert (recipe.thresholds.score, recipe.thresholds.revision, recipe.deadline_ms) == (4.0, 0, 1000)
    assert recipe.good_scores == pytest.approx([0.1, 0.5, 0.9])
    assert (recipe.judge().recipe, recipe.judge().threshold, recipe.judge().simulated) == (3, 4.0, False)


def test_thresholds_set_on_the_line_for_this_very_model_go_before_them(tmp_path: Path, scored: Path) -> None:
    digest = read_bundle(scored).manifest.precisions["fp32"].sha256
    line_side(tmp_path / "thresholds.json", digest)
    wanted = RecipeConfig(bundle=str(scored))
    recipe = recipe_from(0, wanted, StationConfig(backend="onnxruntime"), tmp_path / "thresholds.json")
    assert (recipe.thresholds.score, recipe.thresholds.revision) == (2.5, 1)
    assert recipe.good_scores == [0.2, 0.3]
    other = recipe_from(0, wanted, StationConfig(backend="openvino"), tmp_path / "thresholds.json")
    assert other.thresholds.score == 4.0


def test_a_bundle_without_scores_gives_no_small_p_values_and_a_damaged_list_is_refused(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    config = StationConfig(backend="onnxruntime")
    assert recipe_from(0, RecipeConfig(bundle=str(tiny_bundle)), config, tmp_path / "none").good_scores == []
    damaged = with_file(tiny_bundle, tmp_path / "damaged.sad", b"no arrays")
    with pytest.raises(BundleError, match=r"calibration\.npz cannot be read"):
        recipe_from(0, RecipeConfig(bundle=str(damaged)), config, tmp_path / "none")
    data = io.BytesIO()
    np.savez(data, fp32_score=np.array([{"a": 1}], dtype=object))
    pickled = with_file(tiny_bundle, tmp_path / "pickled.sad", data.getvalue())
    with pytest.raises(BundleError, match=r"calibration\.npz cannot be read"):
        recipe_from(0, RecipeConfig(bundle=str(pickled)), config, tmp_path / "none")


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_an_opened_recipe_has_proved_itself(tmp_path: Path, tiny_bundle: Path, backend: str) -> None:
    pytest.importorskip(backend)
    recipe = recipe_from(0, RecipeConfig(bundle=str(tiny_bundle)), StationConfig(backend=backend), tmp_path / "none")
    with opened(recipe, threads=1) as inspector:
        assert inspector.backend.name == backend


@pytest.mark.parametrize("shown_for", [(), ("int8",)])
def test_an_engine_built_here_and_a_stand_in_without_a_golden_picture_of_their_precision_are_refused(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, shown_for: tuple[str, ...]
) -> None:
    monkeypatch.setitem(BACKENDS, "tensorrt_rtx", ONNXRuntimeBackend)
    whole = read_bundle(tiny_bundle)
    files = {name: data for name, data in whole.files.items() if name not in ("manifest.json", "digests.txt")}
    golden = [
        shown.model_copy(update={"verdict": {"int8": "PASS"}, "score": {"int8": 0.0}})
        for shown in whole.manifest.golden
        if shown_for
    ]
    path = tmp_path / "unproved.sad"
    write_bundle(path, whole.manifest.model_copy(update={"golden": golden}), files)
    wanted, history = RecipeConfig(bundle=str(path)), tmp_path / "none"
    built = recipe_from(0, wanted, StationConfig(backend="tensorrt_rtx"), history)
    for recipe in (built, moved(built, "onnxruntime", history)):
        with pytest.raises(GateFailed, match="no golden pictures for fp32"), opened(recipe, threads=1):
            pass
    with opened(recipe_from(0, wanted, StationConfig(backend="onnxruntime"), history), threads=1):
        pass  # asked for by name, and the engine that made the scores of the export


@pytest.mark.parametrize(
    ("set_on", "run_on", "revision"),
    [
        ("openvino", "openvino:throughput", 1),
        ("openvino", "openvino:bf16", 0),
        ("openvino:bf16", "openvino:bf16,nopin", 1),
        ("openvino:bf16", "openvino", 0),
    ],
)
def test_bf16_takes_no_threshold_set_on_f32_nor_the_other_way_round(
    tmp_path: Path, tiny_bundle: Path, caplog: pytest.LogCaptureFixture, set_on: str, run_on: str, revision: int
) -> None:
    history = tmp_path / "thresholds.json"
    line_side(history, read_bundle(tiny_bundle).manifest.precisions["fp32"].sha256, backend=set_on)
    with caplog.at_level(logging.WARNING):
        recipe = recipe_from(0, RecipeConfig(bundle=str(tiny_bundle)), StationConfig(backend=run_on), history)
    assert recipe.thresholds.revision == revision
    warned = "sad-calibrate --backend openvino:bf16" in caplog.text
    assert warned == (revision == 0 and "bf16" in run_on)
