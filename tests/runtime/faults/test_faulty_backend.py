"""Staged faults of a model never end in a PASS, and the model judges again once they are over."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bundles import good_picture
from sad_runtime.errors import DeviceLost
from stations import ScriptedCamera, station


@pytest.mark.parametrize(
    ("fault", "said"),
    [("nan", "INVALID inference_error"), ("crash", "INVALID inference_error"), ("slow", "INVALID late")],
)
def test_a_staged_fault_is_invalid_and_over_when_it_is_over(
    tmp_path: Path, tiny_bundle: Path, fault: str, said: str
) -> None:
    camera = ScriptedCamera()
    with station(tmp_path, tiny_bundle, camera, inject=f"{fault}@0s+2.5s", trigger={"deadline_ms": 300}) as stand:
        stand.state("ContinuousExecution")
        camera.put(good_picture())
        stand.decided(1)
        assert stand.verdicts == [said]
        time.sleep(2.6)
        camera.put(good_picture())
        stand.decided(2)
        assert stand.verdicts[1] == "PASS ok"
        assert all("simulated" in decision.flags for decision in stand.decisions)
        assert "faults are staged" in stand.told("faults_staged").text


def run_until_the_gpu_is_gone(tmp_path: Path, bundle: Path) -> None:
    camera = ScriptedCamera()
    with station(tmp_path, bundle, camera, inject="gpu-lost@0s") as stand:
        stand.state("ContinuousExecution")
        camera.put(good_picture())
        stand.decided(1)
        stand.ended()
        assert stand.verdicts == ["INVALID inference_error"]


def test_a_staged_loss_of_the_gpu_ends_the_station(tmp_path: Path, tiny_bundle: Path) -> None:
    with pytest.raises(DeviceLost, match="staged"):
        run_until_the_gpu_is_gone(tmp_path, tiny_bundle)
