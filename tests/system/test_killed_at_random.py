"""kill -9 at random moments: the record stays whole, the feed resumes. `tests/killing.py` does it a hundred times."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from killing import KilledLine, faults_of

KILLS = 12


@pytest.mark.slow
def test_whatever_is_killed_every_told_decision_is_in_the_journal_once(tmp_path: Path, tiny_bundle: Path) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    line = KilledLine(tiny_bundle, tmp_path, seed)
    line.kill(KILLS)
    assert faults_of(line) == []
    assert sum(line.told.kills.values()) == KILLS
    assert len(line.told.verdicts) > 10 * KILLS
