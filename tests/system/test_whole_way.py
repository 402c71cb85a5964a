"""The whole way in one go: `sad-demo` on a short training, and the line held against the evaluation, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from sad_runtime.cameras.demo.parts import defects_of, render
from sad_runtime.messages import Decision
from sad_runtime.subscriber import Subscriber

pytestmark = pytest.mark.slow
PICTURES = 60


def run(module: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = f"import sys; from {module} import main; sys.exit(main(sys.argv[1:]))"
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "XDG_CACHE_HOME": str(cwd / "cache")}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=280
    )


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


def test_the_line_scores_as_the_evaluation_does_to_the_last_bit(demo: tuple[Path, str], tmp_path: Path) -> None:
    from sad_train.evaluation.subject import open_subject

    bundle = demo[0] / "washer.sad"
    pictures = rendered(tmp_path / "pictures")
    decisions = line(bundle, pictures, tmp_path)
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


def line(bundle: Path, pictures: Path, folder: Path) -> list[Decision]:
    """Every decision of a station that ran over the folder."""
    addresses = {name: f"ipc://{folder}/{name}.ipc" for name in ("decisions", "heatmaps", "snapshot")}
    flags = [word for name, address in addresses.items() for word in (f"--{name}", address)]
    options = ["--camera", f"folder:{pictures}", "--bundle", str(bundle), "--state", str(folder / "state")]
    command = [sys.executable, "-m", "sad_runtime.cli.runtime", *options, *flags]
    decisions: list[Decision] = []
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stderr=log) as process,
        Subscriber(addresses["decisions"], history=True) as feed,
    ):
        while len(decisions) < PICTURES and process.poll() is None:
            decision = feed.poll(200)
            if decision is not None:
                decisions.append(decision)
        assert process.wait(20) == 0, (folder / "log").read_text()
        assert feed.lost == 0
    return decisions
