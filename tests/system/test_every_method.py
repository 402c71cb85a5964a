"""Every method of the table goes the whole way: trained, exported, proved, and run on a line by the demo camera."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest

from lines import decided, run
from sad_export.precisions.choice import Apart, Choice, Layer, Way
from sad_export.precisions.material import Material
from sad_export.precisions.models import PRECISIONS, Models
from sad_export.precisions.quantised import quantisable
from sad_export.precisions.splitting import without_concatenated_inputs
from sad_runtime.bundle import Bundle, read_bundle
from sad_runtime.cameras.demo.parts import render
from sad_runtime.engines.room import EngineRoom
from sad_runtime.engines.settings import EngineSettings
from sad_runtime.verdict import Verdict
from sad_train.methods.table import METHODS

pytestmark = pytest.mark.slow
INSPECTING = [name for name, method in METHODS.items() if method.inspects]
PARTS = 12
SIZE = 128


def succeeded(module: str, *arguments: str, cwd: Path) -> str:
    """What the command printed."""
    done = run(module, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def tensorrt_builds_all(bundle: Bundle, folder: Path) -> None:
    """Every file, with every convolution in INT8: what stays in float is chosen by measurement, elsewhere."""
    goods = np.stack(
        [render("washer", seed=9, index=index, size_px=bundle.manifest.input.width).image for index in range(8)]
    )
    models = Models(bundle.model("fp32"), bundle.manifest.input, lambda: Material(goods, [], []), engine="onnxruntime")
    names = [node.name for node in quantisable(without_concatenated_inputs(onnx.load_from_string(models.fp32)))]
    models.choice = Choice(Way("max"), {}, [Layer(name, 0.0, 0.0, False) for name in names], Apart(0.0, 1.0, 0.0))
    room = EngineRoom("tensorrt_rtx", folder, EngineSettings())
    for precision in PRECISIONS:
        assert len(room.engine(models.made(precision).model)) > 1000, precision


@pytest.mark.parametrize("method", INSPECTING)
def test_a_method_goes_the_whole_way(method: str, tmp_path: Path) -> None:
    data = f"demo:washer?n=30&good=4&defect=6&size={SIZE}"
    flags = ["--size", str(SIZE), "--steps", "6", "--batch", "6", "--workers", "0", "--device", "cpu"]
    succeeded("sad_train.cli", "--data", data, "--method", method, "--out", "run", *flags, cwd=tmp_path)
    report = json.loads(succeeded("sad_export.cli", "run", "--out", "washer.sad", "--json", cwd=tmp_path))
    assert report["gate"] == "passed"
    assert report["precisions"]["fp32"]["flips"] == 0
    bundle = read_bundle(tmp_path / "washer.sad")
    assert bundle.manifest.method == method
    assert len(bundle.manifest.golden) >= 8
    measured = json.loads(succeeded("sad_train.evaluation.cli", "washer.sad", "--data", data, "--json", cwd=tmp_path))
    assert (measured["n_good"], measured["n_defect"]) == (4, 6)
    assert measured["image_auroc"] is not None
    assert measured["pixel_auroc"] is not None
    tensorrt_builds_all(bundle, tmp_path / "engines")
    camera = f"demo:washer?n={PARTS}&size={SIZE}&fps=20&defects=0.3&seed=4"
    decisions = decided(camera, tmp_path / "washer.sad", tmp_path, PARTS)
    assert [decision.seq for decision in decisions] == list(range(1, PARTS + 1))
    assert all(decision.verdict in (Verdict.PASS, Verdict.FAIL) for decision in decisions)
    scores = [decision.score for decision in decisions]
    assert all(score is not None and math.isfinite(score) for score in scores)
    assert len(set(scores)) > 1
