"""A minute at full speed: nothing grows, nothing is lost. `tests/bench/soak.py` does it for hours (docs/soak.md)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[1] / "bench" / "soak.py"
PARTS = 20_000


@pytest.mark.slow
def test_twenty_thousand_parts_leave_a_station_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "soak.json"
    command = [sys.executable, str(SOAK), "--parts", str(PARTS), "--minutes", "3", "--json", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=290)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    figures = json.loads(out.read_text())["figures"]
    assert figures["lost"] == figures["twice"] == 0
    assert figures["parts"] > PARTS / 10
