"""`sad-plc log` on real records: what it shows, how it narrows, and that it stops no gateway."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import pytest

from sad_runtime.cli.plc_log import add_arguments, as_line, log
from sad_runtime.errors import DataError, UsageError
from sad_runtime.plc.record.record import Entry, Record
from sad_runtime.plc.record.rows import PAGE, Row
from sad_runtime.plc.status import Result
from sad_runtime.station.state_folder import StateFolder
from sad_runtime.verdict import Reason, Verdict

HOUR_NS = 3600 * 10**9
Out = pytest.CaptureFixture[str]


def a_result(seq: int, verdict: Verdict = Verdict.PASS, reason: Reason = Reason.OK) -> Result:
    return Result(seq=seq, verdict=verdict, reason=reason, part_id=1000 + seq, trigger_id=seq, score=1.5, threshold=4.0)


def recorded(state: Path, entries: list[Entry], station: str = "line1") -> Path:
    path = StateFolder(state, station).plc_record
    with Record(path, 100_000) as record:
        for entry in entries:
            record.put(entry)
    assert record.lost == 0
    return path


def some() -> list[Entry]:
    now_ns = time.time_ns()
    return [
        Entry("restart", "line1", "sad-plc 0.1.0", wall_ns=now_ns - 3 * HOUR_NS),
        Entry("trigger", "line1", "taken", part_id=1001, trigger_id=1, wall_ns=now_ns - 2 * HOUR_NS),
        Entry("result", "line1", "shown", a_result(1), wall_ns=now_ns - HOUR_NS),
        Entry("spoilt", "line1", "not read in time", a_result(1, Verdict.INVALID, Reason.LATE)),
        Entry("fault", "line1", "the station is not heard"),
    ]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    recorded(tmp_path / "state", some())
    return tmp_path / "state"


def run(*words: object) -> int:
    parser = argparse.ArgumentParser(prog="sad-plc")
    add_arguments(parser)
    return log(parser.parse_args([str(word) for word in words]))


def shown(capsys: Out, *words: object) -> list[dict[str, Any]]:
    assert run("--json", *words) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_entries_are_lines_newest_last(state: Path, capsys: Out) -> None:
    assert run("--state", state) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["when", "kind", "#", "part", "trigger", "verdict", "reason", "text"]
    assert [line.split()[2:8] for line in lines[1:4]] == [
        ["trigger", "-", "1001", "1", "-", "-"],
        ["result", "1", "1001", "1", "PASS", "ok"],
        ["spoilt", "1", "1001", "1", "INVALID", "late"],
    ]
    assert lines[-1].endswith("the station is not heard")
    assert "\x1b" not in "".join(lines), "colours are for terminals"


@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        ([], ["restart", "trigger", "result", "spoilt", "fault"]),
        (["--limit", "2"], ["spoilt", "fault"]),
        (["--limit", "0"], ["restart", "trigger", "result", "spoilt", "fault"]),
        (["--kind", "result", "fault"], ["result", "fault"]),
        (["--kind", "result", "--kind", "fault", "--limit", "1"], ["fault"]),
        (["--part-id", "1001"], ["trigger", "result", "spoilt"]),
        (["--trigger-id", "2"], []),
        (["--since", "999999w"], ["restart", "trigger", "result", "spoilt", "fault"]),
        (["--since", "90m"], ["result", "spoilt", "fault"]),
        (["--since", "150m", "--until", "30m"], ["trigger", "result"]),
        (["--station", "line1", "--since", "2000-01-01"], ["restart", "trigger", "result", "spoilt", "fault"]),
    ],
    ids=str,
)
def test_it_narrows(state: Path, capsys: Out, words: list[str], kinds: list[str]) -> None:
    assert [entry["kind"] for entry in shown(capsys, "--state", state, *words)] == kinds


def test_json_has_the_whole_result_and_both_clocks(state: Path, capsys: Out) -> None:
    (entry,) = shown(capsys, "--state", state, "--kind", "spoilt")
    assert entry["result"]["score"] == 1.5
    assert (entry["result"]["verdict"], entry["result"]["reason"]) == ("INVALID", "late")
    assert entry["utc"].endswith("Z")
    assert entry["wall_ns"] > entry["mono_ns"] > 0


def test_it_reads_beside_a_running_gateway_and_sees_what_it_wrote_last(tmp_path: Path, capsys: Out) -> None:
    with Record(StateFolder(tmp_path, "line1").plc_record, 1000) as record:
        for round_ in range(1, 4):
            record.put(Entry("result", "line1", f"number {round_}", a_result(round_)))
            until_s = time.monotonic() + 10
            while record.written < round_:
                assert time.monotonic() < until_s
            assert [entry["result"]["seq"] for entry in shown(capsys, "--state", tmp_path)] == [*range(1, round_ + 1)]
    assert record.lost == 0


def test_a_long_record_is_read_page_by_page_in_order(tmp_path: Path, capsys: Out) -> None:
    recorded(tmp_path, [Entry("result", "line1", "", a_result(seq)) for seq in range(1, 3 * PAGE)])
    found = shown(capsys, "--state", tmp_path, "--limit", "0")
    assert [entry["result"]["seq"] for entry in found] == list(range(1, 3 * PAGE))
    assert [entry["result"]["seq"] for entry in shown(capsys, "--state", tmp_path, "--limit", PAGE + 1)] == list(
        range(2 * PAGE - 1, 3 * PAGE)
    )


def test_when_nothing_fits_it_says_so(state: Path, capsys: Out) -> None:
    assert run("--state", state, "--part-id", "5") == 0
    said = capsys.readouterr()
    assert (said.out, "no entry fits" in said.err) == ("", True)


def test_of_two_stations_one_must_be_named(state: Path, capsys: Out) -> None:
    recorded(state, [Entry("fault", "line2", "other")], "line2")
    with pytest.raises(UsageError, match="which of line1, line2"):
        run("--state", state)
    assert [entry["text"] for entry in shown(capsys, "--state", state, "--station", "line2")] == ["other"]


@pytest.mark.parametrize("words", [[], ["--station", "line9"]])
def test_where_there_is_no_record_it_says_how_to_find_one(tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(UsageError, match="--state DIR"):
        run("--state", tmp_path, *words)


@pytest.mark.parametrize(
    "wrong", [["--kind", "nonsense"], ["--since", "soon"], ["--limit", "-1"], ["--limit", "9" * 30], ["--part-id", "x"]]
)
def test_nonsense_is_refused(state: Path, wrong: list[str]) -> None:
    with pytest.raises(SystemExit):
        run("--state", state, *wrong)


def test_a_span_that_holds_nothing_is_refused(state: Path) -> None:
    with pytest.raises(UsageError, match="nothing lies between"):
        run("--state", state, "--since", "1h", "--until", "2h")


def test_a_damaged_record_is_a_clear_word(state: Path) -> None:
    StateFolder(state, "line1").plc_record.write_bytes(b"rubbish " * 1000)
    with pytest.raises(DataError, match="cannot be read"):
        run("--state", state)


def a_row(**changes: Any) -> Row:
    values: dict[str, Any] = dict.fromkeys(Row.__dataclass_fields__)
    return Row(**(values | {"wall_ns": 0, "mono_ns": 0, "kind": "plc", "station": "line1", "text": ""} | changes))


def test_a_strangers_name_does_not_steer_the_terminal() -> None:
    line = as_line(a_row(text="peer \x1b[2J\r\nPASS"), colour=True)
    assert "\x1b" not in line
    assert "\n" not in line


@pytest.mark.parametrize(("wall_ns", "year"), [(-(2**63), "1677"), (2**63 - 1, "2262"), (10**18, "2001")])
def test_a_clock_that_went_wrong_is_shown_as_it_was(wall_ns: int, year: str) -> None:
    assert as_line(a_row(wall_ns=wall_ns), colour=False).startswith(year)


def test_verdicts_are_coloured_and_what_is_no_verdict_is_not() -> None:
    assert "\x1b[31;1mFAIL" in as_line(a_row(verdict="FAIL"), colour=True)
    assert "\x1b" not in as_line(a_row(verdict="?"), colour=True)


def test_a_result_that_cannot_be_read_is_none() -> None:
    assert a_row(result="{").shown is None
    assert a_row(result="[1]").shown is None
