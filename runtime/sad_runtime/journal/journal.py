"""The station's journal: one row a decision, in SQLite, committed before the decision is published.

A thread of its own writes, so that a stalled or full disk costs the line at most `wait_ms`; the row is then written
when the disk comes back. WAL with synchronous NORMAL survives kill -9; `sync: full` also survives a power cut. A
damaged journal is set aside, never repaired. Reading back is in replay.py.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

from sad_runtime.journal.ages import AgeLimit
from sad_runtime.journal.journal_file import (
    Damaged,
    checkpoint,
    delete_oldest,
    is_damage,
    newest_ns,
    open_journal,
    set_aside,
    wal_bytes,
)
from sad_runtime.messages import Decision, encode
from sad_runtime.station.config import JournalConfig
from sad_runtime.station.happenings import Happenings

BATCH = 256
RETRY_S = 1.0
MAX_WAITING = 20_000
"""Rows kept in memory (about 10 MB) while the disk is full; beyond that the oldest are lost, and counted."""
LOOK_S = 1.0
CHECKPOINT_BYTES = 4 * 2**20
CLOSE_S = 2.0
RETENTION_EVERY = 64

INSERT = """
INSERT INTO decisions (run, seq, decided_ns, verdict, reason, score, trigger_id, part_id, source, message)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run, seq) DO UPDATE SET verdict = excluded.verdict, reason = excluded.reason, message = excluded.message
"""
ACKNOWLEDGE = "UPDATE decisions SET acknowledged_ns = ? WHERE run = ? AND seq = ?"


@dataclass(frozen=True)
class _Entry:
    sql: str
    values: tuple[Any, ...]
    done: threading.Event = field(default_factory=threading.Event)


class Journal:
    """Opened by `with`. Any thread may record."""

    def __init__(self, path: Path, config: JournalConfig, happenings: Happenings) -> None:
        self.path = path
        self.before_write: Callable[[], None] | None = None
        """Stages a faulty disk (faults/disk.py)."""
        self._config = config
        self._happenings = happenings
        self._ages = AgeLimit(config.keep_days)
        self._connection: sqlite3.Connection | None = None
        self._wake = threading.Condition()
        self._waiting: deque[_Entry] = deque()
        self._sick = False
        self._closing = False
        self.lost = 0
        """Decisions that were never recorded."""
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()

    def __enter__(self) -> Journal:
        self._connect()
        for work in (self._write_on, self._checkpoint_on):
            thread = threading.Thread(target=work, name=f"journal {work.__name__.strip('_')}", daemon=True)
            thread.start()
            self._threads.append(thread)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        self._stopped.set()
        for thread in self._threads:
            thread.join(CLOSE_S)
        if self._waiting:
            missing = len({entry.values[:2] for entry in self._waiting if entry.sql is INSERT})  # some are twice there
            self._happenings.tell(
                "journal_incomplete", "error", f"{missing} decisions could not be written to {self.path}"
            )
        elif self._connection is not None:
            self._connection.close()

    def record(self, decision: Decision, source: str = "") -> bool:
        """True when the row is on disk; False when that took too long or the disk refuses. It is then written later."""
        entry = _Entry(INSERT, _values(decision, source))
        if self._put(entry):
            return False
        return entry.done.wait(self._config.wait_ms / 1e3)

    def amend(self, decision: Decision, source: str = "") -> None:
        """Writes a row over again, without waiting: what was published in the end differs from what was recorded."""
        self._put(_Entry(INSERT, _values(decision, source)))

    def acknowledge(self, run: str, seq: int) -> None:
        self._put(_Entry(ACKNOWLEDGE, (time.time_ns(), run, seq)))

    def _put(self, entry: _Entry) -> bool:
        """True when the disk is known to refuse at present."""
        with self._wake:
            self._waiting.append(entry)
            if len(self._waiting) > MAX_WAITING:  # a write hangs; the batch in hand stays
                del self._waiting[BATCH]
                self.lost += 1
            if not self._sick:
                self._wake.notify()
            return self._sick

    def _write_on(self) -> None:
        batches = 0
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._closing)
                batch = list(islice(self._waiting, BATCH))
                closing = self._closing
            if not batch:
                return
            if self._written(batch):
                with self._wake:
                    for _ in batch:
                        self._waiting.popleft()
                for entry in batch:
                    entry.done.set()
                batches += 1
                if batches % RETENTION_EVERY == 0:
                    self._forget_old_rows()
            elif closing:
                return
            else:
                self._stopped.wait(RETRY_S)  # on closing at once, to try the last time

    def _written(self, batch: Sequence[_Entry]) -> bool:
        try:
            connection = self._connection or self._connect()
            if connection is None:
                return False
            if self.before_write is not None:
                self.before_write()
            connection.execute("BEGIN IMMEDIATE")
            for entry in batch:
                connection.execute(entry.sql, entry.values)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._refused(error)
            return False
        if self._sick:
            self._sick = False
            self._happenings.tell("journal_recovered", "info", f"{self.path} takes rows again")
        return True

    def _connect(self) -> sqlite3.Connection | None:
        full = self._config.sync == "full"
        try:
            try:
                self._connection = open_journal(self.path, full_sync=full)
            except Damaged as damage:
                self._put_aside(str(damage))
                self._connection = open_journal(self.path, full_sync=full)
            self._ages.begin(newest_ns(self._connection))
        except (sqlite3.Error, Damaged, OSError) as error:
            self._say_sick(str(error))
        return self._connection

    def _refused(self, error: sqlite3.Error) -> None:
        connection = self._connection
        if connection is not None and is_damage(error):
            connection.close()
            self._connection = None
            with suppress(OSError):  # a disk that refuses that too; it is tried again with the next batch
                self._put_aside(str(error))
        elif connection is not None and connection.in_transaction:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        self._say_sick(str(error))
        with self._wake:
            while len(self._waiting) > MAX_WAITING:
                self._waiting.popleft()
                self.lost += 1

    def _say_sick(self, why: str) -> None:
        if not self._sick:
            self._sick = True
            text = f"{self.path} takes no rows ({why}); verdicts go on, flagged unrecorded"
            self._happenings.tell("journal_refuses", "error", text, lost=self.lost)

    def _put_aside(self, why: str) -> None:
        aside = set_aside(self.path)
        text = f"{self.path} was damaged ({why}); it is kept as {aside.name} and a new one is begun"
        self._happenings.tell("journal_damaged", "error", text, kept_as=aside.name)

    def _forget_old_rows(self) -> None:
        if self._connection is None:
            return
        try:
            delete_oldest(self._connection, keep_rows=self._config.keep_rows, too_old=self._ages.span())
        except sqlite3.Error as error:
            self._refused(error)

    def _checkpoint_on(self) -> None:
        while not self._stopped.wait(LOOK_S):
            if wal_bytes(self.path) < CHECKPOINT_BYTES and not self._sick:
                continue
            try:
                checkpoint(self.path)
            except sqlite3.Error:
                continue  # the writer meets the same trouble, and tells of it


def _values(decision: Decision, source: str) -> tuple[Any, ...]:
    return (
        decision.run,
        decision.seq,
        time.time_ns(),
        decision.verdict.value,
        decision.reason.value,
        decision.score,
        decision.trigger_id,
        decision.part_id,
        source,
        encode(decision),
    )
