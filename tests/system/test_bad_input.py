"""Bad input through the real commands: the exit code is right, the message names the place, nothing becomes a PASS."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from bundles import good_picture
from sad_calibration.cli import main as calibrate
from sad_runtime.cli.capture import main as capture
from sad_runtime.cli.runtime import main as runtime
from sad_train.cli import main as train
from sad_train.evaluation.cli import main as evaluate
from sad_train.run import Run

FREE = "tcp://127.0.0.1:*"
PORTS = ["--decisions", FREE, "--heatmaps", FREE, "--snapshot", FREE]


def png(picture: np.ndarray) -> bytes:
    return bytes(cv2.imencode(".png", picture)[1])


def jpeg() -> bytes:
    return bytes(cv2.imencode(".jpg", good_picture())[1])


def cmyk_tiff() -> bytes:
    """16x16, one strip, photometric 5."""
    tags = [(256, 16), (257, 16), (258, 8), (259, 1), (262, 5), (273, 8), (277, 4), (278, 16), (279, 1024)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<I", 1032) + bytes(1024) + struct.pack("<H", len(tags)) + entries + bytes(4)


def huge_png() -> bytes:
    """A header of a few bytes that asks for 3.6 terapixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 1_900_000, 1_900_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


BAD: dict[str, Callable[[], bytes]] = {
    "empty.png": bytes,
    "cut.png": lambda: png(good_picture())[:2000],
    "cut.jpg": lambda: jpeg()[:-300],
    "words.png": lambda: b"not a picture at all",
    "deep.png": lambda: png(good_picture().astype(np.uint16) * 200),
    "alpha.png": lambda: png(np.dstack([good_picture(), np.full((64, 64), 99, np.uint8)])),
    "tiny.png": lambda: png(good_picture()[:4, :4]),
    "cmyk.tif": cmyk_tiff,
    "huge.png": huge_png,
}


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A set of good pictures in the MVTec layout."""
    for folder, first, count in (("train/good", 0, 9), ("test/good", 20, 2), ("test/dent", 30, 2)):
        (tmp_path / "parts" / folder).mkdir(parents=True)
        for number in range(count):
            (tmp_path / "parts" / folder / f"{number:03}.png").write_bytes(png(good_picture(first + number)))
    return tmp_path / "parts"


def put_bad(folder: Path) -> None:
    for name, data in BAD.items():
        (folder / name).write_bytes(data())
    (folder / "link.png").symlink_to(folder / "gone.png")


def verdicts(state: Path) -> dict[str, str]:
    connection = sqlite3.connect(state / "line1/journal.sqlite")
    found = connection.execute("SELECT source, verdict FROM decisions").fetchall()
    connection.close()
    return dict(found)


def test_every_bad_training_picture_is_named_at_once(parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put_bad(parts / "train/good")
    assert train(["--data", str(parts), "--out", str(parts.parent / "run")]) == 2
    said = capsys.readouterr().err
    for name in (*BAD, "link.png"):
        assert f"error: {parts / 'train/good' / name}: " in said
    assert not (parts.parent / "run").exists()


def test_every_bad_test_picture_is_named_at_once(
    parts: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_bad(parts / "test/dent")
    assert evaluate([str(tiny_bundle), "--data", str(parts), "--backend", "onnxruntime"]) == 2
    said = capsys.readouterr().err
    assert f"{len(BAD) + 1} of {len(BAD) + 5} pictures cannot be judged" in said
    for name in (*BAD, "link.png"):
        assert f"{parts / 'test/dent' / name}: " in said


def test_every_bad_calibration_picture_is_named_and_nothing_is_saved(
    parts: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put_bad(parts / "train/good")
    arguments = [str(tiny_bundle), "--good", str(parts / "train/good"), "--backend", "onnxruntime"]
    assert calibrate([*arguments, "--state", str(parts.parent / "state")]) == 2
    said = capsys.readouterr().err
    for name in (*BAD, "link.png"):
        assert f"{parts / 'train/good' / name}: " in said
    assert not (parts.parent / "state").exists()


def test_every_bad_picture_of_a_line_is_a_part_that_does_not_pass(parts: Path, tiny_bundle: Path) -> None:
    put_bad(parts / "train/good")
    state = parts.parent / "state"
    arguments = ["--camera", f"folder:{parts / 'train/good'}", "--bundle", str(tiny_bundle), "--state", str(state)]
    assert runtime([*arguments, "--backend", "onnxruntime", *PORTS]) == 0
    judged = verdicts(state)
    assert len(judged) == 9 + len(BAD) + 1
    assert {source for source, verdict in judged.items() if verdict == "PASS"} == {f"{n:03}.png" for n in range(9)}
    assert [verdict for verdict in judged.values() if verdict != "PASS"] == ["INVALID"] * (len(BAD) + 1)


WRONG = [
    (["--threshold", "nan"], "nothing can be judged by it"),
    (["--threshold", "inf"], "nothing can be judged by it"),
    (["--limit", "-3"], "--limit: 1 part or more"),
    (["--trigger", "interval"], "(--interval MS)"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
def test_numbers_that_make_no_sense_are_refused_before_anything_is_opened(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    base = ["--camera", "demo:washer?n=1", "--bundle", str(tiny_bundle), "--state", str(tmp_path / "state")]
    assert runtime([*base, *PORTS, *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_a_damaged_threshold_history_is_refused_with_the_way_to_mend_it(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "line1").mkdir()
    (tmp_path / "line1/thresholds.json").write_text('{"entries": [')
    assert runtime(["--camera", "demo:washer?n=1", "--bundle", str(tiny_bundle), "--state", str(tmp_path), *PORTS]) == 2
    said = capsys.readouterr().err
    assert "thresholds.json: the threshold history cannot be read" in said
    assert "move the file away" in said


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (capture, ["--camera", "demo:washer?n=1", "--count", "1"]),
        (train, ["--data", "PARTS", "--size", "64", "--steps", "1"]),
    ],
)
def test_a_file_where_the_folder_should_be_ends_with_2(
    parts: Path,
    capsys: pytest.CaptureFixture[str],
    command: Callable[[list[str]], int],
    arguments: list[str],
) -> None:
    taken = parts.parent / "taken"
    taken.touch()
    given = [str(parts) if one == "PARTS" else one for one in arguments]
    assert command([*given, "--out", str(taken)]) == 2
    assert f"{taken}: cannot be written (File exists). A file is in the way" in capsys.readouterr().err


def test_a_threshold_cannot_be_exported_on_an_engine_that_runs_no_model(capsys: pytest.CaptureFixture[str]) -> None:
    from sad_export.cli import main as export

    assert export(["no-run", "--backend", "constant:1"]) == 2
    assert "never runs the model" in capsys.readouterr().err


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with the station's folder on it, and no room left."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount")
    (disk / "line1/pictures").mkdir(parents=True)
    with (disk / "fill").open("wb", buffering=0) as fill:
        try:
            while True:
                fill.write(bytes(4096))
        except OSError:
            pass
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_station_starts_and_decides_on_a_full_disk(full_disk: Path, tiny_bundle: Path) -> None:
    base = [sys.executable, "-m", "sad_runtime.cli.runtime", "--bundle", str(tiny_bundle), "--backend", "onnxruntime"]
    camera = ["--camera", "demo:washer?n=3&size=64&fps=0", "--state", str(full_disk)]
    done = subprocess.run([*base, *camera, *PORTS], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "unrecorded when published: 3" in done.stderr
    assert "3 decisions could not be written" in done.stderr


HOLD = """
import os, signal, sys
from pathlib import Path
from sad_train.run import Run
with Run(Path(sys.argv[1])).locked():
    worker = os.fork()
    if worker:
        print(worker, flush=True)
    signal.pause()
"""


def test_a_killed_training_leaves_its_run_free_though_its_workers_live_on(tmp_path: Path) -> None:
    """As a training does: takes the run, then forks processes that make examples."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as training:
        assert training.stdout is not None
        worker = int(training.stdout.readline())
        training.kill()
    try:
        os.kill(worker, 0)  # alive
        with Run(tmp_path).locked():
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_a_bundle_cut_anywhere_is_refused(tmp_path: Path, tiny_bundle: Path) -> None:
    whole = tiny_bundle.read_bytes()
    cut = tmp_path / "cut.sad"
    for share in (0, 1, 21, len(whole) // 3, len(whole) - 1):
        cut.write_bytes(whole[:share])
        assert runtime(["--camera", "demo:washer?n=1", "--bundle", str(cut), "--check"]) == 2
    shutil.copy(tiny_bundle, cut)
    assert runtime(["--camera", "demo:washer?n=1", "--bundle", str(cut), "--state", str(tmp_path), "--check"]) == 0


def test_a_key_that_stands_twice_in_a_training_file_is_refused(parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (parts.parent / "twice.yaml").write_text("steps: 5\nsteps: 6\n")
    assert train(["--data", str(parts), "--config", str(parts.parent / "twice.yaml")]) == 2
    assert "key 'steps' twice" in capsys.readouterr().err


def test_a_wrong_flag_is_not_blamed_on_the_preset_alone(parts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(["--data", str(parts), "--steps", "0"]) == 2
    assert "with the flags over it: 'steps'" in capsys.readouterr().err
