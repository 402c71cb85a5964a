"""Ten thousand parts under fire stand in docs/plc.md; some hundred on every change."""

from __future__ import annotations

from pathlib import Path

import pytest

from belt import Belt

SEED = 7


@pytest.mark.slow
def test_no_part_passes_because_of_the_system_and_none_is_lost_count_of(tmp_path: Path) -> None:
    print(f"seed {SEED}")
    with Belt(tmp_path, SEED) as belt:
        told = belt.run(400)
    report = told.report
    assert (told.code, report["passed_by_system"], report["unaccounted"]) == (0, 0, 0)
    passed, model, system = (
        sum(report[name].values()) for name in ("passed", "rejected_by_model", "rejected_by_system")
    )
    assert passed + model + system == 400
    assert passed > 40, "the line worked between the faults"
    assert model > 10, "the model rejected some"
    assert system > 10, "the faults were felt"
