"""How log lines look: text for people, or one JSON object a line for programs; either with journald's priorities.

A JSON line has `time` (RFC 3339, UTC), `level`, `logger` and `message`; `station`, `run` and `code` (of an event)
where they are known; `exception` with the whole traceback where there was one.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Literal, TextIO

LogFormat = Literal["text", "json"]
TEXT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
TEXT_IN_JOURNAL = "%(name)s: %(message)s"
"""The journal keeps the time and the level itself."""
EXTRAS = ("station", "run", "code")
PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""Of syslog, by the least level that has it; all below is 7, debug."""


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        line: dict[str, object] = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in EXTRAS if hasattr(record, name)}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class Prioritised(logging.Formatter):
    """Another formatter's lines, each headed by the priority as journald reads it: `<4>`."""

    def __init__(self, lines: logging.Formatter) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        priority = next((number for level, number in PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in self._lines.format(record).split("\n"))


class _OfStation(logging.Filter):
    def __init__(self, station: str, run: str) -> None:
        super().__init__()
        self._station, self._run = station, run

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in (("station", self._station), ("run", self._run)):
            if not hasattr(record, name):
                setattr(record, name, value)
        return True


@contextmanager
def naming(station: str, run: str, logger: logging.Logger | None = None) -> Iterator[None]:
    """While open, every line of this process names the station and its run, also those that know of neither."""
    named, handlers = _OfStation(station, run), list((logger or logging.getLogger()).handlers)
    for handler in handlers:
        handler.addFilter(named)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(named)


def log_handler(stream: TextIO, kind: LogFormat, *, to_journal: bool = False) -> logging.Handler:
    handler = logging.StreamHandler(stream)
    lines = JsonLines() if kind == "json" else logging.Formatter(TEXT_IN_JOURNAL if to_journal else TEXT)
    handler.setFormatter(Prioritised(lines) if to_journal else lines)
    return handler


def goes_to_journal(journal_stream: str | None, fd: int) -> bool:
    """`journal_stream`: $JOURNAL_STREAM, the device and inode of what the service manager opened."""
    if not journal_stream:
        return False
    try:
        opened = os.fstat(fd)
    except OSError:
        return False
    return journal_stream == f"{opened.st_dev}:{opened.st_ino}"
