"""The gateway's own record: what was shown to the PLC, what the PLC said, and when. One SQLite file a station.

A thread of its own writes, so that no disk ever holds up a result. What a kill -9 can cost are the entries of the last
milliseconds, never those that were committed; a power cut can cost those of the last minutes (WAL, synchronous NORMAL).
A damaged record is set aside, never repaired. file.py knows the file, rows.py reads it back.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from sad_runtime.journal.journal_file import Damaged, is_damage, set_aside
from sad_runtime.plc.record.entry import Entry as Entry  # part of what this file offers
from sad_runtime.plc.record.entry import row_from
from sad_runtime.plc.record.file import INSERT, Values, delete_oldest, open_record

log = logging.getLogger(__name__)

BATCH = 256
"""Entries a commit, at most."""
MAX_WAITING = 10_000
"""Entries kept in memory (about 10 MB) while the disk refuses or hangs; beyond that the oldest are lost and counted."""
RETRY_S = 1.0
SLOW_S = 5.0
"""A write that takes longer counts as failing."""
CLOSE_S = 2.0


class Record:
    """Opened by `with`, which never fails: a gateway that cannot write its record goes on, and says so."""

    def __init__(self, path: Path, keep_rows: int) -> None:
        self.path = path
        self.written = 0
        self.lost = 0
        """Entries that are in no file."""
        self._keep_rows = keep_rows
        self._wake = threading.Condition()
        self._waiting: deque[Entry] = deque()
        self._closing = threading.Event()
        self._connection: sqlite3.Connection | None = None
        self._sick = self._dead = False
        self._writing_since_s: float | None = None
        self._dropped = self._dropped_before = self._dropped_told = 0
        self._since_retention = 0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Record:
        self._thread = threading.Thread(target=self._write_on, name=f"plc record {self.path.parent.name}", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        with self._wake:
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_S)
        with self._wake:
            left = len(self._waiting)
            self._waiting.clear()
            self.lost += left
        if left:
            log.error("%s: %d entries could not be written at the end", self.path, left)

    @property
    def failing(self) -> bool:
        """Entries do not reach the disk at present."""
        since_s = self._writing_since_s
        return self._sick or self._dead or (since_s is not None and time.monotonic() - since_s > SLOW_S)

    def put(self, entry: Entry) -> None:
        """Takes some microseconds, whatever the disk does. Any thread may call."""
        with self._wake:
            if self._dead or self._closing.is_set():
                self.lost += 1
                return
            if len(self._waiting) >= MAX_WAITING:
                self._waiting.popleft()
                self._dropped += 1
                self.lost += 1
            self._waiting.append(entry)
            self._wake.notify()

    def _write_on(self) -> None:
        try:
            self._connect()
            while batch := self._next():
                rows = [row for entry in batch if (row := self._row(entry)) is not None]
                hole = self._hole(batch[0].station, len(batch) - len(rows))
                while not self._written([*hole, *rows]):
                    if self._closing.is_set():  # this was the last try
                        self._lose(len(rows))
                        return
                    self._closing.wait(RETRY_S)
                self.written += len(rows)
                self._forget_old_rows(len(rows))
        except Exception:
            self._dead = True
            log.exception("%s: the record has failed and takes no more entries", self.path)
        finally:
            if self._connection is not None:
                self._connection.close()

    def _next(self) -> list[Entry]:
        """Waits for entries; none are left when closing."""
        with self._wake:
            self._wake.wait_for(lambda: self._waiting or self._closing.is_set())
            self._dropped_before = self._dropped
            return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]

    def _written(self, rows: list[Values]) -> bool:
        connection = self._connection or self._connect()
        if connection is None:
            return False
        self._writing_since_s = time.monotonic()
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(INSERT, rows)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._refused(connection, error)
            return False
        finally:
            self._writing_since_s = None
        if self._sick:
            self._sick = False
            log.info("%s takes entries again; %d were lost so far", self.path, self.lost)
        return True

    def _forget_old_rows(self, added: int) -> None:
        """Twice as many as were added, and a few hundred at a time: it catches up, without a long pause."""
        self._since_retention += added
        if self._since_retention < BATCH or self._connection is None:
            return
        try:
            delete_oldest(self._connection, keep_rows=self._keep_rows, most=2 * self._since_retention)
        except sqlite3.Error as error:
            self._refused(self._connection, error)
        self._since_retention = 0

    def _hole(self, station: str, unwritable: int) -> list[Values]:
        """A record with entries missing says so where they are missing."""
        missing = self._dropped_before - self._dropped_told + unwritable
        self._dropped_told = self._dropped_before
        if not missing:
            return []
        text = f"entries lost before this one: {missing}; they could not be written"
        row = self._row(Entry("fault", station, text))
        return [row] if row is not None else []

    def _row(self, entry: Entry) -> Values | None:
        try:
            return row_from(entry)
        except (TypeError, ValueError, OverflowError) as error:
            self._lose(1)
            log.error("%s: an entry of kind %s cannot be written: %s", self.path, entry.kind, error)
            return None

    def _connect(self) -> sqlite3.Connection | None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            try:
                self._connection = open_record(self.path)
            except Damaged as damage:
                self._put_aside(str(damage))
                self._connection = open_record(self.path)
        except (sqlite3.Error, Damaged, OSError) as error:
            self._say_sick(str(error))
        return self._connection

    def _refused(self, connection: sqlite3.Connection, error: sqlite3.Error) -> None:
        if is_damage(error):
            connection.close()
            self._connection = None
            with suppress(OSError):  # a disk that refuses that too; it is tried again with the next batch
                self._put_aside(str(error))
        elif connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        self._say_sick(str(error))

    def _put_aside(self, why: str) -> None:
        aside = set_aside(self.path)
        log.error("%s was damaged (%s); it is kept as %s and a new one is begun", self.path, why, aside.name)

    def _say_sick(self, why: str) -> None:
        if not self._sick:
            self._sick = True
            log.error(
                "%s takes no entries (%s); the gateway goes on. Make room there, or mend the rights", self.path, why
            )

    def _lose(self, count: int) -> None:
        with self._wake:
            self.lost += count
