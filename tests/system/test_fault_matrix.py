"""The fault matrix: every fault that can be staged ends in INVALID for its own reason, and never in a PASS."""

from __future__ import annotations

from pathlib import Path

import pytest

from fault_matrix import CASES, all_staged, write_lenient_bundle, wrong_with
from sad_runtime.faults.schedule import FAULTS

pytestmark = pytest.mark.slow
ELSEWHERE = {"gpu-lost"}
"""It ends the process: tests/system/test_device_lost.py and tests/runtime/faults/test_faulty_backend.py."""


def test_no_part_passes_while_a_fault_is_on_and_the_line_judges_again_after_it(tmp_path: Path) -> None:
    outcomes = all_staged(write_lenient_bundle(tmp_path / "lenient.sad"), tmp_path)
    assert {one.case.fault: wrong_with(one) for one in outcomes if wrong_with(one)} == {}
    assert sum(one.passed for one in outcomes) == 0


def test_every_fault_is_in_the_matrix() -> None:
    assert {case.how for case in CASES} == set(FAULTS) - ELSEWHERE
