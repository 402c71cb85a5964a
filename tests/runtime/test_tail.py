"""`sad-tail` as it is used: at a running feed, at a silent one, in a pipe."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from feeds import STATION, MemoryJournal, a_decision, open_feed, publish, wait_until
from sad_runtime.cli.tail import line_of, main
from sad_runtime.feed.publisher import Feed
from sad_runtime.messages import Decision, Event
from sad_runtime.verdict import Reason, State, Verdict


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def feed(tmp_path: Path, journal: MemoryJournal) -> Iterator[Feed]:
    with open_feed(tmp_path, journal) as feed, ticking(feed):
        yield feed


@contextmanager
def ticking(feed: Feed) -> Iterator[None]:
    stop = threading.Event()

    def tick() -> None:
        while not stop.wait(0.02):
            feed.tick()

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def in_background(what: threading.Thread) -> Iterator[None]:
    what.start()
    try:
        yield
    finally:
        what.join()


def some_decisions(feed: Feed, journal: MemoryJournal) -> None:
    publish(feed, journal, a_decision(1))
    publish(feed, journal, a_decision(2, verdict=Verdict.FAIL, reason=Reason.SCORE, score=5.25, flags=["review"]))
    publish(feed, journal, a_decision(3, verdict=Verdict.INVALID, reason=Reason.NO_IMAGE, score=None, threshold=None))


def once_subscribed(feed: Feed, journal: MemoryJournal) -> threading.Thread:
    def run() -> None:
        wait_until(lambda: feed.decision_subscribers() > 0, "the subscription")
        time.sleep(0.2)  # and its first heartbeat
        feed.publish(Event(run="run-1", station=STATION, code="camera_lost", level="error", text="the camera is gone"))
        some_decisions(feed, journal)

    return threading.Thread(target=run)


def test_json_prints_one_decision_a_line_with_exactly_its_fields(
    feed: Feed, journal: MemoryJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    some_decisions(feed, journal)
    assert main(["--feed", feed.addresses["decisions"], "--json", "--history", "--count", "3"]) == 0
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [Decision(**line) for line in lines] == journal.rows
    assert all(list(line) == list(Decision.model_fields) for line in lines)
    assert err == "3 decisions: 1 PASS, 1 FAIL, 1 INVALID; 0 lost\n"


def test_people_get_a_line_a_decision_and_the_events(
    feed: Feed, journal: MemoryJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    with in_background(once_subscribed(feed, journal)):
        assert main(["--feed", feed.addresses["decisions"], "--events", "--count", "3"]) == 0
    event, passed, failed, invalid = capsys.readouterr().out.splitlines()
    assert event.endswith("-- error: the camera is gone (camera_lost)")
    assert "#1" in passed
    assert "part 1001" in passed
    assert failed.split()[4:] == ["FAIL", "score", "5.25", "/", "4", "p", "-", "20.0", "ms", "review"]
    assert invalid.split()[4:] == ["INVALID", "no_image", "-", "/", "-", "p", "-", "20.0", "ms"]


def test_with_json_events_do_not_stand_between_the_decisions(
    feed: Feed, journal: MemoryJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    with in_background(once_subscribed(feed, journal)):
        assert main(["--feed", feed.addresses["decisions"], "--events", "--json", "--count", "3"]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["seq"] for line in out.splitlines()] == [1, 2, 3]
    assert "the camera is gone" in err


def test_verdicts_are_coloured_on_a_terminal_only() -> None:
    assert "\x1b[31;1mFAIL   \x1b[0m" in line_of(a_decision(1, verdict=Verdict.FAIL), False, colour=True)
    assert "\x1b" not in line_of(a_decision(1, verdict=Verdict.FAIL), False, colour=False)


def test_a_decision_from_the_journal_says_so() -> None:
    assert line_of(a_decision(1), True, colour=False).endswith("recovered")


def test_silence_and_its_end_are_told(
    feed: Feed, journal: MemoryJournal, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_feed(tmp_path / "hanging", journal) as hanging:
        hanging.status(state=State.READY, online=True, deadline_ms=100)

        def hang_for_a_while() -> None:
            wait_until(lambda: hanging.decision_subscribers() > 0, "the subscription")
            hanging.tick()
            time.sleep(1.2)
            with ticking(hanging):
                time.sleep(0.5)
                publish(hanging, journal, a_decision(1))

        with in_background(threading.Thread(target=hang_for_a_while)):
            assert main(["--feed", hanging.addresses["decisions"], "--count", "1"]) == 0
    silent, back, _ = capsys.readouterr().out.splitlines()
    assert "-- the feed is silent" in silent
    assert "-- the feed is back" in back


def test_lost_decisions_are_told_and_counted(
    feed: Feed, journal: MemoryJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    for seq in (3, 4):
        publish(feed, journal, a_decision(seq))
    assert main(["--feed", feed.addresses["decisions"], "--history", "--timeout", "0.5"]) == 0
    out, err = capsys.readouterr()
    assert "-- 2 decisions are lost, 1 to 2" in out.splitlines()[0]
    assert err == "2 decisions: 2 PASS, 0 FAIL, 0 INVALID; 2 lost\n"


def test_nothing_within_the_timeout_ends_with_advice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--feed", "tcp://127.0.0.1:9", "--timeout", "0.3"]) == 1
    err = capsys.readouterr().err
    assert "nothing was heard from a station at tcp://127.0.0.1:9. Start it with sad-runtime" in err


def test_a_station_without_parts_is_told_from_no_station(feed: Feed, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--feed", feed.addresses["decisions"], "--timeout", "0.5"]) == 1
    assert "station line1 is there (Preoperational, not online), but no part was judged" in capsys.readouterr().err


def test_another_station_is_not_listened_to(
    feed: Feed, journal: MemoryJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    some_decisions(feed, journal)
    arguments = ["--feed", feed.addresses["decisions"], "--station", "line2", "--history", "--timeout", "0.4"]
    assert main(arguments) == 1
    assert "nothing was heard from station line2" in capsys.readouterr().err


def test_the_timeout_after_decisions_is_a_regular_end(feed: Feed, journal: MemoryJournal) -> None:
    some_decisions(feed, journal)
    assert main(["--feed", feed.addresses["decisions"], "--history", "--timeout", "0.4"]) == 0


def test_an_address_that_is_none_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--feed", "line1"]) == 2
    assert "not the address of a feed" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [["--count", "0"], ["--count", "many"], ["--timeout", "-1"], ["--timeout", "nan"]])
def test_wrong_numbers_are_wrong_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2
    assert "write for example" in capsys.readouterr().err


def test_a_pipe_closed_by_its_reader_ends_it_quietly(feed: Feed, journal: MemoryJournal) -> None:
    for seq in range(1, 3000):
        publish(feed, journal, a_decision(seq))
    code = "import sys; from sad_runtime.cli.tail import main; sys.exit(main())"
    tail = shlex.join([sys.executable, "-c", code, "--feed", feed.addresses["decisions"], "--json", "--history"])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {tail} | head -n 2"], capture_output=True, text=True, timeout=60, check=False
    )
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [1, 2]
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr
