"""Which faults can be staged, how they are written, and when they are on."""

from __future__ import annotations

import time

import pytest

from sad_runtime.errors import UsageError
from sad_runtime.faults.schedule import Fault, Schedule, faults_from


def test_faults_are_written_with_their_begin_and_end() -> None:
    assert faults_from("freeze@120s, dark@0.5+10s,unplug@3") == [
        Fault("freeze", 120.0),
        Fault("dark", 0.5, 10.0),
        Fault("unplug", 3.0),
    ]
    assert faults_from("") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("freez@1s", "did you mean 'freeze'"),
        ("freeze", "write freeze@30s"),
        ("freeze@soon", "write freeze@30s"),
        ("dark@-1s", "write dark@30s"),
        ("@3s", "no fault ''"),
    ],
)
def test_what_is_no_fault_is_answered_with_the_nearest_one(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        faults_from(text)


def test_a_fault_is_on_from_its_begin_to_its_end() -> None:
    now_ns = time.monotonic_ns()
    schedule = Schedule("dark@5s+3s,hang@60s", now_ns - 6_000_000_000)
    assert schedule.active("dark")
    assert not schedule.active("hang")
    assert not Schedule("dark@5s+3s", now_ns - 9_000_000_000).active("dark")
    assert Schedule("hang@60s", now_ns - 9_000_000_000_000).active("hang")
