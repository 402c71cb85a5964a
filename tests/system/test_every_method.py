"""Every method of the table goes the whole way: trained, exported, proved, and run on a line by the demo camera."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lines import decided, run
from sad_runtime.bundle import read_bundle
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
    camera = f"demo:washer?n={PARTS}&size={SIZE}&fps=20&defects=0.3&seed=4"
    decisions = decided(camera, tmp_path / "washer.sad", tmp_path, PARTS)
    assert [decision.seq for decision in decisions] == list(range(1, PARTS + 1))
    assert all(decision.verdict in (Verdict.PASS, Verdict.FAIL) for decision in decisions)
    scores = [decision.score for decision in decisions]
    assert all(score is not None and math.isfinite(score) for score in scores)
    assert len(set(scores)) > 1
