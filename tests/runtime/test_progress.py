"""Progress: a live line on a terminal, few lines in a log, nothing for what is over at once."""

from __future__ import annotations

import io

import pytest

from sad_runtime.cli import progress as progress_file
from sad_runtime.cli.progress import Progress, clock, progressing


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock_of_test = Clock()
    monkeypatch.setattr(progress_file, "time", clock_of_test)
    return clock_of_test


def test_what_takes_under_five_seconds_says_nothing_in_a_log(time: Clock) -> None:
    log = io.StringIO()
    progress = Progress("training", 4, stream=log)
    for step in range(1, 5):
        time.now += 1
        progress.step(step)
    assert log.getvalue() == ""


def test_a_log_gets_a_line_every_ten_seconds_and_one_at_the_end(time: Clock) -> None:
    log = io.StringIO()
    progress = Progress("training", 100, stream=log)
    for step in range(1, 101):
        time.now += 0.5
        progress.step(step, note=f"loss {step}")
    lines = log.getvalue().splitlines()
    assert len(lines) == 5
    assert lines[0] == "training: 20/100 (0:40 left)  loss 20"
    assert lines[-1] == "training: 100/100 (0:50 done)  loss 100"


def test_a_terminal_gets_one_live_line(time: Clock) -> None:
    screen = Terminal()
    progress = Progress("reading", 50, stream=screen)
    for step in range(1, 51):
        time.now += 0.1
        progress.step(step)
    said = screen.getvalue()
    assert said.count("\n") == 1
    assert said.endswith("reading: 50/50 (0:05 done)\n")
    assert 20 <= said.count("\r") <= 30


def test_what_was_done_before_does_not_count_for_the_estimate(time: Clock) -> None:
    log = io.StringIO()
    progress = Progress("training", 100, done=80, stream=log)
    time.now += 10
    progress.step(90)
    assert log.getvalue() == "training: 90/100 (0:10 left)\n"


def test_items_come_through_in_order_and_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progressing(["a", "b"], "reading")) == ["a", "b"]
    assert list(progressing([], "reading")) == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (59.6, "1:00"), (75, "1:15"), (3599, "59:59"), (3661, "1:01:01"), (90000, "25:00:00")],
)
def test_clocks_are_short(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown
