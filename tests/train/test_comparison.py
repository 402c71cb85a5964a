"""sad-evaluate --compare from end to end on small real bundles: rows, seeds, sets, the cache, the page, refusals."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bundles import good_picture
from folders import write_mvtec, write_picture
from sad_runtime.bundle import read_bundle, write_bundle
from sad_runtime.manifest import Training
from sad_runtime.schema import parse
from sad_train.data.dataset import Dataset
from sad_train.evaluation.cli import main
from sad_train.evaluation.comparison import Comparison, SetResults
from sad_train.evaluation.comparison_figures import FIGURES, Figure, Result, Row, best
from sad_train.evaluation.comparison_text import markdown
from sad_train.evaluation.contenders import Contender, field_of, variant_of

AUROC = next(figure for figure in FIGURES if figure.key == "image_auroc")
Made = Callable[..., Path]


@pytest.fixture
def made(tiny_bundle: Path, tmp_path: Path) -> Made:
    """Writes a tiny bundle of any part, method and seed; `lift` raises its threshold, so that bundles differ."""

    def make(name: str, part: str = "knob", method: str = "nsa", seed: int = 0, lift: float = 0.0) -> Path:
        bundle = read_bundle(tiny_bundle)
        training = bundle.manifest.training.model_copy(
            update={"method": method, "preset": "fast", "seed": seed, "minutes": 3.0, "parameters": 1_500_000}
        )
        precision = bundle.manifest.precisions["fp32"]
        precisions = {"fp32": precision.model_copy(update={"score_threshold": precision.score_threshold + lift})}
        changed = {"part": part, "method": method, "training": training, "precisions": precisions}
        path = tmp_path / f"{name}.sad"
        files = {file: data for file, data in bundle.files.items() if file not in ("manifest.json", "digests.txt")}
        write_bundle(path, bundle.manifest.model_copy(update=changed), files)
        return path

    return make


@pytest.fixture
def knob(tmp_path: Path) -> Path:
    return write_mvtec(tmp_path / "parts" / "knob", good=2, defect=3)


def compare(*arguments: str | Path) -> list[str]:
    return ["--compare", *map(str, arguments)]


def figures(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> dict[str, Any]:
    assert main([*compare(*arguments), "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert main([*map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err


def row_of(name: str, *values: float | None) -> Row:
    """A row whose image AUROC per seed is given."""
    contender = Contender(Path(name), "bundle", "knob", name, "fast", "", 0, "", None, None, None)
    return Row(
        name,
        [
            Result(replace(contender, seed=seed), {"image_auroc": value, "frr_at_escape": {"0": value}})
            for seed, value in enumerate(values)
        ],
    )


def test_seeds_of_a_method_are_one_row_and_methods_stand_side_by_side(
    made: Made, knob: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subjects = [made("a-1", seed=1), made("a-0"), made("knob-cutpaste-0", method="cutpaste")]
    rows = figures(capsys, *subjects, "--data", knob)["sets"]["knob"]["rows"]
    assert [(row["row"], row["seeds"]) for row in rows] == [("cutpaste fast", [0]), ("nsa fast a", [0, 1])]
    found = rows[1]["figures"]
    assert found["image_auroc"] == {"mean": 1.0, "deviation": 0.0, "min": 1.0, "max": 1.0, "n": 2}
    assert found["parameters"]["mean"] == 1_500_000
    assert found["minutes"]["mean"] == 3.0
    assert found["gmac"] is None
    assert found["latency_ms"]["mean"] > 0
    assert set(rows[1]["subjects"]) == {str(path) for path in subjects[:2]}


def test_each_subject_is_measured_on_the_set_of_its_part(
    made: Made, knob: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lever = write_mvtec(tmp_path / "parts" / "lever", good=4, defect=1)
    made("knob-0")
    made("lever-0", part="lever")
    found = figures(capsys, tmp_path, "--data", lever, "--data", knob, "--limit", "3")
    assert {name: (one["n_good"], one["n_defect"]) for name, one in found["sets"].items()} == {
        "lever": (3, 1),
        "knob": (2, 3),
    }
    assert found["failed"] == {}


def test_the_tables_are_markdown_ready_to_be_pasted(
    made: Made, knob: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = tmp_path / "out" / "table.md"
    subjects = [made("knob-0"), made("knob-1", seed=1), made("knob-plain-0")]
    assert main([*compare(*subjects, "--data", knob, "--markdown", tables, "--limit", "2")]) == 0
    assert capsys.readouterr().out == ""
    text = tables.read_text()
    assert "### All sets" in text
    assert "| nsa fast | 1.000 / 1.000 / 1.000 |" in text
    assert "### knob\n\n2 good parts, 2 defects." in text
    assert "| nsa fast | 0, 1 | 1.000 ± 0.000 |" in text
    assert "| nsa fast plain | 0 | 1.000 | " in text
    assert " 0.0 ± 0.0 % |" in text
    assert "| 1.50 M | – | 3.0 |" in text
    assert "openvino fp32 |" in text
    assert "at most 2 pictures of each type" in text
    for table in text.split("\n\n"):
        if table.startswith("|"):
            assert len({line.count("|") for line in table.splitlines()}) == 1


def test_without_a_file_the_tables_are_printed(made: Made, knob: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(compare(made("knob-0"), "--data", knob)) == 0
    assert "### knob" in capsys.readouterr().out


def test_the_page_shows_the_same_pictures_through_every_method(
    made: Made, knob: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "compare.html"
    subjects = [made("knob-0"), made("knob-anoseg-0", method="anoseg", lift=50.0)]
    assert main(compare(*subjects, "--data", knob, "--report", page)) == 0
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert "http" not in text
    shown = sorted(set(re.findall(r">(\w+/\d+.png)<", text)))
    assert shown == ["good/000.png", "good/001.png", "spot/000.png", "spot/002.png"]
    assert text.index("good/000.png") < text.index("spot/000.png")
    assert text.count("<img ") == 4 + 2 + 2 * 4  # pictures, masks of defects, heatmaps
    assert text.count(">FAIL 5") == 2, "the second method's threshold lets the defects pass"
    assert text.count(">PASS 5") == 2
    assert "Without a threshold" not in text


def test_a_broken_subject_is_named_and_the_others_are_measured(
    made: Made, knob: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.sad"
    broken.write_bytes(b"PK")
    found = figures(capsys, made("knob-0"), broken, "--data", knob, code=1)
    assert found["sets"]["knob"]["rows"][0]["figures"]["image_auroc"]["mean"] == 1.0
    assert "cut short" in found["failed"][str(broken)]
    assert main(compare(made("knob-0"), broken, "--data", knob, "--report", tmp_path / "c.html")) == 1
    captured = capsys.readouterr()
    assert "### knob" in captured.out
    assert f"not in the tables: {broken}" in captured.out
    assert f"not in the tables: {broken}" in captured.err
    assert "broken.sad" in (tmp_path / "c.html").read_text()


def test_pictures_that_cannot_be_judged_fail_whoever_is_measured_on_them(
    made: Made, knob: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lever = write_mvtec(tmp_path / "parts" / "lever", good=2, defect=1)
    (lever / "test" / "good" / "000.png").write_bytes(b"")
    page = tmp_path / "c.html"
    subjects = [made("knob-0"), made("lever-0", part="lever")]
    found = figures(capsys, *subjects, "--data", knob, "--data", lever, "--report", page, code=1)
    assert "1 of 3 pictures cannot be judged" in found["failed"][str(subjects[1])]
    assert found["sets"]["lever"]["rows"] == []
    assert len(found["sets"]["knob"]["rows"]) == 1
    assert "Nobody could be measured" in page.read_text()


def test_figures_are_kept_and_found_again_until_something_changes(
    made: Made, knob: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    subject = made("knob-0")
    given: list[str | Path] = [subject, "--data", knob, "--cache", cache]
    first = figures(capsys, *given)
    (kept,) = cache.glob("*.json")
    values = json.loads(kept.read_text())
    kept.write_text(json.dumps({**values, "summary": {**values["summary"], "image_auroc": 0.25}}))
    again = figures(capsys, *given)
    assert again["sets"]["knob"]["rows"][0]["figures"]["image_auroc"]["mean"] == 0.25, "not measured again"
    assert figures(capsys, *given, "--limit", "1") != again
    kept.write_text("{torn")
    assert figures(capsys, *given)["sets"]["knob"]["n_good"] == first["sets"]["knob"]["n_good"]
    write_picture(knob / "test" / "good" / "900.png", good_picture(77))
    assert figures(capsys, *given)["sets"]["knob"]["n_good"] == 3
    made("knob-0", lift=9.0)
    figures(capsys, *given)
    assert len(list(cache.glob("*.json"))) == 4


def test_a_set_and_a_subject_that_do_not_meet_are_both_named(
    made: Made, knob: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lever = write_mvtec(tmp_path / "parts" / "lever")
    said = refusal(capsys, "--compare", made("cap-0", part="cap"), made("knob-0"), "--data", knob, "--data", lever)
    assert "cap-0.sad (part cap)" in said
    assert f"{lever} (set lever)" in said


def test_wrong_usage_is_told_before_any_work(
    made: Made, knob: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = made("knob-0")
    data: list[str | Path] = ["--data", knob]
    assert "give --compare" in refusal(capsys, one, made("knob-1"), *data)
    assert "give --compare" in refusal(capsys, one, *data, "--data", knob.parent)
    assert "--cache goes with --compare" in refusal(capsys, one, *data, "--cache", tmp_path)
    assert "--markdown goes with --compare" in refusal(capsys, one, *data, "--markdown", tmp_path / "x.md")
    assert "no such bundle or folder" in refusal(capsys, "--compare", tmp_path / "none.sad", *data)
    assert "no .sad bundle and no run in it" in refusal(capsys, "--compare", knob, *data)
    assert "no such backend" in refusal(capsys, "--compare", one, *data, "--backend", "abacus")
    assert "both called knob" in refusal(
        capsys, "--compare", one, *data, "--data", write_mvtec(tmp_path / "2" / "knob")
    )
    (tmp_path / "fp32.onnx").write_bytes(b"")
    assert "neither its part nor its method" in refusal(capsys, "--compare", tmp_path / "fp32.onnx", *data)
    shutil.rmtree(knob / "test")
    assert "nothing to measure on" in refusal(capsys, "--compare", one, *data)


def test_two_trainings_with_one_seed_are_not_taken_for_two_seeds(
    made: Made, knob: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(capsys, "--compare", made("knob-0"), made("knob_seed0"), "--data", knob)
    assert "knob-0.sad and" in said
    assert "both nsa fast on knob with seed 0" in said


def test_one_named_twice_and_found_again_by_searching_counts_once(made: Made, tmp_path: Path) -> None:
    one = made("runs-0")
    assert len(field_of([one, tmp_path / "." / "runs-0.sad", tmp_path]).contenders) == 1


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("bottle-nsa-0", ""),
        ("nsa_fast_bottle_seed0", ""),
        ("bottle-anoseg-plain-0", "anoseg-plain"),
        ("Bottle.NSA.coords-off.s0", "coords-off"),
        ("x-1", "x-1"),
    ],
)
def test_the_variant_is_what_the_name_says_beyond_part_method_preset_and_seed(name: str, variant: str) -> None:
    assert variant_of(name, part="bottle", method="nsa", preset="fast", seed=0) == variant


def test_nothing_is_bold_unless_the_leader_leads_beyond_its_seeds() -> None:
    clear = [row_of("a", 0.9, 0.95), row_of("b", 0.8, 0.89)]
    assert best(clear, AUROC) is clear[0]
    assert best([row_of("a", 0.9, 0.95), row_of("b", 0.8, 0.91)], AUROC) is None, "the seeds overlap"
    assert best([row_of("a", 0.95), row_of("b", 0.8, 0.9)], AUROC) is None, "one seed shows no spread"
    assert best([row_of("a", 0.9, 0.9), row_of("b", 0.9, 0.9)], AUROC) is None
    assert best([row_of("a", 0.9, 0.95)], AUROC) is None
    assert best([row_of("a", 0.9, 0.95), row_of("b", None)], AUROC) is None
    rejects = next(figure for figure in FIGURES if figure.key == "frr_at_escape_0")
    assert best(clear, rejects) is clear[1]
    assert best(clear, Figure("cost", "cost", None, AUROC.of)) is None


def test_the_leader_is_bold_in_the_overview(tmp_path: Path) -> None:
    rows = [row_of("a", 0.9, 0.95), row_of("b", 0.8, 0.89)]
    summary = dict.fromkeys(("image_ap", "pixel_auroc", "pixel_ap", "aupro", "aupimo", "precision"))
    rest = {"latency_ms": {"p50": 1.0}, "backend": "x", "warnings": ["dim"], "n_good": 3, "n_defect": 4}
    for result in (result for row in rows for result in row.results):
        result.summary.update(summary | rest | {"frr_at_escape": {"0": None, "0.01": None, "0.05": None}})
    text = markdown(Comparison([SetResults(Dataset("knob", tmp_path, [], []), rows)]))
    assert "| a | **0.925** / – / – |" in text
    assert "| b | 0.845 / – / – |" in text
    assert "| a | 0, 1 | **0.925** ± 0.035 | – |" in text
    assert text.rstrip().endswith("- dim")


def test_a_manifest_without_minutes_and_cost_still_reads() -> None:
    older = {"method": "nsa", "preset": "fast", "seed": 0, "data_digest": "0", "pictures": 9, "versions": {}}
    training = parse(Training, older, "old")
    assert (training.minutes, training.parameters, training.gmac) == (None, None, None)


def test_bundles_are_compared_where_torch_is_not_installed(made: Made, knob: Path, tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['torch'] = sys.modules['sklearn'] = sys.modules['scipy'] = None\n"
    code = blocked + "from sad_train.evaluation.cli import main\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *compare(made("knob-0"), "--data", knob, "--report", "r.html", "--json")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sets"]["knob"]["rows"][0]["row"] == "nsa fast"


@pytest.mark.slow
def test_runs_are_compared_beside_bundles_and_a_run_found_beside_its_bundle_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sad_export.cli import main as export
    from sad_train.cli import main as train

    data = "demo:washer?n=16&good=2&defect=4&size=64"
    small = ["--size", "64", "--steps", "2", "--batch", "4", "--workers", "0"]
    runs = [tmp_path / "runs" / f"washer-{seed}" for seed in (0, 1)]
    for seed, run in enumerate(runs):
        assert train(["--data", data, "--out", str(run), "--seed", str(seed), *small]) == 0
    bundle = tmp_path / "washer-0.sad"
    assert export([str(runs[0]), "--out", str(bundle)]) == 0
    capsys.readouterr()
    page = tmp_path / "c.html"
    found = figures(capsys, bundle, tmp_path / "runs", "--data", data, "--report", page, "--limit", "2")
    rows = {row["row"]: row for row in found["sets"]["washer"]["rows"]}
    assert {name: row["seeds"] for name, row in rows.items()} == {"nsa fast": [0], "nsa fast (run)": [1]}
    assert str(runs[0]) in found["left_out"]
    assert rows["nsa fast"]["figures"]["gmac"]["mean"] > 0
    assert rows["nsa fast (run)"]["figures"]["gmac"] is None
    counted = [row["figures"]["parameters"]["mean"] for row in rows.values()]
    assert counted[0] == pytest.approx(counted[1], rel=0.01)
    assert all(row["figures"]["minutes"]["mean"] > 0 for row in rows.values())
    assert "Without a threshold, scaled by good test pictures instead: nsa fast (run)." in page.read_text()
    both = figures(capsys, bundle, *runs, "--data", data, "--limit", "1")["sets"]["washer"]["rows"]
    assert [row["seeds"] for row in both] == [[0], [0, 1]], "named by the user, the run counts as well"
