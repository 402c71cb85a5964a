"""Engines are imported without their telemetry: nothing is written to the home folder, nothing is sent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOOK = """
import sys, threading
from pathlib import Path
from sad_runtime.backends.table import backend_for
from sad_runtime.bundle import read_bundle
bundle = read_bundle(Path(sys.argv[1]))
with backend_for(sys.argv[2], bundle.model("fp32"), bundle.manifest.input) as backend:
    backend.warm_up()
print("openvino_telemetry.main" in sys.modules, threading.active_count())
"""


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_an_engine_says_nothing_to_its_maker(tmp_path: Path, tiny_bundle: Path, engine: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    surroundings = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(tiny_bundle), engine],
        env=surroundings | {"HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split() == ["False", "1"]
    assert list(home.rglob("*")) == []
