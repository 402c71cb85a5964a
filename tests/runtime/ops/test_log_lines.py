"""Log lines for programs and for journald."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator

import pytest

from sad_runtime.ops.log_lines import LogFormat, goes_to_journal, log_handler, naming
from sad_runtime.station.happenings import Happenings

log = logging.getLogger("sad.test")


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def logged() -> Iterator[list[logging.Handler]]:
    """Handlers put in here hear `sad.*`."""
    handlers: list[logging.Handler] = []
    parent = logging.getLogger("sad")
    level = parent.level
    parent.setLevel(logging.DEBUG)
    yield handlers
    parent.setLevel(level)
    for handler in handlers:
        parent.removeHandler(handler)


def listen(handlers: list[logging.Handler], handler: logging.Handler) -> None:
    handlers.append(handler)
    logging.getLogger("sad").addHandler(handler)


def test_a_json_line_has_time_level_logger_and_message(stream: io.StringIO, logged: list[logging.Handler]) -> None:
    listen(logged, log_handler(stream, "json"))
    log.warning("%d pictures\nlost – Maß", 3)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    line = json.loads(lines[0])
    assert line.pop("time").endswith("Z")
    assert line == {"level": "warning", "logger": "sad.test", "message": "3 pictures\nlost – Maß"}


def test_an_event_is_logged_with_its_station_run_and_code(stream: io.StringIO, logged: list[logging.Handler]) -> None:
    listen(logged, log_handler(stream, "json"))
    Happenings("line7", "run-1").tell("camera_lost", "error", "gone")
    line = json.loads(stream.getvalue())
    assert (line["station"], line["run"], line["code"], line["level"]) == ("line7", "run-1", "camera_lost", "error")


def test_every_line_of_a_station_names_it(stream: io.StringIO, logged: list[logging.Handler]) -> None:
    listen(logged, log_handler(stream, "json"))
    with naming("line7", "run-1", logging.getLogger("sad")):
        log.info("from anywhere")
    log.info("afterwards")
    line, after = [json.loads(text) for text in stream.getvalue().splitlines()]
    assert (line["station"], line["run"]) == ("line7", "run-1")
    assert "station" not in after


def test_an_exception_is_one_line_with_its_traceback(stream: io.StringIO, logged: list[logging.Handler]) -> None:
    listen(logged, log_handler(stream, "json"))
    try:
        raise MemoryError("no more")
    except MemoryError:
        log.exception("inspection failed")
    line = json.loads(stream.getvalue())
    assert line["message"] == "inspection failed"
    assert line["exception"].splitlines()[-1] == "MemoryError: no more"


@pytest.mark.parametrize("kind", ["text", "json"])
def test_journald_reads_the_priority_of_every_line(
    kind: LogFormat, stream: io.StringIO, logged: list[logging.Handler]
) -> None:
    listen(logged, log_handler(stream, kind, to_journal=True))
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        log.log(level, "one\ntwo")
    priorities = [line[:3] for line in stream.getvalue().splitlines()]
    each = 1 if kind == "json" else 2
    assert priorities == [f"<{number}>" for number in (7, 6, 4, 3, 2) for _ in range(each)]


def test_journald_is_known_by_the_very_stream_it_opened() -> None:
    reader, writer = os.pipe()
    about = os.fstat(writer)
    assert goes_to_journal(f"{about.st_dev}:{about.st_ino}", writer)
    assert not goes_to_journal("8:1", writer)
    assert not goes_to_journal(None, writer)
    assert not goes_to_journal("rubbish", writer)
    os.close(reader)
    os.close(writer)
    assert not goes_to_journal(f"{about.st_dev}:{about.st_ino}", writer)
