"""sad-train from end to end, on small rendered washers: what it leaves, refuses, survives and goes on with."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

from folders import write_goods, write_picture
from sad_runtime.cameras.demo.dataset import write_dataset
from sad_runtime.cli.progress import Progress
from sad_runtime.pictures import read_picture
from sad_train import loop
from sad_train.cli import main
from sad_train.methods import nsa
from sad_train.run import Run

QUICK = ("--size", "64", "--batch", "4", "--workers", "0")
PRODUCED = {
    *("config.yaml", "split.json", "profile.json", "checkpoint.pt", "metrics.jsonl", "report.html"),
    *("previews/synthetic.png", "previews/heatmaps_good.png", "previews/heatmaps_synthetic.png"),
}


@pytest.fixture(scope="module")
def washers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 good washers of 64 pixels. Do not write to it."""
    folder = tmp_path_factory.mktemp("parts") / "washer"
    write_dataset(folder, "washer", n_train=12, n_good=0, n_defect=0, seed=1, size_px=64)
    return folder


@pytest.fixture(scope="module")
def finished(washers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 6 steps. Do not write to it."""
    out = tmp_path_factory.mktemp("runs") / "washer"
    assert main(["--data", str(washers), "--out", str(out), "--steps", "6", *QUICK]) == 0
    return out


@pytest.fixture
def often(tmp_path: Path) -> Path:
    """A configuration that saves a checkpoint after every step."""
    path = tmp_path / "often.yaml"
    path.write_text("checkpoint_every_s: 0.000001\n")
    return path


@pytest.fixture
def half_way(washers: Path, often: Path, tmp_path: Path) -> Path:
    """A run that Ctrl-C stopped after 3 of 6 steps."""
    out = tmp_path / "half way"

    def stop(self: Progress, done: int, note: str = "") -> None:
        if self.what == "training" and done == 4:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "step", stop)
        assert train(washers, out, "--steps", "6", "--config", often) == 130
    assert Run(out).load().step in (3, 4)
    return out


def train(data: Path | str, out: Path, *flags: str | Path) -> int:
    return main(["--data", str(data), "--out", str(out), *QUICK, *map(str, flags)])


def refusal(capsys: pytest.CaptureFixture[str], data: Path | str, out: Path, *flags: str | Path, code: int = 2) -> str:
    capsys.readouterr()
    assert train(data, out, *flags) == code
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def same_weights(one: Path, other: Path) -> bool:
    first, second = Run(one).load(), Run(other).load()
    return first.step == second.step and all(
        torch.equal(value, second.learner[name]) for name, value in first.learner.items()
    )


def test_a_run_leaves_every_file_of_its_folder(finished: Path, washers: Path) -> None:
    files = {path.relative_to(finished).as_posix() for path in finished.rglob("*") if path.is_file()}
    assert files == PRODUCED | {".lock"}
    run = Run(finished)
    assert run.load().finished
    assert run.config().steps == 6
    split = run.split()
    assert (len(split.train), len(split.calibration), len(split.validation)) == (7, 5, 0)
    assert all(Path(picked.path).parent == (washers / "train" / "good").resolve() for picked in split.calibration)
    assert [row["step"] for row in run.metrics()] == [1, 2, 3, 4, 5, 6]
    assert all(row["loss"] > 0 and row["without_patch"] == 0 for row in run.metrics())
    page = (finished / "report.html").read_text()
    for text in ("Training of washer", "the anomaly made of it", "sad-export"):
        assert text in page
    assert read_picture(finished / "previews" / "synthetic.png").std() > 0


def test_a_finished_run_is_refused_and_left_as_it_is(
    finished: Path, washers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "checkpoint.pt").read_bytes()
    assert "this run is finished. Give another --out, or --restart" in refusal(
        capsys, washers, finished, "--steps", "6"
    )
    assert (finished / "checkpoint.pt").read_bytes() == before


def test_other_settings_for_an_existing_run_are_refused_by_name(
    finished: Path, washers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(capsys, washers, finished, "--steps", "7", "--seed", "3")
    assert "holds a run with another steps, seed." in said
    assert "--restart" in said


def test_restart_trains_again_and_ends_with_the_same_weights(finished: Path, washers: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    shutil.copytree(finished, again)
    assert train(washers, again, "--steps", "6", "--seed", "9", "--restart") == 0
    assert not same_weights(again, finished)
    assert train(washers, again, "--steps", "6", "--restart") == 0
    assert same_weights(again, finished)
    assert len(Run(again).metrics()) == 6


def test_a_stopped_run_goes_on_and_ends_as_an_unbroken_one(
    half_way: Path, finished: Path, washers: Path, often: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        assert train(washers, half_way, "--steps", "6", "--config", often) == 0
    assert "going on at step" in caplog.text
    assert same_weights(half_way, finished)
    assert [row["loss"] for row in Run(half_way).metrics()] == [row["loss"] for row in Run(finished).metrics()]


def test_how_many_processes_make_examples_may_change_in_the_middle(
    half_way: Path, finished: Path, washers: Path
) -> None:
    assert train(washers, half_way, "--steps", "6", "--workers", "1") == 0
    assert same_weights(half_way, finished)


def test_changed_pictures_are_refused_in_the_middle_of_a_run(
    half_way: Path, washers: Path, often: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "parts" / "washer"
    shutil.copytree(washers, changed)
    first = changed / "train" / "good" / "000.png"
    write_picture(first, np.asarray(255 - read_picture(first), dtype=np.uint8))
    said = refusal(capsys, changed, half_way, "--steps", "6", "--config", often)
    assert "the pictures changed since this run began" in said


def test_the_same_pictures_in_another_place_go_on_and_the_run_knows_the_place(
    half_way: Path, washers: Path, often: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(washers, moved)
    assert train(moved, half_way, "--steps", "6", "--config", often) == 0
    assert {path.parent for path in Run(half_way).split().paths("calibration")} == {moved / "train" / "good"}


def test_a_run_that_was_cut_off_before_its_report_gets_one(finished: Path, washers: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(finished, cut)
    (cut / "report.html").unlink()
    shutil.rmtree(cut / "previews")
    assert train(washers, cut, "--steps", "6") == 0
    assert {path.relative_to(cut).as_posix() for path in cut.rglob("*") if path.is_file()} == PRODUCED | {".lock"}
    assert same_weights(cut, finished)


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(
    washers: Path, often: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real, calls = tmp_path / "nan", nsa.soft_label_loss, 0

    def broken(*arguments: Any, **named: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return real(*arguments, **named) * (float("nan") if calls == 4 else 1)

    monkeypatch.setattr(nsa, "soft_label_loss", broken)
    said = refusal(capsys, washers, out, "--steps", "6", "--config", often, code=1)
    assert "not a number at step 4; the last good checkpoint is kept. Lower learning_rate" in said
    kept = Run(out).load()
    assert kept.step == 3
    assert all(bool(value.isfinite().all()) for value in kept.learner.values())


def test_weights_that_are_no_numbers_are_never_saved(
    washers: Path, often: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss of a step is taken before its update, so the update can break what the loss did not show."""
    out, real = tmp_path / "steep", nsa.soft_label_loss

    def steep(logits: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        return real(logits, *rest, **named) + (0 * logits.mean()).sqrt()  # adds 0; its slope is no number

    monkeypatch.setattr(nsa, "soft_label_loss", steep)
    said = refusal(capsys, washers, out, "--steps", "6", "--config", often, code=1)
    assert "not a number at step 1" in said
    assert not Run(out).checkpoint_file.exists()


def test_running_means_that_are_no_numbers_are_never_saved(
    washers: Path, often: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights and loss can look well while a batch norm, or a density, would make every score one that is no number."""

    def broken(self: nsa.NsaLearner, goods: object) -> None:
        self.network.get_buffer("stem.1.running_mean").fill_(float("nan"))

    monkeypatch.setattr(nsa.NsaLearner, "settle", broken)
    out = tmp_path / "means"
    assert "not a number at step 3" in refusal(capsys, washers, out, "--steps", "3", "--config", often, code=1)
    assert Run(out).load().step == 2


def test_a_score_that_the_network_has_not_is_refused_before_training(
    washers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "score.yaml").write_text("score: network\n")
    said = refusal(capsys, washers, tmp_path / "out", "--config", tmp_path / "score.yaml")
    assert "the network of method nsa has no score; take peak or mean" in said
    assert not Run(tmp_path / "out").exists()


def test_a_run_begun_without_a_loss_scale_goes_on_with_one(
    half_way: Path, washers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when it moves from a CPU to a GPU that knows fp16 only."""
    monkeypatch.setattr(loop, "_mixed_precision", lambda ranks: (nullcontext, torch.amp.GradScaler("cpu")))
    assert train(washers, half_way, "--steps", "6") == 0
    assert Run(half_way).load().scaler


def test_a_training_that_finds_no_place_for_its_anomalies_says_so(
    washers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Patches must cover more of the part than there is. On the page, on the log, and instead of a preview."""
    settings = tmp_path / "nowhere.yaml"
    settings.write_text("nsa: {min_object: 1.0, background: [0, 255]}\n")
    out = tmp_path / "out"
    assert train(washers, out, "--steps", "2", "--config", str(settings)) == 0
    assert "100 % of the examples that were to hold an anomaly found no place" in caplog.text
    assert "found no place" in Run(out).report.read_text()
    assert main(["--data", str(washers), "--preview", str(tmp_path), "--config", str(settings), *QUICK]) == 2
    assert "finds no place for any anomaly in these pictures" in capsys.readouterr().err


def test_three_pictures_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_goods(tmp_path / "few", 3)
    assert "3 good pictures; at least 8 are needed" in refusal(capsys, tmp_path / "few", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_copies_of_a_few_pictures_are_too_few_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_goods(tmp_path / "few", 4)
    for path in sorted((tmp_path / "few").iterdir()):
        for copy in range(3):
            shutil.copy(path, path.with_name(f"{path.stem}-{copy}.png"))
    assert "4 different good pictures are too few" in refusal(capsys, tmp_path / "few", tmp_path / "out")


def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_goods(tmp_path / "parts", 9)
    (tmp_path / "parts" / "005.png").write_bytes(b"no picture")
    said = refusal(capsys, tmp_path / "parts", tmp_path / "out")
    assert "1 problem(s) to mend first" in said
    assert "005.png" in said


def test_a_roi_that_leaves_a_picture_names_the_picture(
    washers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "roi.yaml").write_text("roi: [10, 10, 60, 40]\n")
    said = refusal(capsys, washers, tmp_path / "out", "--config", tmp_path / "roi.yaml")
    assert "the ROI 60x40+10+10 leaves the picture" in said
    assert ".png" in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz: 5", "unknown key 'stepz'; did you mean 'steps'?"),
        ("nsa: {max_patchs: 3}", "unknown key 'nsa.max_patchs'; did you mean 'max_patches'?"),
        ("nuisance: {noise: -1}", "'nuisance.noise'"),
        ("roi: [-1, 0, 5, 5]", "'roi.0'"),
        ("size_px: 100", "take 96"),
        ("- steps", "expected keys and values"),
        ("steps: [", "not valid YAML"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name_before_any_picture_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert main(["--data", "nowhere", "--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "mine.yaml" in said


def test_a_configuration_changes_single_keys_of_a_group_and_flags_win(washers: Path, tmp_path: Path) -> None:
    """The paper preset switches all nuisance off; asking for noise must not switch the rest on again."""
    (tmp_path / "mine.yaml").write_text(
        "network: small_unet\nnuisance: {noise: 1.5}\nsteps: 3\nepochs: null\ncrop_px: 32\ncentre_px: 48\n"
    )
    out = tmp_path / "out"
    assert train(washers, out, "--preset", "paper", "--config", tmp_path / "mine.yaml", "--steps", "1") == 0
    config = Run(out).config()
    assert (config.nuisance.noise, config.nuisance.gain, config.nuisance.rotation_deg) == (1.5, 0, 0)
    assert (config.steps, config.crop_px, config.score) == (1, 32, "mean")


def test_check_says_what_it_found_and_trains_nothing(
    washers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(washers, tmp_path / "out", "--check") == 0
    said = capsys.readouterr().out
    assert "12 good pictures" in said
    assert "12 of 64x64x3" in said
    assert not (tmp_path / "out").exists()


def test_check_exits_2_when_something_must_be_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_goods(tmp_path / "parts", 9)
    (tmp_path / "parts" / "005.png").write_bytes(b"")
    assert train(tmp_path / "parts", tmp_path / "out", "--check", "--json") == 2
    found = json.loads(capsys.readouterr().out)
    assert any("005.png" in error for error in found["errors"])


def test_grey_pictures_make_a_one_channel_graph(washers: Path, tmp_path: Path) -> None:
    grey = tmp_path / "grey"
    for path in sorted((washers / "train" / "good").iterdir()):
        write_picture(grey / path.name, np.asarray(cv2.cvtColor(read_picture(path), cv2.COLOR_BGR2GRAY), np.uint8))
    assert train(grey, tmp_path / "out", "--steps", "2") == 0
    checkpoint = Run(tmp_path / "out").load()
    assert checkpoint.spec.channels == 1
    assert checkpoint.learner["network.stem.0.weight"].shape[1] == 1


def test_with_json_stdout_holds_one_object_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And `demo:` renders its pictures into the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert train("demo:washer?n=8&good=0&defect=0&size=64", tmp_path / "out", "--steps", "2", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["method"], summary["preset"], summary["seed"], summary["steps"]) == ("nsa", "fast", 0, 2)
    assert summary["run"] == str(tmp_path / "out")
    assert summary["loss"] > 0
    assert list((tmp_path / "cache").rglob("000.png"))


def test_unknown_methods_presets_and_classes_are_refused(
    washers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags, message in (
        (("--method", "nsb"), "did you mean 'train/nsa-fast'?"),
        (("--preset", "papr"), "did you mean 'train/nsa-paper'?"),
        (("--paper-class", "teapot"), "--paper-class teapot: the paper has bottle"),
    ):
        assert message in refusal(capsys, washers, tmp_path / "out", *flags)


WITHOUT = """
import sys

class Gone:
    def find_spec(self, name, *rest):
        if name == sys.argv[1]:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Gone())
from sad_train.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("package", ["torch", "scipy"])
def test_without_its_extra_the_command_to_install_it_is_named(package: str, washers: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, package, "--data", washers, "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert f"training needs {package}. Run: pip install 'sad-inspection[train]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_and_ends_as_an_unbroken_one(washers: Path, tmp_path: Path) -> None:
    """kill -9 in the middle; the same command again; the weights are equal bit for bit."""
    (tmp_path / "often.yaml").write_text("checkpoint_every_s: 0.000001\n")

    def command(out: Path) -> list[str]:
        told = [
            "--data",
            str(washers),
            "--out",
            str(out),
            "--steps",
            "16",
            *QUICK,
            "--config",
            str(tmp_path / "often.yaml"),
        ]
        return [sys.executable, "-c", "import sys; from sad_train.cli import main; sys.exit(main())", *told]

    killed, unbroken = tmp_path / "killed", tmp_path / "unbroken"
    with subprocess.Popen(command(killed), stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while not (killed / "checkpoint.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    reached = Run(killed).load().step
    assert 0 < reached < 16
    for out in (killed, unbroken):
        subprocess.run(command(out), check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert same_weights(killed, unbroken)
    losses = [[row["loss"] for row in Run(out).metrics()] for out in (killed, unbroken)]
    assert losses[0] == losses[1]
    assert yaml.safe_load((killed / "config.yaml").read_text()) == yaml.safe_load(
        (unbroken / "config.yaml").read_text()
    )
    assert not list(killed.glob(".*.tmp"))
