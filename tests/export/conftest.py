"""One small trained run and its bundle, made once and shared by the tests of export. Do not write to either."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def washers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 good washers and 6 defective ones, 64 pixels."""
    from sad_runtime.cameras.demo.dataset import write_dataset

    folder = tmp_path_factory.mktemp("parts") / "washer"
    write_dataset(folder, "washer", n_train=16, n_good=0, n_defect=6, seed=1, size_px=64)
    return folder


@pytest.fixture(scope="session")
def finished_run(washers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sad_train.cli import main

    out = tmp_path_factory.mktemp("runs") / "washer"
    flags = ["--size", "64", "--steps", "12", "--batch", "4", "--workers", "0"]
    assert main(["--data", str(washers), "--out", str(out), *flags]) == 0
    return out


@pytest.fixture(scope="session")
def washer_bundle(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from sad_export.cli import main

    path = tmp_path_factory.mktemp("bundles") / "washer.sad"
    assert main([str(finished_run), "--out", str(path)]) == 0
    return path
