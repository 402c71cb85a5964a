"""The file under the journal: its schema, opening it, setting a damaged one aside, keeping it small."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from sad_runtime.journal.ages import Span

SCHEMA = 1
TABLE = """
CREATE TABLE IF NOT EXISTS decisions (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL,
    seq INTEGER NOT NULL,
    decided_ns INTEGER NOT NULL,   -- wall clock
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    score REAL,
    trigger_id INTEGER,
    part_id INTEGER,
    source TEXT NOT NULL,          -- the frame's own word on where it came from
    acknowledged_ns INTEGER,
    message BLOB NOT NULL,         -- the decision as published, msgpack
    UNIQUE (run, seq)
)
"""
ENDS = "SELECT (SELECT min(id) FROM decisions), (SELECT max(id) FROM decisions)"
"""Looked up; SQLite would read every row for both in one SELECT."""
DAMAGE = ("malformed", "not a database", "corrupt", "file is encrypted")
PARTS = ("", "-wal", "-shm")
"""Of one journal on the disk."""
KEPT_DAMAGED = 3
SMALL_BYTES = 64 * 2**20
"""Up to here a journal is checked throughout at start (about 0.2 s); a larger one only where it is read."""
RESTART_TRIES = 20
RESTART_PAUSE_S = 0.005


class Damaged(Exception):
    """The file is not, or no longer, a journal that can be trusted."""


def open_journal(path: Path, *, full_sync: bool) -> sqlite3.Connection:
    """For one thread at a time. Raises Damaged, or another sqlite3.Error when the disk is full or fails."""
    connection = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if full_sync else 'NORMAL'}")
        connection.execute("PRAGMA wal_autocheckpoint=0")  # a checkpoint syncs; another thread does it, see journal.py
        _check(connection, path)
        connection.execute(TABLE)
        connection.execute(f"PRAGMA user_version={SCHEMA}")
    except sqlite3.Error as error:
        connection.close()
        if is_damage(error):
            raise Damaged(str(error)) from None
        raise
    except Damaged:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    (schema,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if schema not in (0, SCHEMA) or (schema == 0 and tables):
        raise Damaged(f"journal schema {schema}, this sad writes {SCHEMA}")
    if not schema:
        return
    if path.stat().st_size <= SMALL_BYTES:
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise Damaged(str(said))
    connection.execute("SELECT id, message FROM decisions ORDER BY id DESC LIMIT 1").fetchone()
    connection.execute("SELECT id, message FROM decisions ORDER BY id LIMIT 1").fetchone()


def is_damage(error: sqlite3.Error) -> bool:
    return any(word in str(error) for word in DAMAGE)


def set_aside(path: Path) -> Path:
    """Renames the journal and what belongs to it to `journal.sqlite.damaged-TIME`, for whoever looks into it."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    number = 1
    while aside.exists():
        number += 1
        aside = aside.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{number}")
    for end in PARTS:
        part = path.with_name(path.name + end)
        if part.exists():
            part.rename(aside.with_name(aside.name + end))
    _forget_older(path)
    return aside


def _forget_older(path: Path) -> None:
    """A bad disk would fill up with damaged journals; the newest tell what was wrong."""
    damaged = [one for one in path.parent.glob(f"{path.name}.damaged-*") if not one.name.endswith(PARTS[1:])]
    for old in sorted(damaged, key=lambda one: one.stat().st_mtime)[:-KEPT_DAMAGED]:
        for end in PARTS:
            old.with_name(old.name + end).unlink(missing_ok=True)


def wal_bytes(path: Path) -> int:
    """Size of the write-ahead log; a commit adds some 10 kB."""
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except OSError:
        return 0


def checkpoint(path: Path) -> None:
    """Moves what was committed from the write-ahead log into the journal, and lets the log begin again.

    The bulk is moved without holding up the writer. Only a complete checkpoint lets SQLite write the log from its
    start, and beside a busy writer none is ever complete, so the few rows of the meantime are moved with the writer
    waiting. It never waits for a reader, because it would hold up the writer meanwhile (100 ms were measured): while
    one reads on, the log grows, and the next second's try finds it gone.
    """
    connection = sqlite3.connect(path, timeout=0.0, isolation_level=None)
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        for _ in range(RESTART_TRIES):
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            if not busy:
                return
            time.sleep(RESTART_PAUSE_S)
    finally:
        connection.close()


def newest_ns(connection: sqlite3.Connection) -> int | None:
    """The date of the row written last; None in an empty journal."""
    row = connection.execute("SELECT decided_ns FROM decisions ORDER BY id DESC LIMIT 1").fetchone()
    return int(row[0]) if row else None


def delete_oldest(connection: sqlite3.Connection, *, keep_rows: int, too_old: Span | None, most: int = 200) -> int:
    """Deletes up to `most` rows that are beyond the limits, oldest first. Returns how many."""
    first, last = connection.execute(ENDS).fetchone()
    if first is None:
        return 0
    end = first + min(last - first + 1 - keep_rows, most)
    if end <= first and too_old is not None:
        end = _end_of_old(connection, first, last, too_old, most)
    if end <= first:
        return 0
    return connection.execute("DELETE FROM decisions WHERE id < ?", (end,)).rowcount


def _end_of_old(connection: sqlite3.Connection, first: int, last: int, too_old: Span, most: int) -> int:
    """The id before which all rows are too old, at most `first + most`.

    Rows lie in the order in which they were written, whatever their clock said: before an old row all are old, and
    after one that is not old none is. A row that a wrong clock dated goes by its neighbours.
    """
    end = first
    ahead = connection.execute("SELECT id, decided_ns FROM decisions WHERE id < ? ORDER BY id", (first + most,))
    for row, decided_ns in ahead.fetchall():
        if not too_old.from_ns <= decided_ns <= too_old.now_ns:
            continue
        if decided_ns >= too_old.to_ns:
            return end
        end = row + 1
    step = most
    while end == first and first + step <= last:  # a long stretch without dates: look further, in ever longer steps
        found = connection.execute(
            "SELECT decided_ns FROM decisions WHERE id >= ? ORDER BY id LIMIT 1", (first + step,)
        ).fetchone()
        if too_old.from_ns <= found[0] <= too_old.now_ns:
            return first + most if found[0] < too_old.to_ns else end
        step *= 2
    return end
