"""A disk that refuses even the mending: the journal stays a journal that refuses, and never ends the station."""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

import pytest

import sad_runtime.journal.journal as journal_module
from feeds import a_decision, wait_until
from sad_runtime.journal.journal import Journal
from sad_runtime.journal.journal_file import set_aside
from sad_runtime.messages import Decision
from sad_runtime.station.config import JournalConfig
from sad_runtime.station.happenings import Happenings
from sad_runtime.verdict import Reason, Verdict


class Told(Happenings):
    def __init__(self) -> None:
        super().__init__("line1", "run-1")

    def texts(self, code: str) -> list[str]:
        return [event.text for event in self._early if event.code == code]


def late(decision: Decision) -> Decision:
    return decision.model_copy(update={"verdict": Verdict.INVALID, "reason": Reason.LATE})


def test_a_damaged_journal_that_cannot_be_set_aside_does_not_end_the_station(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> Path:
        raise OSError(30, "Read-only file system")

    def damaged(path: Path, *, full_sync: bool) -> sqlite3.Connection:
        raise sqlite3.DatabaseError("database disk image is malformed")

    told = Told()
    with Journal(tmp_path / "journal.sqlite", JournalConfig(wait_ms=1000), told) as journal:
        assert journal.record(a_decision(1))
        monkeypatch.setattr(journal_module, "set_aside", refuse)
        monkeypatch.setattr(journal_module, "open_journal", damaged)
        connection = journal._connection
        assert connection is not None
        connection.execute("DROP TABLE decisions")
        monkeypatch.setattr(journal_module, "is_damage", lambda error: True)
        assert not journal.record(a_decision(2))
        wait_until(lambda: bool(told.texts("journal_refuses")), "the refusal")
        assert not journal.record(a_decision(3))
        assert all(thread.is_alive() for thread in journal._threads)


def test_decisions_that_were_lost_are_counted_once_each(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").mkdir()
    told = Told()
    with Journal(tmp_path / "journal.sqlite", JournalConfig(wait_ms=1), told) as journal:
        for seq in (1, 2, 3):
            decision = a_decision(seq)
            assert not journal.record(decision)
            journal.amend(late(decision))
        journal.acknowledge("run-1", 3)
    assert [text.partition(" could")[0] for text in told.texts("journal_incomplete")] == ["3 decisions"]


def test_what_waited_for_a_disk_that_came_back_is_all_written_at_closing(tmp_path: Path) -> None:
    sick = True

    def refuse() -> None:
        if sick:
            raise sqlite3.OperationalError("database or disk is full")

    told = Told()
    with Journal(tmp_path / "journal.sqlite", JournalConfig(wait_ms=1), told) as journal:
        journal.before_write = refuse
        for seq in range(1, 3 * journal_module.BATCH):
            journal.record(a_decision(seq))
        sick = False
    connection = sqlite3.connect(tmp_path / "journal.sqlite")
    (rows,) = connection.execute("SELECT count(*) FROM decisions").fetchone()
    connection.close()
    assert rows == 3 * journal_module.BATCH - 1
    assert told.texts("journal_incomplete") == []


def test_a_write_that_hangs_lets_only_so_many_rows_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MAX_WAITING", 400)
    hangs = threading.Event()

    def hang() -> None:
        hangs.wait(20)

    with Journal(tmp_path / "journal.sqlite", JournalConfig(wait_ms=0), Told()) as journal:
        journal.before_write = hang
        for seq in range(1, 1001):
            journal.record(a_decision(seq))
        assert len(journal._waiting) <= 400
        assert journal.lost >= 599
        hangs.set()


def test_only_the_newest_damaged_journals_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    for number in range(5):
        for end in ("", "-wal"):
            (tmp_path / f"journal.sqlite{end}").write_bytes(b"%d" % number)
        os.utime(path, (number, number))
        set_aside(path)
    left = sorted(one.read_bytes() for one in tmp_path.iterdir())
    assert left == [b"2", b"2", b"3", b"3", b"4", b"4"], "each with its log"
