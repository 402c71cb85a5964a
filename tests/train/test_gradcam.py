"""Grad-CAM: against the definition worked out by differences, and where sad-evaluate takes it and where not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from profiles import WHOLE_PICTURE
from sad_runtime.cameras.demo.dataset import write_dataset
from sad_train.cli import main as train
from sad_train.config import TrainConfig
from sad_train.evaluation.cli import main as evaluate
from sad_train.evaluation.gradcam import activation_map
from sad_train.methods.cutpaste import CutPasteLearner
from sad_train.methods.table import learner_for


@pytest.fixture(scope="module")
def washers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 good washers to train on, 4 good and 6 defective ones to judge, 64 pixels."""
    folder = tmp_path_factory.mktemp("parts") / "washer"
    write_dataset(folder, "washer", n_train=16, n_good=4, n_defect=6, seed=1, size_px=64)
    return folder


def trained(method: str, washers: Path, out: Path) -> Path:
    flags = ["--size", "64", "--steps", "2", "--batch", "6", "--workers", "0"]
    assert train(["--method", method, "--data", str(washers), "--out", str(out), *flags]) == 0
    return out


def test_channels_count_by_the_slope_of_the_log_odds() -> None:
    settings = TrainConfig(method="cutpaste_3way", network="small_resnet", size_px=64, batch=6, score="network")
    learner = learner_for(settings, WHOLE_PICTURE, 3).double().eval()
    assert isinstance(learner, CutPasteLearner)
    features = torch.rand((1, 128, 2, 2), generator=torch.Generator().manual_seed(0)).double()

    def odds(change: torch.Tensor) -> float:
        logits = learner.logits(features + change)[0].detach()
        return float(logits[1:].logsumexp(0) - logits[0])

    slopes = []
    for channel in range(128):
        step = torch.zeros_like(features)
        step[0, channel] = 1e-6
        slopes.append((odds(step) - odds(-step)) / (2e-6 * 4))  # all four places moved: the mean slope
    expected = (torch.tensor(slopes).double()[None, :, None, None] * features).sum(1, keepdim=True).relu()
    with torch.no_grad():
        torch.testing.assert_close(activation_map(features, learner), expected, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_a_run_of_a_classifier_is_judged_by_either_heatmap_with_the_same_scores(
    washers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(trained("cutpaste_3way", washers, tmp_path / "run"))
    found = {}
    for heatmap in ("own", "gradcam"):
        capsys.readouterr()
        assert evaluate([run, "--data", str(washers), "--json", "--heatmap", heatmap]) == 0
        found[heatmap] = json.loads(capsys.readouterr().out)
    assert found["own"]["image_auroc"] == found["gradcam"]["image_auroc"]
    assert found["own"]["pixel_auroc"] != found["gradcam"]["pixel_auroc"]
    assert found["gradcam"]["method"] == "cutpaste_3way with Grad-CAM"


@pytest.mark.slow
def test_a_run_without_a_classifier_is_refused(
    washers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = trained("nsa", washers, tmp_path / "run")
    assert evaluate([str(run), "--data", str(washers), "--heatmap", "gradcam"]) == 2
    assert "method nsa has no classifier to explain; only cutpaste, cutpaste_scar" in capsys.readouterr().err


def test_a_bundle_is_refused(tiny_bundle: Path, washers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate([str(tiny_bundle), "--data", str(washers), "--heatmap", "gradcam"]) == 2
    assert "carries no classifier" in capsys.readouterr().err


def test_a_comparison_shows_only_own_heatmaps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate([str(tmp_path), "--compare", "--data", str(tmp_path), "--heatmap", "gradcam"]) == 2
    assert "--heatmap gradcam: one SUBJECT at a time" in capsys.readouterr().err
