"""The whole way in one go: `sad-demo` on a short training, and the line held against the evaluation, bit for bit."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from lines import decided, run
from sad_runtime.cameras.demo.parts import defects_of, render

pytestmark = pytest.mark.slow
PICTURES = 60


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A finished demo: its folder, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    done = run("sad_export.demo", "--steps", "8", "--pictures", "25", "--parts", "12", "--out", "out", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out", done.stdout


def test_the_demo_leaves_everything_it_names(demo: tuple[Path, str]) -> None:
    out, _ = demo
    for name in ("washer.sad", "evaluation.html", "run/report.html", "runtime.log"):
        assert (out / name).stat().st_size > 0
    sheet = cv2.imread(str(out / "line.png"))
    assert sheet is not None
    assert sheet.std() > 20


def test_the_demo_holds_every_decision_against_the_truth(demo: tuple[Path, str]) -> None:
    _, printed = demo
    assert "12 decisions received in order, none lost" in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith(("good ", *defects_of("washer")))]
    line_rows = [row for row in rows if row[-1] == "%" and len(row) == 7]
    assert sum(int(row[1]) for row in line_rows) == 12
    assert all(int(row[1]) == sum(map(int, row[2:5])) for row in line_rows)


def test_the_demo_ends_with_a_plc_that_lost_count_of_nothing(demo: tuple[Path, str]) -> None:
    counts = dict(line.rsplit(maxsplit=1) for line in demo[1].splitlines() if line.startswith(("parts  ", "unacc")))
    assert counts == {"parts": "40", "unaccounted": "0"}
    assert "passed by system     0" in demo[1]


def test_the_line_scores_as_the_evaluation_does_to_the_last_bit(demo: tuple[Path, str], tmp_path: Path) -> None:
    from sad_train.evaluation.subject import open_subject

    bundle = demo[0] / "washer.sad"
    pictures = rendered(tmp_path / "pictures")
    decisions = decided(f"folder:{pictures}", bundle, tmp_path, PICTURES)
    assert [decision.seq for decision in decisions] == list(range(1, PICTURES + 1))
    with open_subject(bundle).inspector as inspector:
        expected = [inspector.inspect(cv2.imread(str(path))) for path in sorted(pictures.iterdir())]
    assert [decision.score for decision in decisions] == [found.score for found in expected]
    assert [decision.verdict for decision in decisions] == [found.verdict for found in expected]


def rendered(folder: Path) -> Path:
    folder.mkdir()
    kinds = ("good", *defects_of("washer"))
    for index in range(PICTURES):
        picture = render("washer", seed=5, index=index, defect=kinds[index % len(kinds)]).image
        cv2.imwrite(str(folder / f"{index:03}.png"), picture)
    return folder
