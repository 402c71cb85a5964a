"""Kept pictures judged again: by the same bundle with the very same scores, by another as that one would have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bundles import SIZE_PX, bad_picture, good_picture
from feeds import a_decision
from sad_runtime.bundle import DIGESTS, MANIFEST, read_bundle, write_bundle
from sad_runtime.cli.journal import main
from sad_runtime.errors import DataError
from sad_runtime.inspector import Inspection
from sad_runtime.journal.journal import Journal
from sad_runtime.journal.kept import KeptPictures
from sad_runtime.manifest import Roi
from sad_runtime.pictures import encode_png
from sad_runtime.scene.bundled import guard_for
from sad_runtime.scene.guard import SceneFault
from sad_runtime.station.config import JournalConfig, PicturesConfig, RecipeConfig
from sad_runtime.station.happenings import Happenings
from sad_runtime.station.recipes import opened, recipe_from
from sad_runtime.verdict import Reason, Verdict
from stations import station_config

Out = pytest.CaptureFixture[str]
ROI = Roi(x=40, y=30, width=200, height=160)


def scene(seed: int, mark: int | None = None) -> NDArray[np.uint8]:
    """A camera picture of noise, larger than the model's, with a bright mark of this brightness inside the ROI."""
    picture = np.random.default_rng(seed).integers(100, 150, (240, 320, 3)).astype(np.uint8)
    picture[:30] = 255  # outside the ROI
    if mark is not None:
        picture[100:140, 100:150] = mark
    return picture


def variant(source: Path, path: Path, *, threshold: float = 4.0, roi: Roi | None = None) -> Path:
    """The tiny bundle with another threshold or ROI; without golden pictures where those no longer hold."""
    whole = read_bundle(source)
    files = {name: data for name, data in whole.files.items() if name not in (MANIFEST, DIGESTS)}
    cut = whole.manifest.precisions["fp32"].model_copy(update={"score_threshold": threshold})
    changes: dict[str, Any] = {"precisions": {"fp32": cut}, "roi": roi}
    if threshold != 4.0:
        changes["golden"] = []
    write_bundle(path, whole.manifest.model_copy(update=changes), files)
    return path


def inspected(state: Path, bundle: Path, pictures: list[NDArray[np.uint8]], *, recipe: int = 0, **kept: Any) -> None:
    """A station without its loop: inspects, records and keeps as station.py does."""
    folder = state / "line1"
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    told = Happenings("line1", f"run-{recipe}")
    config = station_config()
    chosen = recipe_from(recipe, RecipeConfig(bundle=str(bundle)), config, folder / "thresholds.json")
    with (
        opened(chosen) as inspector,
        Journal(folder / "journal.sqlite", JournalConfig(wait_ms=1000), told) as journal,
        KeptPictures(folder / "pictures", PicturesConfig(**kept), told) as keeping,
    ):
        inspector.guard = guard_for(chosen.bundle, config.scene)
        for seq, picture in enumerate(pictures, start=1):
            common: dict[str, Any] = {"recipe": recipe, "threshold": chosen.thresholds.score, "frame_id": seq}
            found: Inspection | None = None
            try:
                found = inspector.inspect(picture)
            except DataError as error:
                reason = error.reason if isinstance(error, SceneFault) else Reason.INCOMPLETE
                common |= {"verdict": Verdict.INVALID, "reason": reason, "score": None}
            else:
                common |= {"verdict": found.verdict, "reason": found.reason, "score": found.score}
            decision = a_decision(seq, f"run-{recipe}", **common)
            assert journal.record(decision)
            keeping.keep(decision, picture, found, chosen.thresholds)


def again(capsys: Out, state: Path, bundle: Path, *words: object) -> dict[str, Any]:
    given = ["rerun", "--json", "--state", state, "--bundle", bundle, "--backend", "onnxruntime", *words]
    assert main([str(word) for word in given]) == 0
    return dict(json.loads(capsys.readouterr().out))


EVERY: dict[str, Any] = {"keep": [Verdict.PASS, Verdict.FAIL, Verdict.INVALID]}
SCENES = [scene(1), scene(2, 255), scene(3, 200), scene(4, 160), scene(5), np.zeros((100, 20, 3), np.uint8)]


@pytest.mark.parametrize("store", ["camera", "model"])
def test_the_same_bundle_gives_the_very_same_scores(tiny_bundle: Path, tmp_path: Path, capsys: Out, store: str) -> None:
    bundle = variant(tiny_bundle, tmp_path / "v1.sad", roi=ROI)
    inspected(tmp_path / "state", bundle, SCENES, store=store, **EVERY)
    told = again(capsys, tmp_path / "state", bundle)
    assert (told["pictures"], told["changed"], told["not_judged"]) == (6, 0, 0)
    assert [part["score_after"] for part in told["parts"]] == [part["score_before"] for part in told["parts"]]
    assert [part["after"] for part in told["parts"]] == ["PASS", "FAIL", "PASS", "PASS", "PASS", "INVALID"]
    assert len({part["score_after"] for part in told["parts"]}) > 3


def test_another_threshold_changes_what_it_has_to_and_says_where_the_pictures_are(
    tiny_bundle: Path, tmp_path: Path, capsys: Out
) -> None:
    inspected(tmp_path / "state", variant(tiny_bundle, tmp_path / "v1.sad", roi=ROI), SCENES, **EVERY)
    strict = variant(tiny_bundle, tmp_path / "v2.sad", roi=ROI, threshold=2.0)
    told = again(capsys, tmp_path / "state", strict)
    assert told["table"] == {
        "PASS": {"PASS": 3, "FAIL": 1, "INVALID": 0},
        "FAIL": {"PASS": 0, "FAIL": 1, "INVALID": 0},
        "INVALID": {"PASS": 0, "FAIL": 0, "INVALID": 1},
    }
    (changed,) = [part for part in told["parts"] if part["changed"]]
    assert (changed["seq"], changed["before"], changed["after"]) == (3, "PASS", "FAIL")
    assert Path(changed["picture"]).is_file()
    words = ["rerun", "--state", str(tmp_path / "state"), "--bundle", str(strict), "--backend", "onnxruntime"]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "1 of 6 verdicts change:" in text
    assert changed["picture"] in text


def test_another_roi_is_cut_from_the_cameras_picture(tiny_bundle: Path, tmp_path: Path, capsys: Out) -> None:
    inspected(tmp_path / "state", variant(tiny_bundle, tmp_path / "v1.sad", roi=ROI), SCENES[:5], **EVERY)
    whole = again(capsys, tmp_path / "state", tiny_bundle)
    assert [part["after"] for part in whole["parts"]] == ["FAIL"] * 5  # it sees the bright edge
    cut = again(capsys, tmp_path / "state", tiny_bundle, "--roi", "40,30,200,160")
    assert cut["changed"] == 0
    assert again(capsys, tmp_path / "state", tiny_bundle, "--threshold", "100")["table"]["FAIL"]["PASS"] == 1


def test_the_stations_file_gives_the_roi_that_the_line_judges_by(
    tiny_bundle: Path, tmp_path: Path, capsys: Out
) -> None:
    inspected(tmp_path / "state", variant(tiny_bundle, tmp_path / "v1.sad", roi=ROI), SCENES[:5], recipe=1, **EVERY)
    station = tmp_path / "station.yaml"
    roi = "{x: 40, y: 30, width: 200, height: 160}"
    station.write_text(f"recipes: {{1: {{bundle: {tiny_bundle}, roi: {roi}}}}}")
    assert again(capsys, tmp_path / "state", tiny_bundle)["changed"] > 0
    assert again(capsys, tmp_path / "state", tiny_bundle, "--config", station)["changed"] == 0


def test_a_picture_of_another_models_size_is_not_judged_and_that_is_said(
    tiny_bundle: Path, tmp_path: Path, capsys: Out
) -> None:
    inspected(tmp_path / "state", tiny_bundle, [bad_picture()], store="model")
    (kept,) = (tmp_path / "state").rglob("*.model.png")
    kept.write_bytes(encode_png(np.zeros((SIZE_PX * 2, SIZE_PX, 3), np.uint8)))
    told = again(capsys, tmp_path / "state", tiny_bundle)
    assert (told["not_judged"], told["changed"]) == (1, 0)
    assert "pictures.store: model" in told["parts"][0]["why_not"]


def test_only_what_was_asked_for_is_judged(tiny_bundle: Path, tmp_path: Path, capsys: Out) -> None:
    inspected(tmp_path / "state", variant(tiny_bundle, tmp_path / "v1.sad", roi=ROI), SCENES, **EVERY)
    state = tmp_path / "state"
    assert again(capsys, state, tiny_bundle, "--verdict", "FAIL")["pictures"] == 1
    assert again(capsys, state, tiny_bundle, "--reason", "incomplete", "score")["pictures"] == 2
    assert again(capsys, state, tiny_bundle, "--since", "1h", "--part-id", "1004")["pictures"] == 1


def test_the_guard_of_the_bundle_looks_again_unless_told_not_to(tiny_bundle: Path, tmp_path: Path, capsys: Out) -> None:
    inspected(tmp_path / "state", tiny_bundle, [np.zeros((240, 240, 3), np.uint8)])
    (dark,) = again(capsys, tmp_path / "state", tiny_bundle)["parts"]
    assert (dark["reason_before"], dark["reason_after"], dark["changed"]) == ("black", "black", False)
    (judged,) = again(capsys, tmp_path / "state", tiny_bundle, "--no-guard")["parts"]
    assert (judged["after"], judged["score_after"]) == ("FAIL", 5.0)


def test_pictures_of_two_recipes_are_never_thrown_together(tiny_bundle: Path, tmp_path: Path, capsys: Out) -> None:
    state = tmp_path / "state"
    inspected(state, tiny_bundle, [bad_picture(1)], recipe=1)
    inspected(state, tiny_bundle, [bad_picture(2), good_picture()], recipe=2, **EVERY)
    assert main(["rerun", "--state", str(state), "--bundle", str(tiny_bundle)]) == 2
    assert "recipes 1, 2" in capsys.readouterr().err
    assert again(capsys, state, tiny_bundle, "--recipe", "2")["pictures"] == 2


def test_a_picture_whose_row_is_gone_or_which_is_damaged_is_still_told(
    tiny_bundle: Path, tmp_path: Path, capsys: Out
) -> None:
    state = tmp_path / "state"
    inspected(state, tiny_bundle, [bad_picture(1), bad_picture(2)])
    first, second = sorted((state / "line1" / "pictures").rglob("*.png"))
    first.rename(first.with_name("100000-gone-00000009-FAIL-score.png"))
    second.write_bytes(b"")
    told = again(capsys, state, tiny_bundle)
    assert {part["seq"]: (part["after"], part["why_not"] is None) for part in told["parts"]} == {
        9: ("FAIL", True),
        2: (None, False),
    }
    assert again(capsys, state, tiny_bundle, "--verdict", "FAIL")["pictures"] == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--roi", "1,2,3"], "x,y,width,height"),
        (["--roi", "a,b,c,d"], "x,y,width,height"),
        (["--threshold", "nan"], "nothing can be judged"),
        (["--backend", "abacus"], "no such backend"),
        (["--precision", "int8"], "int8"),
        (["--bundle", "none.sad"], "none.sad"),
    ],
    ids=str,
)
def test_a_wish_that_makes_no_sense_is_one_clear_line(
    tiny_bundle: Path, tmp_path: Path, capsys: Out, words: list[str], says: str
) -> None:
    inspected(tmp_path / "state", tiny_bundle, [bad_picture()])
    assert main(["rerun", "--state", str(tmp_path / "state"), "--bundle", str(tiny_bundle), *words]) == 2
    assert says in capsys.readouterr().err
