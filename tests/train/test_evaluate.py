"""sad-evaluate from end to end on a small real bundle: figures, verdicts, reports, refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bundles import SPEC, THRESHOLD, bad_picture, good_picture, tiny_onnx
from folders import defect_mask, write_mvtec, write_picture
from sad_runtime.backends.onnxruntime import ONNXRuntimeBackend
from sad_runtime.decide import Thresholds
from sad_runtime.inspector import Inspector
from sad_runtime.manifest import Roi
from sad_runtime.pictures import read_picture
from sad_train.data.dataset import read_dataset
from sad_train.evaluation.cli import main
from sad_train.evaluation.judging import evaluate
from sad_train.evaluation.subject import open_subject

KEYS = {
    *("image_auroc", "image_ap", "image_f1_max", "recall_at_frr", "frr_at_escape", "pixel_auroc", "pixel_ap"),
    *("aupro", "aupimo", "threshold", "false_reject", "escape", "n_good", "n_defect", "per_type", "latency_ms"),
    *("method", "precision", "backend", "brightness_auroc", "score_brightness_correlation"),
}


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    return write_mvtec(tmp_path / "parts")


def figures(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> dict[str, Any]:
    assert main([*map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 2) -> str:
    assert main([*map(str, arguments)]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def test_a_bundle_is_measured_with_all_agreed_keys(
    tiny_bundle: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = figures(capsys, tiny_bundle, "--data", parts)
    assert set(found) >= KEYS
    assert found["image_auroc"] == found["image_ap"] == found["image_f1_max"] == 1.0
    assert found["recall_at_frr"] == {"0.001": 1.0, "0.005": 1.0, "0.01": 1.0}
    assert found["frr_at_escape"] == {"0": 0.0, "0.01": 0.0, "0.05": 0.0}
    assert found["pixel_auroc"] == found["pixel_ap"] == 1.0
    assert found["aupro"] == pytest.approx(1.0)
    assert (found["n_good"], found["n_defect"]) == (6, 6)
    assert (found["false_reject"], found["escape"], found["threshold"]) == (0.0, 0.0, THRESHOLD)
    assert found["per_type"]["spot"]["n"] == 6
    assert found["per_type"]["spot"]["aupro"] == pytest.approx(1.0)
    assert (found["method"], found["precision"]) == ("tiny", "fp32")
    assert 0 < found["latency_ms"]["p50"] <= found["latency_ms"]["p99"]
    assert found["n_train_overlap"] == 0


def test_scores_and_verdicts_are_the_lines_own_bit_for_bit(tiny_bundle: Path, parts: Path) -> None:
    subject = open_subject(tiny_bundle, backend="onnxruntime")
    judged = evaluate(subject, read_dataset(parts)).judged
    line = Inspector(ONNXRuntimeBackend(tiny_onnx(), SPEC), Thresholds(THRESHOLD, THRESHOLD, 0.5))
    with line:
        for one in judged:
            inspection = line.inspect(read_picture(one.sample.path))
            assert (one.score, one.verdict) == (inspection.score, inspection.verdict)
            assert np.array_equal(one.heatmap, inspection.heatmap)


def test_a_bare_onnx_file_has_no_verdicts(tmp_path: Path, parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "fp32.onnx"
    model.write_bytes(tiny_onnx())
    found = figures(capsys, model, "--data", parts)
    assert found["image_auroc"] == 1.0
    assert found["threshold"] is found["false_reject"] is found["escape"] is found["per_type"]["spot"]["escape"] is None
    assert (found["method"], found["precision"]) == (None, "fp32")


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_both_cpu_backends_measure_the_same(
    backend: str, tiny_bundle: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = figures(capsys, tiny_bundle, "--data", parts, "--backend", backend, "--threads", "1")
    assert (found["backend"], found["image_auroc"], found["pixel_auroc"]) == (backend, 1.0, 1.0)


def test_without_masks_the_pixel_figures_are_null(
    tiny_bundle: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(parts / "ground_truth")
    found = figures(capsys, tiny_bundle, "--data", parts)
    assert [found[key] for key in ("pixel_auroc", "pixel_ap", "aupro", "aupimo")] == [None] * 4
    assert found["image_auroc"] == 1.0


def test_a_defect_without_its_mask_is_left_out_of_pixel_figures_and_told(
    tiny_bundle: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (parts / "ground_truth" / "spot" / "002_mask.png").unlink()
    found = figures(capsys, tiny_bundle, "--data", parts)
    assert found["pixel_auroc"] == 1.0
    assert any("1 defects have no mask" in warning for warning in found["warnings"])


def test_good_pictures_alone_are_counted_for_false_rejects(
    tiny_bundle: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = figures(capsys, tiny_bundle, "--data", parts / "train" / "good")
    assert (found["n_good"], found["n_defect"], found["false_reject"]) == (10, 0, 0.0)
    assert found["image_auroc"] is found["escape"] is found["image_f1_max"] is None
    assert found["per_type"] == {}
    assert any("taken for good parts" in warning for warning in found["warnings"])


def test_a_picture_in_train_and_test_is_counted_and_told(
    tiny_bundle: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(parts / "train" / "good" / "000.png", parts / "test" / "good" / "900.png")
    write_picture(parts / "test" / "good" / "901.png", good_picture(0))  # among the bundle's calibration pictures
    found = figures(capsys, tiny_bundle, "--data", parts)
    assert found["n_train_overlap"] == 2
    assert any("900.png, 901.png" in warning for warning in found["warnings"])


def test_brightness_is_measured_beside_the_score(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(6):
        shade = np.full((64, 64, 3), 130 + 10 * index, np.uint8)
        write_picture(tmp_path / "test" / "good" / f"{index}.png", shade)
        write_picture(tmp_path / "test" / "dark" / f"{index}.png", np.asarray(shade // 8, dtype=np.uint8))
    found = figures(capsys, tiny_bundle, "--data", tmp_path)
    assert found["brightness_auroc"] == 1.0
    assert found["score_brightness_correlation"] == pytest.approx(1.0)


def test_pixels_are_judged_at_the_size_of_the_picture(tiny_bundle: Path, tmp_path: Path) -> None:
    large = np.asarray(cv2.resize(bad_picture(), (192, 128), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    write_picture(tmp_path / "test" / "spot" / "0.png", large)
    tiny_spot = np.zeros((128, 192), np.uint8)
    tiny_spot[64, 100] = 255
    write_picture(tmp_path / "ground_truth" / "spot" / "0.png", tiny_spot)
    dataset = read_dataset(tmp_path, for_training=False)
    whole = evaluate(open_subject(tiny_bundle), dataset).judged[0].truth
    reduced = evaluate(open_subject(tiny_bundle), dataset, pixel_size_px=50).judged[0].truth
    assert whole is not None
    assert reduced is not None
    assert whole.mask().shape == (128, 192)
    assert whole.mask().sum() == 1
    assert reduced.mask().shape == (33, 50)
    assert 1 <= reduced.mask().sum() <= 4, "a tiny defect must survive"


def test_only_the_roi_is_judged_and_a_defect_outside_it_is_told(tiny_bundle: Path, parts: Path) -> None:
    subject = open_subject(tiny_bundle)
    subject.inspector.roi = Roi(x=20, y=16, width=40, height=32)
    inside = evaluate(subject, read_dataset(parts))
    assert inside.pixel[""].aupro == pytest.approx(1.0)
    assert all(one.truth is not None and one.truth.mask().shape == (32, 40) for one in inside.judged)
    subject.inspector.roi = Roi(x=44, y=0, width=20, height=64)
    outside = evaluate(subject, read_dataset(parts))
    assert outside.pixel[""].aupro is None
    assert any("6 defects have no mask, or lie outside the ROI" in warning for warning in outside.warnings)


def test_limit_takes_so_many_of_each_type(tiny_bundle: Path, parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = figures(capsys, tiny_bundle, "--data", parts, "--limit", "2")
    assert (found["n_good"], found["n_defect"]) == (2, 2)


def test_the_table_names_the_types_and_the_report_holds_the_pictures(
    tiny_bundle: Path, parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_picture(parts / "test" / "spot" / "900.png", good_picture(77))  # looks good, so it is missed
    write_picture(parts / "ground_truth" / "spot" / "900_mask.png", defect_mask())
    write_picture(parts / "test" / "good" / "900.png", bad_picture(77))  # looks bad, so it is rejected
    report = tmp_path / "out" / "report.html"
    assert main([str(tiny_bundle), "--data", str(parts), "--report", str(report)]) == 0
    out = capsys.readouterr().out
    assert "image AUROC" in out
    assert "spot" in out
    page = report.read_text()
    assert page.startswith("<!doctype html>")
    for text in (
        "Missed defects",
        "spot/900.png",
        "Rejected good parts",
        "good/900.png",
        "Found defects",
        "spot/000.png",
    ):
        assert text in page
    assert "http" not in page
    assert len(page) < 15e6


def test_a_report_without_thresholds_shows_the_extremes(tmp_path: Path, parts: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(tiny_onnx())
    assert main([str(model), "--data", str(parts), "--report", str(tmp_path / "r.html"), "--json"]) == 0
    assert "Defects with the lowest scores" in (tmp_path / "r.html").read_text()


def test_every_picture_that_cannot_be_judged_is_named(
    tiny_bundle: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (parts / "test" / "good" / "001.png").write_bytes(b"")
    write_picture(parts / "ground_truth" / "spot" / "003_mask.png", np.zeros((32, 32), np.uint8))
    said = refusal(capsys, tiny_bundle, "--data", parts)
    assert "2 of 12 pictures cannot be judged" in said
    assert "001.png" in said
    assert "003_mask.png" in said


def test_what_is_missing_is_named(tiny_bundle: Path, parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such folder" in refusal(capsys, tiny_bundle, "--data", parts / "nowhere")
    assert "no such run folder" in refusal(capsys, parts / "none.sad", "--data", parts)
    assert "no int8 model in this bundle; it has fp32" in refusal(
        capsys, tiny_bundle, "--data", parts, "--precision", "int8"
    )
    assert "no such backend" in refusal(capsys, tiny_bundle, "--data", parts, "--backend", "abacus")
    shutil.rmtree(parts / "test")
    assert "nothing to measure on" in refusal(capsys, tiny_bundle, "--data", parts)


def test_a_file_that_is_no_model_is_refused(parts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.onnx"
    bad.write_bytes(b"no model at all")
    assert "not a model" in refusal(capsys, bad, "--data", parts, code=1)
    assert "not a bundle" in refusal(capsys, write_picture(tmp_path / "x.png", good_picture()), "--data", parts)


def test_an_engine_that_says_nan_ends_the_measurement(
    tiny_bundle: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "not a finite number" in refusal(capsys, tiny_bundle, "--data", parts, "--backend", "constant:nan", code=1)


@pytest.mark.slow
def test_a_run_folder_is_measured_in_torch_and_knows_what_it_learnt_from(
    tmp_path: Path, parts: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sad_train.cli import main as train

    run = tmp_path / "run"
    assert train(["--data", str(parts), "--out", str(run), "--steps", "2", "--size", "64", "--batch", "4"]) == 0
    capsys.readouterr()
    shutil.copy(parts / "train" / "good" / "000.png", parts / "test" / "good" / "900.png")
    found = figures(capsys, run, "--data", parts)
    assert (found["method"], found["precision"], found["backend"]) == ("nsa", "fp32", "torch")
    assert found["threshold"] is None
    assert found["n_train_overlap"] == 1
    assert found["aupro"] is not None


def test_an_empty_run_folder_asks_for_training(tmp_path: Path, parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    run.mkdir()
    assert "no checkpoint here" in refusal(capsys, run, "--data", parts)
    assert "sad-export" in refusal(capsys, run, "--data", parts, "--backend", "openvino")
    assert "sad-export" in refusal(capsys, run, "--data", parts, "--precision", "int8")


def test_a_bundle_and_an_onnx_file_are_measured_where_torch_is_not_installed(
    tiny_bundle: Path, parts: Path, tmp_path: Path
) -> None:
    (tmp_path / "fp32.onnx").write_bytes(tiny_onnx())
    blocked = "import sys; sys.modules['torch'] = sys.modules['sklearn'] = sys.modules['scipy'] = None\n"
    code = blocked + "from sad_train.evaluation.cli import main\nsys.exit(main(sys.argv[1:]))"
    for subject in (tiny_bundle, tmp_path / "fp32.onnx"):
        command = [sys.executable, "-c", code, str(subject), "--data", str(parts), "--json", "--report", "r.html"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["aupro"] == pytest.approx(1.0)


def test_a_run_folder_without_torch_names_the_extra(
    tmp_path: Path, parts: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "run").mkdir()
    assert "sad-inspection[train]" in refusal(capsys, tmp_path / "run", "--data", parts)
