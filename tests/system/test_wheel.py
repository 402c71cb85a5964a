"""The wheel as an edge box gets it: what is in it, and what runs where there is no torch."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from folders import write_mvtec

ROOT = Path(__file__).parents[2]
HOMES = ("runtime/sad_runtime", "calibration/sad_calibration", "train/sad_train", "export/sad_export")
SCRIPTS = re.findall(r"^(sad-[a-z]+) = ", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
LARGEST_BYTES = 300_000
PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npz", ".onnx", ".pt", ".sad"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*words: str | Path, cwd: Path | None = None, limit_s: float = 120) -> subprocess.CompletedProcess[str]:
    """As a stranger would: nothing of this checkout or its environment leaks in."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=limit_s
    )


def ran(*words: str | Path, cwd: Path | None = None, limit_s: float = 120) -> str:
    """Its stdout; it must end with 0."""
    result = run(*words, cwd=cwd, limit_s=limit_s)
    assert result.returncode == 0, f"{words}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def free_ports(count: int) -> int:
    """How far to move the default ports 5555 to 5557 so that `count` of them are free."""
    for offset in range(20_000, 50_000, 10):
        try:
            for port in range(5555 + offset, 5555 + offset + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return offset
    raise AssertionError("no free ports")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    known = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    ran(sys.executable, "-m", "build", "--wheel", *known, "--outdir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def edge(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel and what an edge box needs, no more."""
    home = tmp_path_factory.mktemp("edge") / "venv"
    ran(sys.executable, "-m", "venv", home)
    quiet = ("--quiet", "--disable-pip-version-check")
    ran(home / "bin/python", "-m", "pip", "install", *quiet, f"{wheel}[cpu,headless]", limit_s=300)
    return home / "bin"


def test_the_wheel_holds_the_four_packages_and_nothing_that_does_not_run(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    code = {name for name in sizes if name.endswith(".py")}
    sources = [(ROOT / home, path) for home in HOMES for path in (ROOT / home).rglob("*.py")]
    assert code == {path.relative_to(home.parent).as_posix() for home, path in sources}
    assert {f"{Path(home).name}/py.typed" for home in HOMES} <= set(sizes)
    configs = {path.relative_to(ROOT).as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    assert {f"sad_runtime/{name}" for name in configs} <= set(sizes)
    assert "sad_train/report.css" in sizes
    assert any(re.fullmatch(r"sad_inspection-[^/]+\.dist-info/licenses/LICENSE", name) for name in sizes)
    assert {name.split("/")[0] for name in sizes if ".dist-info/" not in name} == {Path(home).name for home in HOMES}
    tiny = "sad_runtime/selftest/tiny.onnx"
    assert sizes[tiny] < 1000, "a network of the self-test's own, with no weights that were learnt"
    others = [name for name in sizes if name != tiny]
    assert not [name for name in others if Path(name).suffix.lower() in PICTURES or re.search(r"(^|/)tests?[/_]", name)]
    assert not {name: size for name, size in sizes.items() if size > LARGEST_BYTES}


def test_an_edge_box_has_no_torch_and_every_command_says_what_it_does(edge: Path) -> None:
    assert run(edge / "python", "-c", "import torch").returncode == 1
    version = ran(edge / "sad-runtime", "--version").strip()
    assert re.fullmatch(r"sad-runtime \d+\.\d+\.\d+\S*", version)
    for script in SCRIPTS:
        assert f"usage: {script}" in ran(edge / script, "--help")


def test_a_station_runs_from_the_wheel_alone_and_its_feed_is_read(
    edge: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    offset = free_ports(3)
    tail = subprocess.Popen(
        [edge / "sad-tail", "--feed", f"tcp://127.0.0.1:{5555 + offset}", "--history", "--count", "5", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    options = ("--backend", "constant", "--bundle", tiny_bundle, "--limit", "5", "--state", "state")
    ran(edge / "sad-runtime", "--preset", "station-demo", *options, "--port-offset", str(offset), cwd=tmp_path)
    with closing(sqlite3.connect(tmp_path / "state/demo/journal.sqlite")) as connection:
        assert connection.execute("SELECT seq, verdict FROM decisions ORDER BY seq").fetchall() == [
            (seq, "PASS") for seq in range(1, 6)
        ]
    lines, _ = tail.communicate(timeout=30)
    heard = [json.loads(line) for line in lines.splitlines()]
    assert [decision["seq"] for decision in heard] == [1, 2, 3, 4, 5]
    assert all("simulated" in decision["flags"] for decision in heard)


def test_the_shipped_engine_runs_a_model_from_the_wheel(edge: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    options = ("--camera", "demo:washer?size=64&n=3&fps=0", "--bundle", tiny_bundle, "--state", "state")
    result = run(edge / "sad-runtime", *options, "--port-offset", str(free_ports(3)), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "backend openvino" in result.stderr
    assert "parts 3" in result.stderr


def test_a_bundle_is_measured_and_calibrated_without_torch(edge: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    parts = write_mvtec(tmp_path / "parts", train=9, good=4, defect=3)
    summary = json.loads(ran(edge / "sad-evaluate", tiny_bundle, "--data", parts, "--json", cwd=tmp_path))
    assert (summary["n_good"], summary["n_defect"], summary["image_auroc"]) == (4, 3, 1.0)
    report = tmp_path / "report.html"
    ran(edge / "sad-evaluate", tiny_bundle, "--data", parts, "--report", report, cwd=tmp_path)
    assert report.stat().st_size > 1000
    good = parts / "train/good"
    ran(edge / "sad-calibrate", tiny_bundle, "--good", good, "--state", tmp_path / "state", cwd=tmp_path)
    assert (tmp_path / "state/line1/thresholds.json").is_file()


def test_what_needs_torch_names_the_extra_to_install(edge: Path, tmp_path: Path) -> None:
    parts = write_mvtec(tmp_path / "parts", train=30, good=0, defect=0)
    (tmp_path / "run").mkdir()
    wanting = {
        "train": (edge / "sad-train", "--data", parts, "--out", tmp_path / "run"),
        "export": (edge / "sad-export", tmp_path / "run"),
        "train,export": (edge / "sad-demo", "--out", tmp_path / "demo"),
    }
    for extra, words in wanting.items():
        result = run(*words, cwd=tmp_path)
        assert result.returncode == 2, (words, result.stderr)
        assert f"pip install 'sad-inspection[{extra}]'" in result.stderr, (words, result.stderr)
        assert "Traceback" not in result.stderr
