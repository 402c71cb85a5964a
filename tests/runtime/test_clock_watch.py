"""Jumps of the wall clock are told, its slow drift and a sleeping thread are not."""

from __future__ import annotations

import pytest

from sad_runtime.station.clock_watch import ClockWatch

S = 10**9


class Clocks:
    """Both clocks, by hand."""

    def __init__(self) -> None:
        self.wall, self.mono = 1_800_000_000 * S, 50 * S
        self.sleeps = 0

    def run(self, seconds: float, gain: float = 0.0) -> None:
        self.mono += int(seconds * S)
        self.wall += int((seconds + gain) * S)

    def wall_ns(self) -> int:
        self.mono += self.sleeps * S
        return self.wall

    def watch(self) -> ClockWatch:
        return ClockWatch(wall_ns=self.wall_ns, mono_ns=lambda: self.mono)


@pytest.mark.parametrize("step", [1.5, -1.5, 3600.0, -56 * 365 * 86400.0])
def test_a_jump_is_told_once_with_its_length(step: float) -> None:
    clocks = Clocks()
    watch = clocks.watch()
    clocks.run(10)
    assert watch.look() is None
    clocks.run(10, gain=step)
    assert watch.look() == pytest.approx(step)
    clocks.run(10)
    assert watch.look() is None


def test_the_slewing_of_ntp_never_adds_up_to_a_jump() -> None:
    clocks = Clocks()
    watch = clocks.watch()
    for _ in range(10_000):
        clocks.run(1, gain=0.0005)
        assert watch.look() is None


def test_a_thread_that_slept_between_the_clocks_sees_no_jump_and_misses_none() -> None:
    clocks = Clocks()
    watch = clocks.watch()
    clocks.sleeps = 5
    assert watch.look() is None
    clocks.run(1, gain=60)
    clocks.sleeps = 0
    clocks.wall += 5 * S  # the clock on the wall went on while the thread slept
    assert watch.look() == pytest.approx(60)
