"""PASS and RUN lines, on a stand-in for the chip: no kernel here has GPIO."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from sad_runtime.errors import MissingExtra, UsageError
from sad_runtime.plc.config import GpioConfig
from sad_runtime.plc.gpio import MS, Gpio, Permission
from sad_runtime.plc.status import Bit, Fault, Result, Status
from sad_runtime.verdict import Reason, Verdict

PASS, RUN = 17, 27


class Wires:
    """What a relay would see: each change of a line with its time in ms, and how it was left."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.level = {PASS: False, RUN: False}
        self.changes: dict[int, list[tuple[bool, float]]] = {PASS: [], RUN: []}
        self.closed = 0
        self.gone = False

    def set(self, line: int, on: bool) -> None:
        if self.gone:
            raise OSError(19, "No such device")
        if self.level[line] != on:
            self.changes[line].append((on, 1000 * (time.monotonic() - self.began)))
        self.level[line] = on

    def close(self) -> None:
        self.closed += 1

    def lasted_ms(self) -> float:
        """How long PASS was on, the first time."""
        (_, on), (_, off) = self.changes[PASS][:2]
        return off - on


def a_status(verdict: Verdict | None, seq: int = 1, lasts_ms: float = 5000, heartbeat: int = 0) -> Status:
    until_ns = time.monotonic_ns() + int(lasts_ms * MS)
    if verdict is None:
        return Status(bits=Bit.ONLINE, heartbeat=heartbeat, fault=Fault.NONE)
    bits = {
        Verdict.PASS: Bit.RESULT_VALID | Bit.PASS,
        Verdict.FAIL: Bit.RESULT_VALID | Bit.FAIL,
        Verdict.INVALID: Bit.RESULT_VALID | Bit.INVALID,
    }[verdict]
    result = Result(seq, verdict, Reason.OK, run="run-1", until_ns=until_ns)
    return Status(bits=Bit.ONLINE | bits, heartbeat=heartbeat, fault=Fault.NONE, result=result, ring=(result,))


@contextmanager
def wired(pulse_ms: int | None = None) -> Iterator[tuple[Gpio, Wires]]:
    wires = Wires()
    plc = Gpio(GpioConfig(pass_line=PASS, run_line=RUN, pulse_ms=pulse_ms), "line1", lambda config: wires)
    plc.connect(lambda station, block: None)
    try:
        yield plc, wires
    finally:
        plc.close()
        plc.close()
        assert wires.closed == 1
        assert "gpio line1" not in {thread.name for thread in threading.enumerate()}


def soon(happens: Callable[[], bool], within_s: float = 2.0) -> None:
    until = time.monotonic() + within_s
    while not happens():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.002)


def test_both_lines_are_off_before_anything_was_said() -> None:
    with wired() as (_, wires):
        time.sleep(0.05)
        assert wires.changes == {PASS: [], RUN: []}


def test_run_changes_with_every_heartbeat_and_with_nothing_else() -> None:
    with wired() as (plc, wires):
        for heartbeat in (7, 7, 8, 9, 9, 65535, 0):
            plc.write("line1", a_status(None, heartbeat=heartbeat))
            time.sleep(0.02)
        assert [on for on, _ in wires.changes[RUN]] == [True, False, True, False]


@pytest.mark.parametrize("then", [Verdict.FAIL, Verdict.INVALID, None])
def test_pass_goes_off_with_anything_but_a_pass(then: Verdict | None) -> None:
    with wired() as (plc, wires):
        plc.write("line1", a_status(Verdict.PASS))
        soon(lambda: wires.level[PASS])
        plc.write("line1", a_status(then, seq=2))
        soon(lambda: not wires.level[PASS])
        assert len(wires.changes[PASS]) == 2


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.INVALID, None])
def test_pass_never_goes_on_without_a_pass(verdict: Verdict | None) -> None:
    with wired() as (plc, wires):
        plc.write("line1", a_status(verdict))
        time.sleep(0.05)
        assert wires.changes[PASS] == []


def test_a_stale_feed_shows_no_pass_whatever_the_result_says() -> None:
    with wired() as (plc, wires):
        shown = a_status(Verdict.PASS)
        plc.write("line1", shown)
        soon(lambda: wires.level[PASS])
        plc.write("line1", replace(shown, bits=Bit.FEED_STALE | Bit.INVALID | Bit.FAULT))
        soon(lambda: not wires.level[PASS])


def test_pass_goes_off_when_the_gateway_falls_silent() -> None:
    with wired() as (plc, wires):
        plc.write("line1", a_status(Verdict.PASS))
        soon(lambda: len(wires.changes[PASS]) == 2)
        assert 340 < wires.lasted_ms() < 700
        assert plc.counters() == {"pass_on": 1, "silences": 1}


def test_pass_stays_on_while_the_gateway_speaks() -> None:
    with wired() as (plc, wires):
        shown = a_status(Verdict.PASS)
        for heartbeat in range(6):
            plc.write("line1", replace(shown, heartbeat=heartbeat))
            time.sleep(0.1)
        assert wires.level[PASS]
        assert len(wires.changes[PASS]) == 1


def test_pass_goes_off_at_the_deadline_even_if_nobody_says_so() -> None:
    with wired() as (plc, wires):
        plc.write("line1", a_status(Verdict.PASS, lasts_ms=80))
        soon(lambda: len(wires.changes[PASS]) == 2)
        assert 60 < wires.lasted_ms() < 300


@pytest.mark.parametrize("pulse_ms", [None, 50])
def test_a_pass_that_is_too_old_opens_nothing(pulse_ms: int | None) -> None:
    with wired(pulse_ms) as (plc, wires):
        plc.write("line1", a_status(Verdict.PASS, lasts_ms=-1))
        time.sleep(0.05)
        assert wires.changes[PASS] == []


def test_each_pass_is_one_pulse() -> None:
    with wired(pulse_ms=40) as (plc, wires):
        for seq in (1, 2, 3):
            shown = a_status(Verdict.PASS, seq=seq)
            for heartbeat in range(4):
                plc.write("line1", replace(shown, heartbeat=heartbeat))
                time.sleep(0.03)
        soon(lambda: not wires.level[PASS])
        assert [on for on, _ in wires.changes[PASS]] == [True, False] * 3
        assert 35 < wires.lasted_ms() < 200


def test_a_reject_cuts_a_pulse_short() -> None:
    with wired(pulse_ms=1000) as (plc, wires):
        plc.write("line1", a_status(Verdict.PASS))
        soon(lambda: wires.level[PASS])
        plc.write("line1", a_status(Verdict.FAIL, seq=2))
        soon(lambda: not wires.level[PASS], 0.3)


def test_a_pulse_is_no_longer_than_its_result_is_good_for() -> None:
    permission = Permission(pulse_ns=100 * MS)
    shown = a_status(Verdict.PASS, lasts_ms=30)
    now_ns = time.monotonic_ns()
    permission.shown(shown, now_ns)
    assert permission.until_ns < now_ns + 31 * MS


def test_the_same_number_of_another_run_is_another_pulse() -> None:
    permission = Permission(pulse_ns=MS)
    first = a_status(Verdict.PASS)
    assert first.result is not None
    permission.shown(first, 1)
    permission.shown(first, 2 * MS)
    assert permission.until_ns == MS + 1
    permission.shown(replace(first, result=replace(first.result, run="run-2")), 2 * MS)
    assert permission.until_ns == 3 * MS


def test_the_end_leaves_both_lines_off() -> None:
    with wired() as (plc, wires):
        plc.write("line1", a_status(Verdict.PASS, heartbeat=1))
        plc.write("line1", a_status(Verdict.PASS, heartbeat=2))
        soon(lambda: wires.level[PASS])
    assert wires.level == {PASS: False, RUN: False}


def test_a_chip_that_is_gone_stops_the_gateway(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with wired() as (plc, wires):
        wires.gone = True
        plc.write("line1", a_status(Verdict.PASS))
        soon(lambda: plc.failure is not None)
        assert "No such device" in str(plc.failure)


@pytest.mark.parametrize("chip", ["/dev/gpiochip99", "/dev/null"])
def test_a_chip_that_is_none_is_refused_at_the_start(chip: str) -> None:
    plc = Gpio(GpioConfig(chip=chip, pass_line=PASS, run_line=RUN, pulse_ms=None), "line1")
    with pytest.raises(UsageError, match=rf"lines 17 and 27 of {chip} cannot be had.*gpioinfo"):
        plc.connect(lambda station, block: None)
    plc.close()


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpiod", None)
    with pytest.raises(MissingExtra, match=r"sad-inspection\[plc\]"):
        Gpio(GpioConfig(pass_line=PASS, run_line=RUN, pulse_ms=None), "line1").connect(lambda station, block: None)
