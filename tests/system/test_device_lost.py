"""A GPU that is lost under any command ends it with exit code 5, for a supervisor to start it again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from drivers import LOST, Gpu, backend_on
from folders import write_mvtec
from sad_calibration.cli import main as calibrate
from sad_runtime.backends.table import BACKENDS
from sad_runtime.cli.runtime import main as runtime
from sad_train.evaluation.cli import main as evaluate
from stations import FREE

AT_PICTURE = 14
"""After opening and the golden pictures, in the midst of the work."""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """`--backend tensorrt`, on a GPU that is lost while it works."""
    made = Gpu()
    made.fail("synchronise", AT_PICTURE, LOST)
    monkeypatch.setitem(BACKENDS, "tensorrt", backend_on(made))
    return made


def test_a_station_leaves_with_code_5_and_nothing_passes_that_was_not_inspected(
    tmp_path: Path, tiny_bundle: Path, gpu: Gpu, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_mvtec(tmp_path / "parts", good=40, defect=0)
    addresses = [word for name in ("decisions", "heatmaps", "snapshot", "commands") for word in (f"--{name}", FREE)]
    arguments = ["--camera", f"folder:{data / 'test/good'}", "--bundle", str(tiny_bundle), "--backend", "tensorrt"]
    assert runtime([*arguments, "--state", str(tmp_path / "state"), *addresses]) == 5
    assert "sad-runtime: the GPU is lost" in capsys.readouterr().err
    with sqlite3.connect(tmp_path / "state/line1/journal.sqlite") as connection:
        rows = connection.execute("SELECT seq, verdict, reason FROM decisions ORDER BY id").fetchall()
    connection.close()
    assert 0 < len(rows) < AT_PICTURE
    assert [row[0] for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1][1:] == ("INVALID", "inference_error")
    assert all(row[1] == "PASS" for row in rows[:-1])
    assert gpu.empty


def _calibrate(bundle: Path, folder: Path) -> int:
    write_mvtec(folder, train=40)
    options = ["--good", str(folder / "train/good"), "--state", str(folder / "state"), "--backend", "tensorrt"]
    return calibrate([str(bundle), *options])


def _evaluate(bundle: Path, folder: Path) -> int:
    return evaluate([str(bundle), "--data", str(write_mvtec(folder, good=20)), "--backend", "tensorrt"])


@pytest.mark.parametrize("command", [_calibrate, _evaluate])
def test_a_command_that_judges_pictures_leaves_with_code_5(
    tmp_path: Path, tiny_bundle: Path, gpu: Gpu, command: Callable[[Path, Path], int]
) -> None:
    assert command(tiny_bundle, tmp_path) == 5
    assert not (tmp_path / "state").exists()
    assert gpu.empty
