"""The file under the journal: its schema, opening it, setting a damaged one aside, keeping it small."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

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
DAMAGE = ("malformed", "not a database", "corrupt", "file is encrypted")
SMALL_BYTES = 64 * 2**20
"""Up to here a journal is checked throughout at start (about 0.2 s); a larger one only where it is read."""


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
    for end in ("", "-wal", "-shm"):
        part = path.with_name(path.name + end)
        if part.exists():
            part.rename(aside.with_name(aside.name + end))
    return aside


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
    waiting.
    """
    connection = sqlite3.connect(path, timeout=0.1, isolation_level=None)
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
    finally:
        connection.close()


def delete_oldest(connection: sqlite3.Connection, *, keep_rows: int, keep_days: float, most: int = 200) -> int:
    """Deletes up to `most` rows that are beyond the limits, oldest first. Returns how many."""
    oldest = connection.execute("SELECT id, decided_ns FROM decisions ORDER BY id LIMIT 1").fetchone()
    newest = connection.execute("SELECT max(id) FROM decisions").fetchone()
    if oldest is None:
        return 0
    first, decided_ns = oldest
    too_many = min(newest[0] - first + 1 - keep_rows, most)
    old_ns = time.time_ns() - int(keep_days * 86400e9)
    gone = 0
    if too_many > 0:
        gone += connection.execute("DELETE FROM decisions WHERE id < ?", (first + too_many,)).rowcount
    elif decided_ns < old_ns:
        gone += connection.execute(
            "DELETE FROM decisions WHERE id < ? AND decided_ns < ?", (first + most, old_ns)
        ).rowcount
    return gone
