"""The file under the gateway's record: its table, opening it, keeping it small."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sad_runtime.journal.journal_file import SMALL_BYTES, Damaged, is_damage

SCHEMA = 1
TABLE = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY,
    wall_ns INTEGER NOT NULL,      -- since 1970 UTC
    mono_ns INTEGER NOT NULL,      -- CLOCK_MONOTONIC of the gateway
    kind TEXT NOT NULL,
    station TEXT NOT NULL,
    text TEXT NOT NULL,
    seq INTEGER,                   -- RESULT_SEQ
    verdict TEXT,
    reason TEXT,
    part_id INTEGER,
    trigger_id INTEGER,
    result TEXT                    -- all of it, JSON
)
"""
COLUMNS = (
    "wall_ns",
    "mono_ns",
    "kind",
    "station",
    "text",
    "seq",
    "verdict",
    "reason",
    "part_id",
    "trigger_id",
    "result",
)
INSERT = f"INSERT INTO entries ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
ENDS = "SELECT (SELECT min(id) FROM entries), (SELECT max(id) FROM entries)"
Values = tuple[int | str | None, ...]
"""One row, in the order of COLUMNS."""


def open_record(path: Path) -> sqlite3.Connection:
    """For one thread. Raises Damaged, or another sqlite3.Error when the disk is full or fails."""
    connection = sqlite3.connect(path, timeout=1.0, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
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
        raise Damaged(f"record schema {schema}, this sad writes {SCHEMA}")
    if not schema:
        return
    if path.stat().st_size <= SMALL_BYTES:
        (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise Damaged(str(said))
    for order in ("ASC", "DESC"):
        connection.execute(f"SELECT id, result FROM entries ORDER BY id {order} LIMIT 1").fetchone()


def delete_oldest(connection: sqlite3.Connection, *, keep_rows: int, most: int) -> int:
    """Deletes up to `most` rows beyond `keep_rows`, oldest first. Returns how many."""
    first, last = connection.execute(ENDS).fetchone()
    if first is None:
        return 0
    end = first + min(last - first + 1 - keep_rows, most)
    return connection.execute("DELETE FROM entries WHERE id < ?", (end,)).rowcount if end > first else 0
