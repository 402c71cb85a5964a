"""`sad-calibrate` on a real bundle, a real engine and real files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bundles import SIZE_PX, bad_picture, good_picture, write_tiny_bundle
from sad_calibration.cli import main
from sad_runtime.bundle import read_bundle, write_bundle
from sad_runtime.manifest import Roi
from sad_runtime.thresholds import History, read_history, thresholds_in_force

ENGINE = ["--backend", "onnxruntime"]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def goods(tmp_path: Path) -> Path:
    return saved(tmp_path / "good", [good_picture(seed) for seed in range(100, 140)])


@pytest.fixture
def bads(tmp_path: Path) -> Path:
    saved(tmp_path / "bad" / "scratch", [bad_picture(seed) for seed in range(3)])
    saved(tmp_path / "bad" / "none", [good_picture(5000)])
    return tmp_path / "bad"


def saved(folder: Path, pictures: list[np.ndarray]) -> Path:
    folder.mkdir(parents=True)
    for index, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{index:03}.png"), picture)
    return folder


def kept(state: Path, station: str = "line1") -> History:
    return read_history(state / station / "thresholds.json")


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_the_pictures_in_the_bundle_are_used_when_none_are_given(
    tiny_bundle: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digest_before = tiny_bundle.read_bytes()
    assert main([str(tiny_bundle), "--state", str(state), *ENGINE]) == 0
    (row,) = kept(state).entries
    assert (row.revision, row.backend, row.precision, row.decision.n) == (1, "onnxruntime", "fp32", 9)
    assert row.decision.guaranteed_false_reject == 0.1
    assert row.model_digest == read_bundle(tiny_bundle).manifest.precisions["fp32"].sha256
    assert row.score_threshold == max(row.good_scores)
    assert "at most 10 % of good parts" in capsys.readouterr().out
    assert tiny_bundle.read_bytes() == digest_before


def test_what_was_set_is_in_force_for_that_engine_only(tiny_bundle: Path, state: Path) -> None:
    assert main([str(tiny_bundle), "--state", str(state), *ENGINE]) == 0
    bundle, history = read_bundle(tiny_bundle), kept(state)
    assert thresholds_in_force(bundle, "fp32", "onnxruntime", history)[0].revision == 1
    assert thresholds_in_force(bundle, "fp32", "openvino", history)[0].revision == 0


def test_auto_binds_to_the_engine_it_picked(tiny_bundle: Path, state: Path) -> None:
    assert main([str(tiny_bundle), "--state", str(state)]) == 0
    assert kept(state).entries[0].backend == "openvino"


def test_good_frames_set_and_known_defects_only_check(
    tiny_bundle: Path, state: Path, goods: Path, bads: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tiny_bundle), "--state", str(state), "--good", str(goods), *ENGINE, "--json"]
    assert main([*arguments, "--dry-run"]) == 0
    alone = report(capsys)
    assert main([*arguments, "--target-false-reject", "5%", "--review-band", "25%", "--defects", str(bads)]) == 0
    found = report(capsys)
    assert found["promise"]["text"] == "with 40 calibration parts at most 5 % of good parts are rejected, as asked for"
    assert found["promise"]["n"] == alone["promise"]["n"] == 40
    assert found["after"]["review_threshold"] < found["after"]["score_threshold"] <= alone["after"]["score_threshold"]
    assert found["before"]["score_threshold"] == 4.0
    assert found["before_on_these"]["rejected"] == 0
    assert (found["defects"]["n"], found["defects"]["caught_before"]) == (4, 3)
    assert Path(found["defects"]["lowest"][0]["picture"]).parent.name == "none"
    assert kept(state).entries[-1].score_threshold == found["after"]["score_threshold"]


def test_for_a_person_the_missed_defects_are_named(
    tiny_bundle: Path, state: Path, goods: Path, bads: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tiny_bundle), "--state", str(state), "--good", str(goods), "--defects", str(bads), *ENGINE]) == 0
    out = capsys.readouterr().out
    assert "3 of 4 rejected, 3 before" in out
    assert "none/000.png  would PASS" in out
    assert "0 of 40 good parts rejected: below 7.2 % with 95 % confidence" in out


def test_frames_are_cropped_to_the_bundles_roi(tmp_path: Path, tiny_bundle: Path, state: Path) -> None:
    bundle = read_bundle(tiny_bundle)
    roi = Roi(x=7, y=3, width=SIZE_PX, height=SIZE_PX)
    files = {name: data for name, data in bundle.files.items() if name not in ("manifest.json", "digests.txt")}
    cropped = tmp_path / "roi.sad"
    write_bundle(cropped, bundle.manifest.model_copy(update={"roi": roi}), files)
    frames = []
    for seed in range(9):
        frame = np.zeros((SIZE_PX + 20, SIZE_PX + 20, 3), np.uint8)
        frame[3 : 3 + SIZE_PX, 7 : 7 + SIZE_PX] = good_picture(seed)
        frames.append(frame)
    good = saved(tmp_path / "frames", frames)
    assert main([str(tiny_bundle), "--state", str(state), *ENGINE]) == 0
    assert main([str(cropped), "--state", str(state), "--station", "line2", "--good", str(good), *ENGINE]) == 0
    assert kept(state, "line2").entries[0].good_scores == kept(state).entries[0].good_scores
    own = [str(tiny_bundle), "--state", str(state), "--station", "line3", "--good", str(good), *ENGINE]
    assert main([*own, "--roi", f"7,3,{SIZE_PX},{SIZE_PX}"]) == 0
    assert kept(state, "line3").entries[0].good_scores == kept(state).entries[0].good_scores


def test_every_threshold_is_kept_and_listed(
    tiny_bundle: Path, state: Path, goods: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = [str(tiny_bundle), "--state", str(state), *ENGINE]
    assert main([*base, "--history"]) == 0
    assert "the bundle's own are in force" in capsys.readouterr().out
    assert main([*base, "--note", "first"]) == 0
    assert main([*base, "--good", str(goods), "--note", "new lamp"]) == 0
    capsys.readouterr()
    assert main([*base, "--history"]) == 0
    first, second = capsys.readouterr().out.splitlines()[1:]
    assert first.endswith("first")
    assert second.endswith("in force; new lamp")
    assert main([*base, "--history", "--json"]) == 0
    assert [row["revision"] for row in report(capsys)["entries"]] == [1, 2]


def test_a_dry_run_saves_nothing(tiny_bundle: Path, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tiny_bundle), "--state", str(state), "--dry-run", *ENGINE]) == 0
    assert not state.exists()
    assert "dry run: nothing was saved" in capsys.readouterr().out


def test_a_target_out_of_reach_is_a_warning(
    tiny_bundle: Path, state: Path, goods: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tiny_bundle), "--state", str(state), "--good", str(goods), *ENGINE]
    assert main([*arguments, "--target-false-reject", "0.5%"]) == 0
    said = capsys.readouterr()
    assert "warning: with 40 calibration parts the least that can be promised is 2.4 %; for 0.5 % bring 199" in said.err
    assert "estimate, not a promise" in said.out
    row = kept(state).entries[0]
    assert row.decision.method == "split-conformal"
    assert row.score_threshold == max(row.good_scores)


def test_strict_turns_it_into_a_closed_gate(tiny_bundle: Path, state: Path, goods: Path) -> None:
    arguments = [str(tiny_bundle), "--state", str(state), "--good", str(goods), *ENGINE, "--strict"]
    assert main([*arguments, "--target-false-reject", "0.5%"]) == 4
    assert not state.exists()
    assert main([*arguments, "--target-false-reject", "2.5%"]) == 0


def test_the_estimate_is_used_only_when_asked_for_and_keeps_its_name(
    tiny_bundle: Path, state: Path, goods: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tiny_bundle), "--state", str(state), "--good", str(goods), *ENGINE, "--json"]
    assert main([*arguments, "--target-false-reject", "0.1%", "--use-estimate"]) == 0
    found = report(capsys)
    row = kept(state).entries[0]
    assert row.decision.method == "gpd-estimate"
    assert row.decision.guaranteed_false_reject == pytest.approx(1 / 41)
    assert row.score_threshold == found["estimate"]["threshold"] >= max(row.good_scores)
    assert row.pixel_threshold >= row.score_threshold * 0.999


def test_an_estimate_that_cannot_be_had_is_refused_when_asked_for(
    tiny_bundle: Path, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = [str(tiny_bundle), "--state", str(state), *ENGINE, "--target-false-reject", "1%"]
    assert main([*base, "--use-estimate"]) == 2
    assert "no estimate from 9 scores" in capsys.readouterr().err
    assert main(base) == 0
    assert "no estimate from 9 scores" in capsys.readouterr().out
    assert main([str(tiny_bundle), "--state", str(state), *ENGINE, "--use-estimate"]) == 2


def test_copies_of_a_picture_count_once(
    tiny_bundle: Path, state: Path, goods: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(60):
        (goods / f"copy{index}.png").write_bytes((goods / "000.png").read_bytes())
    arguments = [str(tiny_bundle), "--state", str(state), "--good", str(goods), *ENGINE, "--json"]
    assert main([*arguments, "--target-false-reject", "1%"]) == 0
    found = report(capsys)
    assert (found["n"], found["copies"], found["promise"]["supported"]) == (40, 60, False)


def test_parts_the_threshold_was_set_on_do_not_judge_it(
    tiny_bundle: Path, state: Path, goods: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(tiny_bundle), "--state", str(state), "--good", str(goods), *ENGINE, "--json"]
    assert main(arguments) == 0
    assert report(capsys)["before_on_these"]["n"] == 40
    assert main(arguments) == 0
    assert report(capsys)["before_on_these"] is None


def test_every_unreadable_picture_is_named(
    tiny_bundle: Path, state: Path, goods: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (goods / "empty.png").touch()
    whole = (goods / "001.png").read_bytes()
    (goods / "cut.png").write_bytes(whole[: len(whole) // 2])
    assert main([str(tiny_bundle), "--state", str(state), "--good", str(goods), *ENGINE]) == 2
    err = capsys.readouterr().err
    assert "2 of 42 good parts cannot be used" in err
    assert "empty.png" in err
    assert "cut.png" in err
    assert not state.exists()


def test_a_picture_on_both_sides_is_refused(
    tiny_bundle: Path, state: Path, goods: Path, bads: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bads / "mixed_up.png").write_bytes((goods / "003.png").read_bytes())
    arguments = [str(tiny_bundle), "--state", str(state), "--good", str(goods), "--defects", str(bads), *ENGINE]
    assert main(arguments) == 2
    assert "mixed_up.png" in capsys.readouterr().err


def test_a_folder_of_folders_is_refused_with_the_right_one(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved(tmp_path / "set" / "test" / "crack", [bad_picture()])
    saved(tmp_path / "set" / "train" / "good", [good_picture()])
    assert main([str(tiny_bundle), "--good", str(tmp_path / "set"), *ENGINE, "--dry-run"]) == 2
    assert f"for example {tmp_path / 'set' / 'train' / 'good'}" in capsys.readouterr().err


def test_a_bundle_without_pictures_asks_for_a_folder(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = read_bundle(tiny_bundle)
    names = [name for name in bundle.files if name.startswith(("model/", "golden/"))]
    bare = tmp_path / "bare.sad"
    write_bundle(bare, bundle.manifest, {name: bundle.files[name] for name in names})
    assert main([str(bare), *ENGINE, "--dry-run"]) == 2
    assert "--good DIR" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backend", "constant"], "never runs the model"),
        (["--backend", "constant:3"], "never runs the model"),
        (["--backend", "abacus"], "no such backend"),
        (["--precision", "int8"], "no int8 model"),
        (["--good", "/nowhere"], "no such folder"),
        (["--station", "../line1"], "station's name"),
        (["--station", ".."], "station's name"),
        (["--review-band", "1%", "--target-false-reject", "2%"], "larger share"),
    ],
)
def test_wrong_arguments_stop_with_the_way_to_mend_them(
    tiny_bundle: Path, state: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main([str(tiny_bundle), "--state", str(state), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not state.exists()


@pytest.mark.parametrize("option", ["--target-false-reject", "--review-band", "--roi"])
@pytest.mark.parametrize("value", ["0", "100%", "-1%", "half", "1,2,3", "0,0,0,0", "-1,0,9,9"])
def test_what_is_no_rate_or_region_is_wrong_usage(tiny_bundle: Path, option: str, value: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(tiny_bundle), f"{option}={value}"])
    assert stop.value.code == 2


def test_a_tampered_bundle_is_refused(tmp_path: Path, state: Path) -> None:
    path = write_tiny_bundle(tmp_path / "tiny.sad")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert main([str(path), "--state", str(state), *ENGINE]) == 2
    assert not state.exists()


def test_a_damaged_history_is_not_overwritten(tiny_bundle: Path, state: Path) -> None:
    file = state / "line1" / "thresholds.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"entries": [')
    assert main([str(tiny_bundle), "--state", str(state), *ENGINE]) == 2
    assert file.read_text() == '{"entries": ['


def test_json_alone_stands_on_stdout(tiny_bundle: Path, goods: Path, state: Path) -> None:
    command = [sys.executable, "-c", "import sys; from sad_calibration.cli import main; sys.exit(main())"]
    arguments = [str(tiny_bundle), "--state", str(state), "--good", str(goods), "--target-false-reject", "0.1%"]
    done = subprocess.run([*command, *arguments, "--json"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["saved"].endswith("thresholds.json")
    assert "warning" in done.stderr


def test_calibration_imports_neither_torch_nor_scipy() -> None:
    code = (
        "import sys, pkgutil, importlib, sad_calibration as whole\n"
        "for part in pkgutil.iter_modules(whole.__path__): importlib.import_module('sad_calibration.' + part.name)\n"
        "print(sorted({'torch', 'scipy', 'sad_train', 'sad_export'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
