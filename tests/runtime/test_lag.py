"""What a message was held up, by clocks that have nothing in common."""

from __future__ import annotations

from sad_runtime.feed.lag import WINDOW_NS, Lag

MS = 1_000_000
APART = 5_000_000 * MS
"""The reader's clock is ahead."""


def test_a_message_that_nothing_held_up_has_no_excess() -> None:
    lag = Lag()
    assert [lag.saw(sent * MS, sent * MS + APART + 2 * MS) for sent in range(0, 1000, 100)] == [0] * 10


def test_what_lay_somewhere_shows_as_excess() -> None:
    lag = Lag()
    lag.saw(0, APART + 2 * MS)
    assert lag.saw(100 * MS, APART + 1102 * MS) == 1000 * MS
    assert lag.saw(1100 * MS, APART + 1103 * MS) == 1 * MS


def test_a_shorter_way_than_ever_is_the_new_measure() -> None:
    lag = Lag()
    lag.saw(0, APART + 50 * MS)
    assert lag.saw(100 * MS, APART + 102 * MS) == 0
    assert lag.saw(200 * MS, APART + 250 * MS) == 48 * MS


def test_clocks_that_drift_apart_are_no_excess_after_hours() -> None:
    """50 ppm, 180 ms an hour."""
    lag, excess = Lag(), 0
    for second in range(4 * 3600):
        sent = second * 1000 * MS
        excess = max(excess, lag.saw(sent, APART + sent + sent // 20_000))
    assert excess < 10 * MS


def test_a_reader_that_slept_for_longer_than_the_window_still_sees_that_messages_are_old() -> None:
    lag = Lag()
    for beat in range(0, 10_000, 100):
        lag.saw(beat * MS, APART + beat * MS)
    woke = APART + 10_000 * MS + 3 * WINDOW_NS
    assert [lag.saw((10_000 + n) * MS, woke + n * MS) >= 3 * WINDOW_NS - MS for n in range(20)] == [True] * 20
