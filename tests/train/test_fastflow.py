"""sad-train --method fastflow: over a file, over a house backbone, and over the one it learns for itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from folders import write_picture
from sad_runtime.backends.table import backend_for
from sad_runtime.bundle import read_bundle
from sad_runtime.cameras.demo.dataset import write_dataset
from sad_runtime.pictures import read_picture
from sad_train.cli import main
from sad_train.config import TrainConfig
from sad_train.house_backbone import house_config
from sad_train.networks.resnet import ResNet
from sad_train.run import Run
from sad_train.torch_backend import torch_backend_from_run

QUICK = ("--method", "fastflow", "--size", "64", "--batch", "4", "--workers", "0", "--steps", "4", "--device", "cpu")


@pytest.fixture(scope="module")
def washers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 good washers of 64 pixels. Do not write to it."""
    folder = tmp_path_factory.mktemp("parts") / "washer"
    write_dataset(folder, "washer", n_train=16, n_good=0, n_defect=0, seed=1, size_px=64)
    return folder


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration with two coupling steps and a backbone learnt in two steps."""
    path = tmp_path_factory.mktemp("configuration") / "short.yaml"
    path.write_text("fastflow: {steps: 2, backbone_steps: 2}\n")
    return path


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random ResNet-18 as torchvision saves one."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet18-random.pth"
    torch.save({**ResNet(18, 3).state_dict(), "fc.weight": torch.zeros(10, 512), "fc.bias": torch.zeros(10)}, path)
    return path


@pytest.fixture(scope="module")
def over_a_file(washers: Path, short: Path, weights_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run over a file that is gone since. Do not write to it."""
    out = tmp_path_factory.mktemp("runs") / "washer"
    copy = shutil.copy(weights_file, out.parent / weights_file.name)
    told = ["--backbone", str(copy), "--network", "resnet18", "--backbone-licence", "BSD-3-Clause"]
    assert train(washers, short, out, *told) == 0
    Path(copy).unlink()
    return out


@pytest.fixture(scope="module")
def alone(washers: Path, short: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that learnt its own backbone. Do not write to it."""
    out = tmp_path_factory.mktemp("runs") / "alone"
    assert train(washers, short, out) == 0
    return out


def train(data: Path, config: Path, out: Path, *flags: str | Path) -> int:
    return main([*QUICK, "--data", str(data), "--config", str(config), "--out", str(out), *map(str, flags)])


def refusal(capsys: pytest.CaptureFixture[str], data: Path, config: Path, out: Path, *flags: str | Path) -> str:
    capsys.readouterr()
    assert train(data, config, out, *flags) == 2
    return capsys.readouterr().err


def test_only_the_flows_learn(over_a_file: Path, weights_file: Path) -> None:
    checkpoint = Run(over_a_file).load()
    given = torch.load(weights_file, weights_only=True)
    kept = {
        name.removeprefix("network.encoder."): value
        for name, value in checkpoint.learner.items()
        if name.startswith("network.encoder.")
    }
    assert len(kept) > 70
    assert torch.equal(kept.pop("conv1.weight"), given["conv1.weight"].flip(1))
    assert all(torch.equal(value, given[name]) for name, value in kept.items())
    assert all(float(value.abs().sum()) > 0 for name, value in checkpoint.learner.items() if "subnet.2" in name)


def test_a_run_notes_the_loss_of_every_scale_and_makes_no_anomalies(over_a_file: Path) -> None:
    rows = Run(over_a_file).metrics()
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["loss_stride4"] == pytest.approx(0.5, abs=0.01)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert {"loss_stride8", "loss_stride16"} <= rows[-1].keys()
    assert not (over_a_file / "previews" / "synthetic.png").exists()
    assert "resnet18-random.pth, licence: BSD-3-Clause" in (over_a_file / "report.html").read_text()


def test_the_heatmap_is_a_distance_and_the_embedding_the_encoders(over_a_file: Path, washers: Path) -> None:
    picture = read_picture(next((washers / "train" / "good").iterdir()))[np.newaxis]
    with torch_backend_from_run(over_a_file) as backend:
        outputs = backend.infer(np.ascontiguousarray(picture))
    assert outputs.heatmap.shape == (1, 64, 64)
    assert outputs.embedding.shape == (1, 256)
    assert outputs.heatmap.min() >= 0
    assert 0 < float(outputs.score[0]) <= float(outputs.heatmap.max())


@pytest.mark.slow
@pytest.mark.parametrize("opset", ["20", "17"])
def test_the_bundle_needs_no_weights_file_and_names_it(over_a_file: Path, tmp_path: Path, opset: str) -> None:
    from sad_export.cli import main as export

    path = tmp_path / "washer.sad"
    assert export([str(over_a_file), "--out", str(path), "--opset", opset]) == 0
    bundle = read_bundle(path)
    assert bundle.manifest.method == "fastflow"
    assert bundle.manifest.backbone is not None
    assert bundle.manifest.backbone.model_dump() == {"name": "resnet18-random.pth", "licence": "BSD-3-Clause"}
    with backend_for("onnxruntime", bundle.files["model/fp32.onnx"], bundle.manifest.input) as backend:
        outputs = backend.infer(np.zeros((1, 64, 64, 3), np.uint8))
    assert np.isfinite(outputs.score).all()


def test_without_a_backbone_one_is_learnt_from_the_runs_own_training_pictures(alone: Path) -> None:
    run, house = Run(alone), Run(alone / "backbone")
    assert house.load().finished
    assert house.config().method == "backbone"
    assert (house.config().steps, house.config().size_px, house.config().network) == (2, 64, run.config().network)
    split, learnt_from = run.split(), house.split()
    assert learnt_from.train == split.train
    assert learnt_from.calibration == []
    assert len(split.calibration) == 5
    backbone = run.load().provenance.backbone
    assert backbone is not None
    assert backbone.name == "house backbone (narrow_resnet18, from pictures of washer)"
    assert backbone.licence == "none needed: learnt from the site's own pictures"
    trunk = house.load().learner["network.layer2.0.conv1.weight"]
    assert torch.equal(run.load().learner["network.encoder.layer2.0.conv1.weight"], trunk)


def test_a_backbone_that_was_learnt_before_is_taken_again(
    alone: Path, washers: Path, short: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    again = tmp_path / "again"
    shutil.copytree(alone, again)
    for name in ("checkpoint.pt", "config.yaml", "report.html"):
        (again / name).unlink()
    before = (again / "backbone" / "checkpoint.pt").read_bytes()
    with caplog.at_level("INFO"):
        assert train(washers, short, again) == 0
    assert "no backbone is named, so one is learnt from the good pictures first" in caplog.text
    assert "learnt before" in caplog.text
    assert (again / "backbone" / "checkpoint.pt").read_bytes() == before
    first, second = Run(alone).load().learner, Run(again).load().learner
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_run_that_has_begun_goes_on_without_its_backbone(
    alone: Path, washers: Path, short: Path, tmp_path: Path
) -> None:
    """Weights are in the checkpoint, and so is what they are called."""
    cut = tmp_path / "cut"
    shutil.copytree(alone, cut)
    shutil.rmtree(cut / "backbone")
    (cut / "report.html").unlink()
    assert train(washers, short, cut) == 0
    assert not (cut / "backbone").exists()
    assert Run(cut).load().provenance == Run(alone).load().provenance


def test_another_run_can_build_on_it(alone: Path, washers: Path, short: Path, tmp_path: Path) -> None:
    for place in (alone / "backbone", alone / "backbone" / "checkpoint.pt"):
        out = tmp_path / place.name
        assert train(washers, short, out, "--backbone", place) == 0
        backbone = Run(out).load().provenance.backbone
        assert backbone is not None
        assert backbone.name.startswith("house backbone (narrow_resnet18")


def test_a_backbone_that_saw_calibration_pictures_is_told_of(
    alone: Path, washers: Path, short: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert train(washers, short, tmp_path / "same", "--backbone", alone / "backbone") == 0
    assert "the threshold will be set on" not in caplog.text
    assert train(washers, short, tmp_path / "other", "--backbone", alone / "backbone", "--seed", "3") == 0
    assert "of the 5 pictures that the threshold will be set on" in caplog.text


def test_a_wrong_file_is_refused_before_the_run_is_written(
    washers: Path, short: Path, weights_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    said = refusal(capsys, washers, short, out, "--backbone", weights_file)
    assert "holds a ResNet-18, the configuration says narrow_resnet18" in said
    assert "Add --network resnet18" in said
    assert not (out / "config.yaml").exists()
    assert "no such backbone" in refusal(capsys, washers, short, out, "--backbone", tmp_path / "none.pth")
    assert "small_unet is no backbone" in refusal(
        capsys, washers, short, out, "--backbone", weights_file, "--network", "small_unet"
    )


def test_an_unfinished_run_or_one_of_another_method_is_no_backbone(
    alone: Path, washers: Path, short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert "a run of method fastflow; a house backbone is made by" in refusal(
        capsys, washers, short, out, "--backbone", alone
    )
    cut = tmp_path / "cut"
    shutil.copytree(alone / "backbone", cut)
    values = torch.load(cut / "checkpoint.pt", weights_only=True)
    torch.save(values | {"step": 1}, cut / "checkpoint.pt")
    assert "this training stopped at step 1 of 2" in refusal(capsys, washers, short, out, "--backbone", cut)


def test_a_backbone_for_a_method_without_one_is_refused(
    washers: Path, weights_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(washers), "--method", "nsa", "--backbone", str(weights_file)]) == 2
    assert "--backbone and --backbone-licence are for method fastflow, not nsa" in capsys.readouterr().err


def test_grey_pictures_take_a_colour_backbone(washers: Path, short: Path, weights_file: Path, tmp_path: Path) -> None:
    for path in sorted((washers / "train" / "good").iterdir()):
        write_picture(tmp_path / "grey" / path.name, np.ascontiguousarray(read_picture(path)[..., 1]))
    out = tmp_path / "out"
    assert train(tmp_path / "grey", short, out, "--backbone", weights_file, "--network", "resnet18") == 0
    given = torch.load(weights_file, weights_only=True)["conv1.weight"]
    summed = Run(out).load().learner["network.encoder.conv1.weight"]
    torch.testing.assert_close(summed, given.sum(1, keepdim=True), rtol=1e-5, atol=1e-5)


def test_the_house_backbone_takes_its_pictures_and_shape_from_the_run() -> None:
    config = TrainConfig(
        method="fastflow", preset="mine", network="resnet50", size_px=96, crop_px=64, seed=4, steps=300, batch=8
    )
    house = house_config(config, 1)
    assert (house.method, house.network, house.size_px, house.crop_px) == ("backbone", "resnet50", 96, 64)
    assert (house.channels, house.seed, house.steps, house.batch) == (1, 4, 300, 24)
    more = config.model_copy(update={"fastflow": config.fastflow.model_copy(update={"backbone_steps": 900})})
    assert house_config(more, 3).steps == 900


def test_with_json_the_summary_is_of_the_run_itself(
    washers: Path, short: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(washers, short, tmp_path / "out", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["method"], summary["steps"], summary["run"]) == ("fastflow", 4, str(tmp_path / "out"))
