"""`--method all`, `--preview` and several processes: what a user of sad-train gets beyond one training."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sad_runtime.cli.progress import Progress
from sad_runtime.pictures import read_picture
from sad_train import campaign
from sad_train.cli import main
from sad_train.methods.table import METHODS
from sad_train.run import Run
from sad_train.torch_backend import graph_from_checkpoint

DATA = "demo:washer?n=24&good=2&defect=2&size=64"
QUICK = ["--size", "64", "--steps", "2", "--batch", "6", "--workers", "0", "--device", "cpu"]


def test_help_names_every_method(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    words = set(capsys.readouterr().out.replace(",", " ").replace(";", " ").split())
    assert words >= METHODS.keys()


def test_a_campaign_trains_what_is_missing_and_skips_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(campaign, "COMPARED", ["nsa"])
    command = ["--data", DATA, "--method", "all", "--seeds", "0,1", "--out", str(tmp_path), "--json", *QUICK]
    assert main(command) == 0
    said = json.loads(capsys.readouterr().out)
    assert [Path(run["run"]).name for run in said["runs"]] == ["nsa-washer-0", "nsa-washer-1"]
    assert [run["seed"] for run in said["runs"]] == [0, 1]
    shutil.rmtree(tmp_path / "nsa-washer-0")
    assert main(command) == 0
    assert [Path(run["run"]).name for run in json.loads(capsys.readouterr().out)["runs"]] == ["nsa-washer-0"]


def test_a_training_that_fails_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(campaign, "COMPARED", ["nsa"])
    command = ["--data", DATA, "--method", "all", "--seeds", "0,1", "--out", str(tmp_path), *QUICK]
    other = ["--data", DATA, "--out", str(tmp_path / "nsa-washer-0"), *QUICK, "--batch", "4"]
    assert main(other) == 0  # in the way: another batch
    assert main(command) == 1
    assert "1 training(s) failed: nsa-washer-0: " in (said := capsys.readouterr().err)
    assert "holds a run with another batch" in said
    assert Run(tmp_path / "nsa-washer-1").load().finished


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--data", DATA], "--method nsa takes one --data, not 2"),
        (["--method", "all", "--seed", "3"], "--method all takes --seeds, as in --seeds 0,1,2"),
        (["--method", "all", "--seeds", "0;1"], "--seeds 0;1: give whole numbers, as in 0,1,2"),
        (["--seeds", "0,1"], "--seeds is for --method all; give --seed"),
        (["--method", "anoseg", "--paper-class", "bottle"], "--paper-class is for method nsa, not anoseg"),
    ],
)
def test_wrong_usage_is_refused_by_name(
    flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", DATA, "--out", str(tmp_path / "x"), *QUICK, *flags]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_a_preview_shows_before_after_and_label_without_training(tmp_path: Path) -> None:
    assert main(["--data", DATA, "--preview", str(tmp_path), *QUICK]) == 0
    (drawn,) = tmp_path.iterdir()
    assert drawn.name == "nsa.png"
    picture = read_picture(drawn)
    assert picture.shape == (2 * 3 * 192, 6 * 192, 3)
    before, after, label = picture[:192], picture[192:384], picture[384:576]
    changed = (before.astype(int) - after.astype(int)).any(axis=2)
    assert changed.any()
    assert (label > 128).any()
    assert changed[(label > 128).all(axis=2)].mean() > 0.9


@pytest.mark.slow
def test_two_processes_train_one_run_and_refuse_a_batch_they_cannot_share(tmp_path: Path) -> None:
    """gloo on the CPU, as torchrun starts it. Each makes half of every batch, the first one writes the folder."""
    out = tmp_path / "both"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--no-python", "--nproc-per-node", "2"]
    command = [str(Path(sys.executable).with_name("sad-train")), "--data", DATA, "--out", str(out), "--json", *QUICK]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run([*torchrun, *command], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["steps"] == 2  # one object, from the first process
    run = Run(out)
    assert run.load().finished
    assert all(math.isfinite(row["loss"]) for row in run.metrics())
    assert run.report.exists()

    refused = subprocess.run(
        [*torchrun, *command, "--restart", "--batch", "5"], capture_output=True, text=True, env=environment, timeout=300
    )
    assert refused.returncode != 0
    assert "batch 5 does not divide among 2 processes" in refused.stderr


def test_averaged_gradients_are_those_of_the_whole_batch(tmp_path: Path) -> None:
    """Two gloo processes with half a batch each, against one process with all of it."""
    script = tmp_path / "gradients.py"
    script.write_text(
        "import json, sys, torch\n"
        "from sad_train.distributed import joined\n"
        "x = torch.arange(12.0).reshape(4, 3).sin()\n"
        "with joined('cpu') as ranks:\n"
        "    torch.manual_seed(0)\n"
        "    model = torch.nn.Linear(3, 1)\n"
        "    both = ranks.together(model)\n"
        "    both(x[ranks.rank :: ranks.count]).square().mean().backward()\n"
        "    del both\n"
        "    if ranks.first:\n"
        "        print(json.dumps(model.weight.grad.tolist()))\n"
    )
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=True)
        for command in ([sys.executable, str(script)], torchrun)
    ]
    alone, together = (json.loads(run.stdout)[0] for run in runs)
    assert together == pytest.approx(alone, rel=1e-5)


def test_examples_made_on_the_device_train_too(tmp_path: Path) -> None:
    config = tmp_path / "device.yaml"
    config.write_text("examples: device\n")
    assert main(["--data", DATA, "--out", str(tmp_path / "run"), "--config", str(config), *QUICK]) == 0
    assert Run(tmp_path / "run").load().finished


def test_the_moving_average_ships_and_goes_on_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped half-way and resumed, it ends as an unbroken run does; it is not the last weights."""
    config = tmp_path / "average.yaml"
    config.write_text("ema: 0.5\ncheckpoint_every_s: 0.000001\n")
    flags = ["--data", DATA, "--config", str(config), *QUICK, "--steps", "4"]

    def stop(self: Progress, done: int, note: str = "") -> None:
        if self.what == "training" and done == 3:
            raise KeyboardInterrupt

    assert main([*flags, "--out", str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(Progress, "step", stop)
        assert main([*flags, "--out", str(tmp_path / "broken")]) == 130
    assert main([*flags, "--out", str(tmp_path / "broken")]) == 0
    whole, broken = (Run(tmp_path / name).load() for name in ("whole", "broken"))
    assert whole.average is not None
    assert broken.average is not None
    assert all(torch.equal(value, broken.average[name]) for name, value in whole.average.items())
    weight = "network.stem.0.weight"
    assert not torch.equal(whole.average[weight], whole.learner[weight])
    assert torch.equal(graph_from_checkpoint(whole).state_dict()[weight], whole.average[weight])
