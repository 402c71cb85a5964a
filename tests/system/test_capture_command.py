"""The real `sad-capture`: whole lossless pictures, nothing overwritten."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from bundles import good_picture
from sad_runtime.cli.capture import main
from sad_runtime.pictures import encode_png, picture_files, read_picture


def test_pictures_are_stored_whole_and_those_before_stay(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "parts/x/train/good"
    source.mkdir()
    for number in range(5):
        (source / f"{number}.png").write_bytes(encode_png(good_picture(number)))
    for _ in range(2):
        assert main(["--camera", f"folder:{source}", "--out", str(out), "--count", "4"]) == 0
    stored = picture_files(out)
    assert len(stored) == 8
    for number, path in enumerate(stored):
        assert np.array_equal(read_picture(path), good_picture(number % 4))


def test_broken_pictures_are_left_out_and_an_early_end_is_said(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "0.png").write_bytes(encode_png(good_picture()))
    (source / "1.png").write_bytes(b"half")
    command = [sys.executable, "-m", "sad_runtime.cli.capture", "--camera", f"folder:{source}", "--count", "9"]
    done = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=True)
    assert "ended after 1 of 9" in done.stderr
    assert "1 pictures were not whole" in done.stderr
    assert len(picture_files(tmp_path / "out")) == 1


def test_an_interval_spreads_the_pictures(tmp_path: Path) -> None:
    camera = "demo:washer?size=64&fps=100&n=40"
    assert main(["--camera", camera, "--out", str(tmp_path), "--count", "3", "--interval-ms", "100"]) == 0
    assert len(picture_files(tmp_path)) == 3


def test_wrong_use_ends_with_2(tmp_path: Path) -> None:
    assert main(["--out", str(tmp_path), "--count", "3"]) == 2
    assert main(["--camera", "demo:wash", "--out", str(tmp_path), "--count", "3"]) == 2
    assert main(["--camera", "demo:washer", "--out", str(tmp_path), "--count", "0"]) == 2
