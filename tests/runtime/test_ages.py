"""Age limits under wrong clocks: a leap costs no record, and the limits work again when the clock does."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sad_runtime.journal.ages import DAY_NS, FLOOR_NS, AgeLimit, Span
from sad_runtime.journal.journal_file import delete_oldest, open_journal

NOW = FLOOR_NS + 1000 * DAY_NS
SPAN = Span(FLOOR_NS, NOW - 90 * DAY_NS, NOW)
OLD, NEW = NOW - 100 * DAY_NS, NOW - DAY_NS
DEAD, FUTURE = 30 * DAY_NS, NOW + 4000 * DAY_NS


class Clocks:
    def __init__(self, wall: int = NOW) -> None:
        self.wall, self.mono = wall, DAY_NS

    def limit(self) -> AgeLimit:
        return AgeLimit(90, wall_ns=lambda: self.wall, mono_ns=lambda: self.mono)

    def run(self, days: float) -> None:
        self.wall += int(days * DAY_NS)
        self.mono += int(days * DAY_NS)


def test_with_a_clock_that_runs_the_limit_is_its_days() -> None:
    limit = Clocks().limit()
    limit.begin(NOW - 1)
    assert limit.span() == SPAN


def test_a_clock_in_1970_deletes_nothing() -> None:
    limit = Clocks(wall=DEAD).limit()
    limit.begin(NOW)
    assert limit.span() is None


def test_a_leap_forwards_deletes_nothing_for_a_day() -> None:
    clocks = Clocks()
    limit = clocks.limit()
    limit.begin(NOW - 1)
    clocks.wall += 3650 * DAY_NS
    assert limit.span() is None
    clocks.run(0.9)
    assert limit.span() is None
    clocks.run(0.2)
    assert limit.span() is not None


def test_the_first_answer_of_a_time_server_deletes_nothing_for_a_day() -> None:
    clocks = Clocks(wall=DEAD)
    limit = clocks.limit()
    limit.begin(None)
    clocks.wall = NOW
    assert limit.span() is None


def test_a_start_long_after_the_newest_record_deletes_nothing_for_a_day() -> None:
    clocks = Clocks()
    limit = clocks.limit()
    limit.begin(NOW - 30 * DAY_NS)
    assert limit.span() is None
    clocks.run(1.01)
    assert limit.span() is not None


def test_a_leap_back_deletes_no_more_than_before() -> None:
    clocks = Clocks()
    limit = clocks.limit()
    clocks.wall -= 10 * DAY_NS
    span = limit.span()
    assert span is not None
    assert span.to_ns == SPAN.to_ns - 10 * DAY_NS


@contextmanager
def dated(path: Path, *stretches: tuple[int, int]) -> Iterator[sqlite3.Connection]:
    """A journal of so many rows of each date, in this order."""
    with closing(open_journal(path, full_sync=False)) as journal:
        journal.execute("BEGIN")
        seq = 0
        for count, date_ns in stretches:
            for _ in range(count):
                seq += 1
                journal.execute(
                    "INSERT INTO decisions (run, seq, decided_ns, verdict, reason, source, message) "
                    "VALUES ('r', ?, ?, 'PASS', 'ok', '', x'80')",
                    (seq, date_ns + seq),
                )
        journal.execute("COMMIT")
        yield journal


@pytest.mark.parametrize(
    ("stretches", "left"),
    [
        ([(50, OLD), (50, NEW)], 50),
        ([(50, NEW)], 50),
        ([(50, DEAD), (50, NEW)], 100),
        ([(50, NEW), (50, DEAD)], 100),
        ([(50, DEAD), (50, OLD), (50, NEW)], 50),
        ([(500, DEAD), (1000, OLD), (500, NEW)], 500),
        ([(3000, DEAD), (50, NEW)], 3050),
        ([(50, OLD), (50, FUTURE), (50, NEW)], 100),
        ([(50, FUTURE), (50, OLD), (50, NEW)], 50),
        ([(50, NEW), (50, OLD), (50, NEW)], 150),
        ([(50, DEAD)], 50),
    ],
    ids=str,
)
def test_a_row_with_a_wrong_date_goes_when_its_neighbours_go(
    tmp_path: Path, stretches: list[tuple[int, int]], left: int
) -> None:
    with dated(tmp_path / "journal.sqlite", *stretches) as journal:
        for _ in range(50):
            delete_oldest(journal, keep_rows=10**6, too_old=SPAN)
        (count,) = journal.execute("SELECT count(*) FROM decisions").fetchone()
    assert count == left


def test_the_limit_on_rows_acts_whatever_the_clock_says(tmp_path: Path) -> None:
    with dated(tmp_path / "journal.sqlite", (500, DEAD), (500, NEW)) as journal:
        while delete_oldest(journal, keep_rows=600, too_old=None):
            pass
        assert journal.execute("SELECT min(id), count(*) FROM decisions").fetchone() == (401, 600)


def test_deleting_old_rows_is_quick_however_many_have_no_date(tmp_path: Path) -> None:
    with dated(tmp_path / "journal.sqlite", (50_000, DEAD)) as journal:
        begin = time.perf_counter()
        assert delete_oldest(journal, keep_rows=10**6, too_old=SPAN) == 0
        assert time.perf_counter() - begin < 0.05
