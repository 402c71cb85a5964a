"""The fault matrix: every fault that can be staged ends in INVALID for its own reason, and never in a PASS."""

from __future__ import annotations

from pathlib import Path

import pytest

from fault_matrix import CASES, Case, staged, write_lenient_bundle, wrong_with
from sad_runtime.faults.schedule import FAULTS

pytestmark = pytest.mark.slow
ELSEWHERE = {"gpu-lost"}
"""It ends the process: tests/system/test_device_lost.py and tests/runtime/faults/test_faulty_backend.py."""


@pytest.fixture(scope="module")
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lenient_bundle(tmp_path_factory.mktemp("lenient") / "lenient.sad")


@pytest.mark.parametrize("case", CASES, ids=[case.how for case in CASES])
def test_no_part_passes_while_the_fault_is_on(case: Case, lenient: Path, tmp_path: Path) -> None:
    assert wrong_with(staged(case, lenient, tmp_path)) == []


def test_every_fault_is_in_the_matrix() -> None:
    assert {case.how for case in CASES} == set(FAULTS) - ELSEWHERE
