"""A run folder: what is written comes back, and what is damaged, foreign or in use is refused."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sad_runtime.errors import AlreadyRunning, DataError
from sad_runtime.manifest import InputSpec
from sad_train.config import TrainConfig
from sad_train.data.profile import measured_profile
from sad_train.data.split import Picked, Split
from sad_train.methods.table import learner_for
from sad_train.run import Checkpoint, Provenance, Run, newest_finished_run
from sad_train.torch_backend import graph_from_checkpoint, torch_backend_from_run

CONFIG = TrainConfig(size_px=64, steps=5, batch=4)


def checkpoint_at(step: int) -> Checkpoint:
    torch.manual_seed(0)
    profile = measured_profile([np.zeros((64, 64, 1), np.uint8)])
    learner = learner_for(CONFIG, profile, 1)
    optimiser = torch.optim.AdamW(learner.parameters())
    learner.network(torch.zeros(1, 1, 64, 64)).heatmap.sum().backward()
    optimiser.step()
    return Checkpoint(
        step=step,
        seconds=12.5,
        config=CONFIG,
        spec=InputSpec(height=64, width=64, channels=1),
        profile=profile,
        provenance=Provenance(part="capsule", data_digest="0" * 64, pictures=9, versions={"torch": "2"}, commit=None),
        learner=learner.state_dict(),
        optimiser=optimiser.state_dict(),
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path / "runs" / "capsule")
    made.folder.mkdir(parents=True)
    return made


def test_a_checkpoint_comes_back_whole(run: Run) -> None:
    saved = checkpoint_at(5)
    run.save(saved)
    loaded = run.load()
    assert replace(loaded, learner={}, optimiser={}) == replace(saved, learner={}, optimiser={})
    assert loaded.learner.keys() == saved.learner.keys()
    assert all(torch.equal(loaded.learner[name], value) for name, value in saved.learner.items())
    for kept, given in zip(loaded.optimiser["state"].values(), saved.optimiser["state"].values(), strict=True):
        assert all(torch.equal(kept[name], given[name]) for name in ("step", "exp_avg", "exp_avg_sq"))
    assert [path.name for path in run.folder.iterdir()] == ["checkpoint.pt"]


def test_a_loaded_run_infers_as_the_one_that_was_saved(run: Run) -> None:
    saved = checkpoint_at(5)
    run.save(saved)
    pictures = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 1)).astype(np.uint8)
    with torch.no_grad():
        expected = graph_from_checkpoint(saved)(torch.from_numpy(pictures))[1].numpy()
    with torch_backend_from_run(run.folder) as backend:
        assert np.array_equal(backend.infer(pictures).score, expected)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(run: Run, share: float) -> None:
    run.save(checkpoint_at(5))
    data = run.checkpoint_file.read_bytes()
    run.checkpoint_file.write_bytes(data[: int(share * len(data))])
    with pytest.raises(DataError, match=r"checkpoint\.pt: damaged, or not a checkpoint"):
        run.load()


class Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return os.mkdir, (str(self.target),)


def test_a_checkpoint_that_carries_code_is_refused_and_the_code_not_run(run: Run, tmp_path: Path) -> None:
    """torch.load with weights only; a plain pickle and torch's own format."""
    target = tmp_path / "executed"
    run.checkpoint_file.write_bytes(pickle.dumps({"schema": 1, "network": Bomb(target)}))
    with pytest.raises(DataError, match="damaged, or not a checkpoint"):
        run.load()
    torch.save({"schema": 1, "network": Bomb(target)}, run.checkpoint_file)
    with pytest.raises(DataError, match="damaged, or not a checkpoint"):
        run.load()
    assert not target.exists()


@pytest.mark.parametrize(
    "content", [{"state_dict": {}}, {"schema": 3, "step": 1}, [1, 2], {"schema": 2, "step": 5}], ids=str
)
def test_another_programs_checkpoint_is_refused(run: Run, content: object) -> None:
    torch.save(content, run.checkpoint_file)
    with pytest.raises(DataError, match="not a checkpoint that this sad-train wrote"):
        run.load()


@pytest.mark.parametrize("data", [b"hello", b"\0" * 400, b"PK\x03\x04 no zip", b"epoch,loss\n1,2\n"])
def test_a_file_that_is_no_checkpoint_is_refused(run: Run, data: bytes) -> None:
    run.checkpoint_file.write_bytes(data)
    with pytest.raises(DataError, match="damaged, or not a checkpoint"):
        run.load()


def test_a_folder_without_a_checkpoint_names_the_command(run: Run) -> None:
    with pytest.raises(DataError, match=r"no checkpoint here\. Run: sad-train --data FOLDER --out"):
        run.load()


def test_a_run_that_another_process_trains_is_locked(run: Run) -> None:
    holder = (
        "import sys, pathlib; from sad_train.run import Run\n"
        f"with Run(pathlib.Path({str(run.folder)!r})).locked():\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning, match="another sad-train is at work"), run.locked():
            pass
        other.communicate()
    with run.locked():
        pass


def test_leftovers_of_a_killed_write_are_swept_away_under_the_lock(run: Run) -> None:
    (run.folder / ".checkpoint.pt.abc.tmp").write_bytes(b"half")
    with run.locked():
        assert [path.name for path in run.folder.iterdir()] == [".lock"]


def test_metrics_come_back_in_order_with_the_last_line_of_each_step(run: Run) -> None:
    for step, loss in ((1, 0.5), (3, 0.4), (2, 0.3), (3, 0.2)):
        run.note({"step": step, "loss": loss})
    assert run.metrics() == [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.3}, {"step": 3, "loss": 0.2}]


def test_a_line_that_a_kill_tore_costs_itself_and_no_other(run: Run) -> None:
    path = run.folder / "metrics.jsonl"
    run.note({"step": 1, "loss": 0.5})
    path.write_bytes(path.read_bytes() + b'{"step": 2, "lo')
    assert [row["step"] for row in run.metrics()] == [1]
    run.note({"step": 3, "loss": 0.4})
    assert [row["step"] for row in run.metrics()] == [1, 3]


def test_a_run_without_metrics_has_none(run: Run) -> None:
    assert run.metrics() == []


def test_the_description_of_a_run_comes_back(run: Run) -> None:
    picked = Picked(path="/parts/0.png", sha256="1" * 64)
    split = Split(train=[picked], calibration=[], validation=[])
    assert not run.exists()
    run.write(CONFIG, split, measured_profile([np.zeros((64, 64, 3), np.uint8)]))
    assert run.exists()
    assert run.config() == CONFIG
    assert run.split() == split
    assert json.loads((run.folder / "profile.json").read_text())["kind"] == "texture"


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_damaged_split_is_refused_by_name(run: Run, text: str) -> None:
    (run.folder / "split.json").write_text(text)
    with pytest.raises(Exception, match=r"split\.json") as refused:
        run.split()
    assert refused.value.exit_code == 2  # type: ignore[attr-defined]


def test_the_newest_finished_run_is_found(tmp_path: Path) -> None:
    for age, (name, step) in enumerate([("still training", 3), ("new", 5), ("old", 5)]):
        run = Run(tmp_path / name)
        run.folder.mkdir()
        run.save(checkpoint_at(step))
        os.utime(run.checkpoint_file, (1e9 - age, 1e9 - age))
    assert newest_finished_run(tmp_path).folder.name == "new"


def test_a_newer_run_that_does_not_fit_is_passed_over(tmp_path: Path) -> None:
    """As a house backbone is by sad-export: it judges nothing."""
    for age, (name, method) in enumerate([("encoder", "backbone"), ("part", "nsa")]):
        run = Run(tmp_path / name)
        run.folder.mkdir()
        run.save(replace(checkpoint_at(5), config=CONFIG.model_copy(update={"method": method})))
        os.utime(run.checkpoint_file, (1e9 - age, 1e9 - age))
    assert newest_finished_run(tmp_path, lambda config: config.method != "backbone").folder.name == "part"


def test_without_a_finished_run_the_command_to_give_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no finished run here\. Run: sad-train"):
        newest_finished_run(tmp_path / "runs")
