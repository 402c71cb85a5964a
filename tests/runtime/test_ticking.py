"""The heartbeat goes on while a model loads, and stops where loading does not end."""

from __future__ import annotations

import time

from sad_runtime.station.ticking import TICK_S, ticking


def test_it_ticks_while_the_main_thread_works() -> None:
    ticks: list[float] = []
    with ticking(lambda: ticks.append(time.monotonic())):
        time.sleep(10 * TICK_S)
    count = len(ticks)
    assert count >= 3
    time.sleep(3 * TICK_S)
    assert len(ticks) == count, "it ticks on after the work"


def test_work_that_does_not_end_is_seen_to_hang() -> None:
    ticks: list[float] = []
    with ticking(lambda: ticks.append(time.monotonic()), at_most_s=4 * TICK_S):
        time.sleep(16 * TICK_S)
        last_s = time.monotonic() - ticks[-1]
    assert last_s > 6 * TICK_S
