"""Reads a journal from outside, beside the station that writes it: a few rows a time, so that it never waits for us.

Each page is a read transaction of about a millisecond. Rows come in the order in which they were written, which is
that of the decisions; dates are not in order where a clock has jumped, so nothing here relies on them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sad_runtime.errors import DataError, UsageError
from sad_runtime.journal.journal_file import ENDS, SCHEMA, is_damage, wal_bytes
from sad_runtime.messages import MessageError, unpack

PAGE = 500
"""Ids a transaction; about 1 kB each."""
COLUMNS = "id, run, seq, decided_ns, verdict, reason, score, trigger_id, part_id, source, acknowledged_ns, message"


@dataclass(frozen=True)
class Row:
    """As the journal has it. `decided_ns` and `acknowledged_ns`: wall clock, ns since 1970 UTC."""

    id: int
    run: str
    seq: int
    decided_ns: int
    verdict: str
    reason: str
    score: float | None
    trigger_id: int | None
    part_id: int | None
    source: str
    acknowledged_ns: int | None
    message: bytes

    @cached_property
    def decision(self) -> dict[str, Any]:
        """The decision as published, not validated; {} where it cannot be read."""
        try:
            return unpack(self.message)
        except MessageError:
            return {}


@dataclass(frozen=True)
class Wanted:
    """Which rows; what is empty or None does not narrow. `since_ns` is included, `until_ns` is not."""

    since_ns: int | None = None
    until_ns: int | None = None
    verdicts: Collection[str] = ()
    reasons: Collection[str] = ()
    part_id: int | None = None
    trigger_id: int | None = None
    run: str | None = None
    """A run, or the first letters of one."""
    recipe: int | None = None

    def where(self) -> tuple[str, list[Any]]:
        """SQL for all but the recipe, which only the message has."""
        terms: list[str] = []
        values: list[Any] = []
        for term, value in (
            ("decided_ns >= ?", self.since_ns),
            ("decided_ns < ?", self.until_ns),
            ("part_id = ?", self.part_id),
            ("trigger_id = ?", self.trigger_id),
        ):
            if value is not None:
                terms.append(term)
                values.append(value)
        for column, words in (("verdict", self.verdicts), ("reason", self.reasons)):
            if words:
                terms.append(f"{column} IN ({', '.join('?' * len(words))})")
                values += sorted(words)
        if self.run is not None:
            terms.append("substr(run, 1, ?) = ?")
            values += [len(self.run), self.run]
        return "".join(f" AND {term}" for term in terms), values

    def has(self, row: Row) -> bool:
        return self.recipe is None or row.decision.get("recipe", 0) == self.recipe


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The journal, read only. Raises UsageError where there is none, DataError for one that cannot be read."""
    if not path.is_file():
        raise UsageError(f"{path}: no journal there. Has this station run? Name its folder with --state DIR")
    connection = connected(path)
    try:
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        if schema != SCHEMA:
            raise DataError(f"{path}: journal schema {schema}, this sad reads {SCHEMA}")
        yield connection
    except sqlite3.Error as error:
        mending = " Start the station: it sets a damaged journal aside." if is_damage(error) else ""
        raise DataError(f"{path}: the journal cannot be read ({error}).{mending}") from None
    finally:
        connection.close()


def connected(path: Path) -> sqlite3.Connection:
    """Read only. One in a folder that cannot be written is read as it stands, where no write-ahead log is beside it."""
    name = path.absolute().as_uri()
    connection = sqlite3.connect(f"{name}?mode=ro", uri=True, timeout=1.0, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        if wal_bytes(path):
            return connection
        connection.close()
        return sqlite3.connect(f"{name}?mode=ro&immutable=1", uri=True, isolation_level=None)
    except sqlite3.DatabaseError:
        return connection  # the next statement says what is wrong with it
    return connection


def rows(connection: sqlite3.Connection, wanted: Wanted, *, backwards: bool = False) -> Iterator[Row]:
    """Those there were when the reading began, oldest first, or newest first."""
    first, last = connection.execute(ENDS).fetchone()
    if first is None:
        return
    where, values = wanted.where()
    order = "DESC" if backwards else "ASC"
    starts = range(first, last + 1, PAGE)
    for start in reversed(starts) if backwards else starts:
        found = connection.execute(
            f"SELECT {COLUMNS} FROM decisions WHERE id BETWEEN ? AND ?{where} ORDER BY id {order}",
            (start, min(start + PAGE - 1, last), *values),
        ).fetchall()
        for row in (Row(*values) for values in found):
            if wanted.has(row):
                yield row


def runs(connection: sqlite3.Connection) -> list[str]:
    """Every run of which there are rows, by name. Steps from run to run in the index."""
    found: list[str] = []
    step = "SELECT min(run) FROM decisions WHERE run > ?"
    while (run := connection.execute(step, (found[-1] if found else "",)).fetchone()[0]) is not None:
        found.append(run)
    return found


def row_of(connection: sqlite3.Connection, run: str, seq: int) -> Row | None:
    found = connection.execute(f"SELECT {COLUMNS} FROM decisions WHERE run = ? AND seq = ?", (run, seq)).fetchone()
    return Row(*found) if found else None
