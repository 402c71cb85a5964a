"""Reads the gateway's record from outside, beside the gateway that writes it: a few rows a time, in read-only mode."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sad_runtime.errors import DataError, UsageError
from sad_runtime.journal.journal_file import is_damage
from sad_runtime.journal.rows import connected
from sad_runtime.messages import I63
from sad_runtime.plc.record.file import COLUMNS, ENDS, SCHEMA

PAGE = 500
"""Ids a transaction."""


@dataclass(frozen=True)
class Row:
    """As the record has it; file.TABLE says what is what."""

    wall_ns: int
    mono_ns: int
    kind: str
    station: str
    text: str
    seq: int | None
    verdict: str | None
    reason: str | None
    part_id: int | None
    trigger_id: int | None
    result: str | None

    @property
    def shown(self) -> dict[str, Any] | None:
        """The result as it was shown, by the names of status.Result; None without one, or where it cannot be read."""
        try:
            found = json.loads(self.result or "null")
        except ValueError:
            return None
        return found if isinstance(found, dict) else None


@dataclass(frozen=True)
class Wanted:
    """Which rows; what is empty or None does not narrow. `since_ns` is included, `until_ns` is not."""

    since_ns: int | None = None
    until_ns: int | None = None
    part_id: int | None = None
    trigger_id: int | None = None
    kinds: Collection[str] = ()

    def where(self) -> tuple[str, list[Any]]:
        terms: list[str] = []
        values: list[Any] = []
        for term, value in (
            ("wall_ns >= ?", self.since_ns),
            ("wall_ns < ?", self.until_ns),
            ("part_id = ?", self.part_id),
            ("trigger_id = ?", self.trigger_id),
        ):
            if value is not None:
                terms.append(term)
                values.append(max(-I63, min(I63, value)))  # all that SQLite can compare with
        if self.kinds:
            terms.append(f"kind IN ({', '.join('?' * len(self.kinds))})")
            values += sorted(self.kinds)
        return "".join(f" AND {term}" for term in terms), values


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """The record, read only. Raises UsageError where there is none, DataError for one that cannot be read."""
    if not path.is_file():
        raise UsageError(f"{path}: no record there. Has sad-plc run for this station? Name its folder with --state DIR")
    connection = connected(path)
    try:
        (schema,) = connection.execute("PRAGMA user_version").fetchone()
        if schema != SCHEMA:
            raise DataError(f"{path}: record schema {schema}, this sad reads {SCHEMA}")
        yield connection
    except sqlite3.Error as error:
        mending = " Start sad-plc: it sets a damaged record aside." if is_damage(error) else ""
        raise DataError(f"{path}: the record cannot be read ({error}).{mending}") from None
    finally:
        connection.close()


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
            f"SELECT {', '.join(COLUMNS)} FROM entries WHERE id BETWEEN ? AND ?{where} ORDER BY id {order}",
            (start, min(start + PAGE - 1, last), *values),
        ).fetchall()
        yield from (Row(*row) for row in found)
