"""The house backbone: what it learns from, several sets at once, and what it may not see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sad_runtime.cameras.demo.dataset import write_dataset
from sad_runtime.errors import UsageError
from sad_runtime.pictures import read_picture
from sad_train.cli import main
from sad_train.config import TrainConfig
from sad_train.data.dataset import joined_datasets, read_dataset
from sad_train.data.dataset_check import check_dataset, joined_checks
from sad_train.data.profile import Profile, measured_profile
from sad_train.data.split import Picked, Split, joined_split, split_of
from sad_train.methods.backbone import GOOD, PATCH, SCAR, UNASKED, BackboneLearner, BackboneMaker
from sad_train.methods.base import Outcome
from sad_train.run import Run
from sad_train.torch_backend import torch_backend_from_run

QUICK = ("--size", "64", "--batch", "8", "--workers", "0", "--steps", "2", "--device", "cpu")
CONFIG = TrainConfig(method="backbone", network="narrow_resnet18", size_px=64, batch=16, clean_share=0.25)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """12 good washers and 10 good boards of 64 pixels. Do not write to them."""
    root = tmp_path_factory.mktemp("parts")
    for name, count in (("washer", 12), ("board", 10)):
        write_dataset(root / name, name, n_train=count, n_good=0, n_defect=0, seed=1, size_px=64)
    return [root / "washer", root / "board"]


@pytest.fixture(scope="module")
def site(parts: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone learnt from both. Do not write to it."""
    out = tmp_path_factory.mktemp("runs") / "site"
    sets = [word for part in parts for word in ("--data", str(part))]
    assert main([*QUICK, *sets, "--method", "backbone", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def profile(parts: list[Path]) -> Profile:
    return measured_profile([read_picture(path) for path in read_dataset(parts[0]).train_good])


def split_alone(part: Path) -> Split:
    """How a run on this part alone splits its pictures."""
    dataset = read_dataset(part)
    digests = check_dataset(dataset).digests
    return split_of(dataset.train_good, digests, calibration_share=0.2, validation_share=0.05, seed=0)


def test_a_batch_holds_good_pictures_pastes_scars_and_blends(parts: list[Path], profile: Profile) -> None:
    maker = BackboneMaker(CONFIG, profile)
    good, other = (read_picture(path) for path in read_dataset(parts[0]).train_good[:2])
    kinds, rng = [], np.random.default_rng(0)
    for slot in range(16):
        made = maker.sample(slot, good, lambda: other, rng)
        kind, label = int(made.values["kind"]), made.values["label"]
        assert label.shape == (64, 64)
        assert bool(label.any()) == (made.outcome is Outcome.ANOMALOUS)
        assert (made.outcome is Outcome.ANOMALOUS) == (kind != GOOD)
        kinds.append(kind)
    assert kinds[:4] == [GOOD] * 4
    assert kinds[4:9] == [PATCH, SCAR, PATCH, SCAR, PATCH]
    assert set(kinds[9:]) <= {UNASKED, GOOD}
    assert kinds[9:].count(UNASKED) >= 5


def test_blends_are_not_asked_about_and_a_batch_of_them_alone_costs_nothing(profile: Profile) -> None:
    torch.manual_seed(0)
    learner = BackboneLearner(CONFIG, profile, 3)
    batch = {
        "picture": torch.randn(4, 3, 64, 64),
        "label": torch.zeros(4, 64, 64),
        "kind": torch.full((4,), UNASKED),
    }
    losses = learner(batch)
    assert losses["kind"].item() == 0
    assert losses["label"].item() > 0
    losses = learner(batch | {"kind": torch.tensor([GOOD, UNASKED, SCAR, UNASKED])})
    assert 0.3 < losses["kind"].item() < 5
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for weight in learner.parameters())
    assert not learner.judges


def test_several_sets_make_one_backbone(site: Path, parts: list[Path]) -> None:
    run = Run(site)
    checkpoint = run.load()
    assert checkpoint.provenance.part == "washer+board"
    assert checkpoint.provenance.pictures == 22
    assert {path.parent.parent.parent.name for path in run.split().paths("train")} == {"washer", "board"}
    assert {"loss_kind", "loss_label"} <= run.metrics()[-1].keys()
    assert "synthetic_auroc" not in run.metrics()[-1]
    assert {path.name for path in run.previews.iterdir()} == {"synthetic.png"}
    assert f"sad-train --method fastflow --backbone {site}" in run.report.read_text()


def test_it_never_sees_what_any_of_its_sets_calibrates_with(site: Path, parts: list[Path]) -> None:
    """So a later training on one of the sets, with the same seed, has a threshold that can be trusted."""
    learnt = {picked.sha256 for share in ("train", "validation") for picked in getattr(Run(site).split(), share)}
    for part in parts:
        kept_back = {picked.sha256 for picked in split_alone(part).calibration}
        assert len(kept_back) == 5
        assert not kept_back & learnt


def test_it_judges_nothing(site: Path) -> None:
    with pytest.raises(UsageError, match="method backbone only prepares weights for others"):
        torch_backend_from_run(site)


def test_other_methods_refuse_several_sets(parts: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*QUICK, "--data", str(parts[0]), "--data", str(parts[1]), "--method", "fastflow"]) == 2
    assert "--method fastflow takes one --data, not 2; several are for" in capsys.readouterr().err


def test_the_command_says_what_to_do_next(
    parts: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "site"
    assert main([*QUICK, "--data", str(parts[0]), "--method", "backbone", "--out", str(out)]) == 0
    assert f"Next: sad-train --method fastflow --backbone {out}" in capsys.readouterr().out


def test_joined_sets_keep_their_pictures_apart_and_their_findings_together(parts: list[Path]) -> None:
    datasets = [read_dataset(part) for part in parts]
    checks = [check_dataset(dataset) for dataset in datasets]
    both = joined_datasets(datasets)
    assert both.sets == [dataset.train_good for dataset in datasets]
    assert len(both.train_good) == 22
    joined = joined_checks(datasets, checks)
    assert joined.sizes == {"64x64x3": 22}
    assert joined.digests == checks[0].digests | checks[1].digests
    assert joined.data_digest not in {check.data_digest for check in checks}
    assert joined_datasets(datasets[:1]) == datasets[0]
    assert joined_checks(datasets[:1], checks[:1]).data_digest == checks[0].data_digest


def test_a_picture_that_one_set_calibrates_with_is_learnt_from_in_none() -> None:
    def picked(*names: str) -> list[Picked]:
        return [Picked(path=name, sha256=name) for name in names]

    first = Split(train=picked("a", "b"), calibration=picked("c"), validation=picked("d"))
    second = Split(train=picked("b", "c"), calibration=picked("d", "e"), validation=[])
    joined = joined_split([first, second])
    assert joined == Split(train=picked("a", "b"), calibration=picked("c", "d", "e"), validation=[])
