"""sad-export from end to end: what a bundle holds and proves, what is refused, what a failed gate leaves behind."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from folders import write_picture
from sad_calibration.conformal import promise
from sad_calibration.thresholds import measure
from sad_export import proof
from sad_export.cli import main
from sad_export.parity import Replay, replay
from sad_runtime.backends.table import backend_for, chosen_backend, installed_backends
from sad_runtime.bundle import Bundle, read_bundle
from sad_runtime.decide import judge
from sad_runtime.manifest import Manifest
from sad_runtime.pictures import decode_picture, read_picture
from sad_train.graph import NEVER
from sad_train.run import Run

COMMAND = "import sys; from sad_export.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def bundle(washer_bundle: Path) -> Bundle:
    return read_bundle(washer_bundle)


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(finished_run, tmp_path / "runs" / "washer"))


def arrays(bundle: Bundle) -> dict[str, NDArray[np.float64]]:
    with np.load(io.BytesIO(bundle.read("calibration.npz")), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def pictures_in(bundle: Bundle, folder: str) -> list[NDArray[np.uint8]]:
    return [decode_picture(bundle.read(name), name) for name in bundle.names(folder)]


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 2) -> str:
    capsys.readouterr()
    assert main([*map(str, arguments)]) == code
    return capsys.readouterr().err


def test_a_bundle_says_what_it_is_and_where_it_comes_from(bundle: Bundle, finished_run: Path) -> None:
    manifest, checkpoint = bundle.manifest, Run(finished_run).load()
    assert (manifest.part, manifest.method) == ("washer", "nsa")
    assert manifest.input == checkpoint.spec
    assert (manifest.roi, manifest.ignore) == (None, None)
    assert manifest.training.data_digest == checkpoint.provenance.data_digest
    assert (manifest.training.seed, manifest.training.pictures) == (0, 16)
    assert manifest.training.versions["torch"]
    assert set(manifest.precisions) == {"fp32"}
    assert manifest.decision.target_false_reject is None
    assert manifest.decision.guaranteed_false_reject == pytest.approx(1 / 6)
    assert (manifest.decision.method, manifest.decision.n) == ("split-conformal", 5)
    assert Manifest.model_validate_json(bundle.read("manifest.json")) == manifest


def test_a_bundle_holds_report_parity_and_good_pictures_at_model_size(bundle: Bundle, finished_run: Path) -> None:
    page = bundle.read("report.html").decode()
    assert page.startswith("<!doctype html>")
    assert "Every file decides as the trained model did" in page
    parity = json.loads(bundle.read("parity.json"))
    assert parity["gate"] == "passed"
    assert parity["precisions"]["fp32"]["flips"] == 0
    assert parity["parity_pictures"] == {"good": 5, "synthetic": 24, "defect": 0}
    assert {engine["engine"] for engine in parity["engines"]["fp32"]} == set(installed_backends())
    goods = pictures_in(bundle, "calibration")
    expected = [read_picture(path) for path in Run(finished_run).split().paths("calibration")]
    assert len(goods) == len(expected) == 5
    assert all(np.array_equal(good, read) for good, read in zip(goods, expected, strict=True))


def test_the_thresholds_follow_from_the_scores_in_the_bundle(bundle: Bundle) -> None:
    entry, scores = bundle.precision("fp32"), arrays(bundle)
    assert promise(scores["fp32_score"].tolist(), None).threshold == entry.score_threshold
    assert promise(scores["fp32_pixel"].tolist(), None).threshold == entry.pixel_threshold
    assert entry.heatmap_low < entry.pixel_threshold


def test_the_scores_in_the_bundle_follow_from_its_pictures_on_the_engine_that_set_them(bundle: Bundle) -> None:
    name, _ = chosen_backend("auto")
    with backend_for(name, bundle.model("fp32"), bundle.manifest.input) as backend:
        found = measure(backend, pictures_in(bundle, "calibration"))
    assert sorted(found.scores) == arrays(bundle)["fp32_score"].tolist()
    assert sorted(found.pixel_maxima) == arrays(bundle)["fp32_pixel"].tolist()
    assert found.heatmap_low == bundle.precision("fp32").heatmap_low


@pytest.mark.parametrize("engine", installed_backends())
def test_golden_pictures_are_judged_as_expected_on_every_engine(bundle: Bundle, engine: str) -> None:
    golden = bundle.manifest.golden
    assert 8 <= len(golden) <= 32
    with backend_for(engine, bundle.model("fp32"), bundle.manifest.input) as backend:
        for one in golden:
            picture = decode_picture(bundle.read(one.file), one.file)
            score = float(backend.infer(picture[np.newaxis]).score[0])
            assert judge(score, bundle.precision("fp32").score_threshold).value == one.verdict["fp32"]
            assert score == pytest.approx(one.score["fp32"], abs=bundle.manifest.golden_tolerance)


def test_without_arguments_the_newest_run_is_exported_the_same_again_and_a_promise_too_large_is_told(
    run: Path, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.parents[1])
    assert main(["--no-pictures", "--target-false-reject", "0.5%"]) == 0
    said = capsys.readouterr()
    assert "warning: with 5 calibration parts the least that can be promised is 17 %; for 0.5 % bring 199" in said.err
    assert "Next: sad-runtime --camera 0 --bundle washer.sad" in said.out
    again = read_bundle(Path("washer.sad"))
    assert again.model("fp32") == bundle.model("fp32"), "the same run gives the same model, bit for bit"
    assert again.precision("fp32") == bundle.precision("fp32")
    assert again.manifest.golden == bundle.manifest.golden
    assert again.names("calibration") == []
    assert again.manifest.decision.target_false_reject == 0.005
    assert again.manifest.decision.guaranteed_false_reject == pytest.approx(1 / 6)


@pytest.mark.slow
def test_every_wish_reaches_the_bundle(
    finished_run: Path, washers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = np.zeros((64, 64), np.uint8)
    mask[:, :20] = 255
    wishes = ["--part", "M8", "--target-false-reject", "20%", "--review-band", "0.4", "--opset", "17"]
    files = ["--ignore", str(write_picture(tmp_path / "mask.png", mask)), "--defects", str(washers / "test")]
    out, page = tmp_path / "sub" / "m8.sad", tmp_path / "m8.html"
    assert main([str(finished_run), "--out", str(out), *wishes, *files, "--report", str(page), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    made = read_bundle(out)
    entry = made.precision("fp32")
    assert (made.manifest.part, made.manifest.ignore) == ("M8", "ignore.png")
    assert np.array_equal(decode_picture(made.read("ignore.png"), "ignore.png"), mask)
    assert found["parity_pictures"]["defect"] == 6
    assert (found["bundle"], found["gate"], found["threshold"]) == (str(out), "passed", entry.score_threshold)
    assert found["guaranteed_false_reject"] == pytest.approx(1 / 6)
    assert entry.review_threshold is not None
    assert entry.review_threshold < entry.score_threshold
    assert onnx.load_from_string(made.model("fp32")).opset_import[0].version == 17
    with backend_for("onnxruntime", made.model("fp32"), made.manifest.input) as backend:
        heatmap = backend.infer(pictures_in(made, "calibration")[0][np.newaxis]).heatmap[0]
    assert (heatmap[:, :20] == NEVER).all()
    assert (heatmap[:, 20:] != NEVER).all()
    assert page.read_text() == made.read("report.html").decode()


@pytest.mark.slow
def test_strict_refuses_a_promise_that_the_pictures_cannot_support(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "strict.sad"
    said = refusal(capsys, finished_run, "--out", out, "--target-false-reject", "1%", "--strict", code=4)
    assert "not written" in said
    assert "for 1 % bring 99" in said
    assert not out.exists()


def test_a_failed_gate_writes_no_bundle_and_tells_all_it_found(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One engine's scores are turned upside down on their way into the comparison; the gate itself is the real one."""

    def broken(backend: Any, pictures: Any) -> Replay:
        found = replay(backend, pictures)
        return replace(found, scores=-found.scores) if backend.name == "onnxruntime" else found

    monkeypatch.setattr(proof, "replay", broken)
    out, page = tmp_path / "broken.sad", tmp_path / "broken.html"
    out.write_bytes(b"an older bundle")
    assert main([str(finished_run), "--out", str(out), "--report", str(page), "--json"]) == 4
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["gate"] == "failed"
    assert any("fp32 on onnxruntime: scores differ by" in failure for failure in found["failures"])
    assert "fp32 on onnxruntime" in said.err
    assert "not written" in said.err
    assert "The gate failed" in page.read_text()
    assert out.read_bytes() == b"an older bundle"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.html", "broken.sad"]


def test_an_unfinished_run_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Run(run).save(replace(Run(run).load(), step=7))
    said = refusal(capsys, run, "--out", run / "x.sad")
    assert "training stopped at step 7 of 12. Give the same sad-train command again" in said
    assert not (run / "x.sad").exists()


def test_a_run_without_checkpoint_and_a_place_without_runs_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no checkpoint here. Run: sad-train" in refusal(capsys, tmp_path / "nothing")
    assert "no finished run here. Run: sad-train" in refusal(capsys)


@pytest.mark.parametrize(("harm", "message"), [("remove", "is gone"), ("change", "was changed since")])
def test_a_calibration_picture_that_is_not_what_it_was_is_refused_by_name(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: str, message: str
) -> None:
    split = Run(run).split()
    moved = tmp_path / "moved.png"
    shutil.copy(split.calibration[2].path, moved)
    picked = [
        one.model_copy(update={"path": str(moved)}) if at == 2 else one for at, one in enumerate(split.calibration)
    ]
    (run / "split.json").write_text(split.model_copy(update={"calibration": picked}).model_dump_json())
    if harm == "remove":
        moved.unlink()
    else:
        write_picture(moved, np.asarray(255 - read_picture(moved), dtype=np.uint8))
    said = refusal(capsys, run, "--out", tmp_path / "x.sad")
    assert "moved.png: a calibration picture of this run" in said
    assert message in said


@pytest.mark.parametrize(
    ("shape", "level", "message"),
    [((32, 64), 0, "is 64x32; an ignore mask is 64x64"), ((64, 64), 255, "white all over, so nothing would be judged")],
)
def test_an_ignore_mask_that_cannot_be_meant_is_refused(
    finished_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    shape: tuple[int, int],
    level: int,
    message: str,
) -> None:
    mask = write_picture(tmp_path / "mask.png", np.full(shape, level, np.uint8))
    assert message in refusal(capsys, finished_run, "--out", tmp_path / "x.sad", "--ignore", mask)


WITHOUT = """
import sys

class Gone:
    def find_spec(self, name, *rest):
        if name == sys.argv[1]:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Gone())
from sad_export.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("package", ["torch", "onnxscript"])
def test_without_its_extra_the_command_to_install_it_is_named(package: str, finished_run: Path, tmp_path: Path) -> None:
    told = [package, str(finished_run), "--out", str(tmp_path / "x.sad")]
    done = subprocess.run([sys.executable, "-c", WITHOUT, *told], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"exporting needs {package}. Run: pip install 'sad-inspection[export]'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_kill_while_the_bundle_is_written_leaves_the_old_one_whole(finished_run: Path, tmp_path: Path) -> None:
    """kill -9 at the moment the bytes are synced, before they are renamed into place."""
    out = tmp_path / "washer.sad"
    out.write_bytes(b"an older bundle")
    killing = f"import os, signal; os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL); {COMMAND}"
    told = [str(finished_run), "--out", str(out)]
    done = subprocess.run([sys.executable, "-c", killing, *told], capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert out.read_bytes() == b"an older bundle"
    assert [path.name for path in tmp_path.glob("*.sad")] == ["washer.sad"]
    subprocess.run([sys.executable, "-c", COMMAND, *told], check=True, capture_output=True, timeout=120)
    assert read_bundle(out).manifest.part == "washer"
