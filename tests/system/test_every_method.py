"""Every method of the table goes the whole way: trained, exported, proved, and run on a line by the demo camera."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sad_runtime.bundle import read_bundle
from sad_runtime.messages import Decision
from sad_runtime.subscriber import Subscriber
from sad_runtime.verdict import Verdict
from sad_train.methods.table import METHODS

pytestmark = pytest.mark.slow
INSPECTING = [name for name, method in METHODS.items() if method.inspects]
PARTS = 12
SIZE = 128


def run(module: str, *arguments: str, cwd: Path) -> str:
    code = f"import sys; from {module} import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "XDG_CACHE_HOME": str(cwd / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("method", INSPECTING)
def test_a_method_goes_the_whole_way(method: str, tmp_path: Path) -> None:
    data = f"demo:washer?n=30&good=4&defect=6&size={SIZE}"
    flags = ["--size", str(SIZE), "--steps", "6", "--batch", "6", "--workers", "0", "--device", "cpu"]
    run("sad_train.cli", "--data", data, "--method", method, "--out", "run", *flags, cwd=tmp_path)
    report = json.loads(run("sad_export.cli", "run", "--out", "washer.sad", "--json", cwd=tmp_path))
    assert report["gate"] == "passed"
    assert report["precisions"]["fp32"]["flips"] == 0
    bundle = read_bundle(tmp_path / "washer.sad")
    assert bundle.manifest.method == method
    assert len(bundle.manifest.golden) >= 8
    measured = json.loads(run("sad_train.evaluation.cli", "washer.sad", "--data", data, "--json", cwd=tmp_path))
    assert (measured["n_good"], measured["n_defect"]) == (4, 6)
    assert measured["image_auroc"] is not None
    assert measured["pixel_auroc"] is not None
    decisions = on_the_line(tmp_path)
    assert [decision.seq for decision in decisions] == list(range(1, PARTS + 1))
    assert all(decision.verdict in (Verdict.PASS, Verdict.FAIL) for decision in decisions)
    scores = [decision.score for decision in decisions]
    assert all(score is not None and math.isfinite(score) for score in scores)
    assert len(set(scores)) > 1


def on_the_line(folder: Path) -> list[Decision]:
    """The decisions of a station that looked at rendered parts."""
    addresses = {name: f"ipc://{folder}/{name}.ipc" for name in ("decisions", "heatmaps", "snapshot")}
    flags = [word for name, address in addresses.items() for word in (f"--{name}", address)]
    camera = f"demo:washer?n={PARTS}&size={SIZE}&fps=20&defects=0.3&seed=4"
    options = ["--camera", camera, "--bundle", "washer.sad", "--state", "state"]
    command = [sys.executable, "-m", "sad_runtime.cli.runtime", *options, *flags]
    decisions: list[Decision] = []
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stderr=log, cwd=folder) as process,
        Subscriber(addresses["decisions"], history=True) as feed,
    ):
        while len(decisions) < PARTS and process.poll() is None:
            decision = feed.poll(200)
            if decision is not None:
                decisions.append(decision)
        assert process.wait(30) == 0, (folder / "log").read_text()
    return decisions
