"""`sad-journal` on real journals: what it shows, counts, exports and finds wrong, and that it stops no station."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from bundles import good_picture
from feeds import a_decision
from sad_runtime.cli.journal import main
from sad_runtime.cli.journal_options import moment_ns
from sad_runtime.journal.histogram import Histogram
from sad_runtime.journal.journal import Journal
from sad_runtime.journal.rows import PAGE, Wanted, reading, rows
from sad_runtime.messages import Decision
from sad_runtime.pictures import encode_png
from sad_runtime.station.config import JournalConfig
from sad_runtime.station.happenings import Happenings
from sad_runtime.verdict import Reason, Verdict

HOUR_NS = 3600 * 10**9
Out = pytest.CaptureFixture[str]


def recorded(state: Path, decisions: Sequence[Decision], station: str = "line1") -> Path:
    """The journal of a station that decided these."""
    path = state / station / "journal.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    with Journal(path, JournalConfig(wait_ms=1000), Happenings(station, "run-1")) as journal:
        for decision in decisions[:-1]:
            journal.amend(decision, source=f"part {decision.seq}")
        assert journal.record(decisions[-1], source="the last, with a comma")
    return path


def some(count: int, run: str = "run-1") -> list[Decision]:
    """Every fifth FAIL, every seventh INVALID."""
    found = []
    for seq in range(1, count + 1):
        changes: dict[str, Any] = {"latency_ms": {"infer": float(seq), "publish": 0.5}, "frame_id": seq}
        if seq % 7 == 0:
            changes |= {"verdict": Verdict.INVALID, "reason": Reason.LATE, "score": None}
        elif seq % 5 == 0:
            changes |= {"verdict": Verdict.FAIL, "reason": Reason.SCORE, "score": 4.1, "flags": ["degraded"]}
        found.append(a_decision(seq, run, **changes))
    return found


def redate(path: Path, sql: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(sql)
    connection.commit()
    connection.close()


def picture(state: Path, name: str, station: str = "line1") -> Path:
    path = state / station / "pictures" / "2026-05-04" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(good_picture()))
    return path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    recorded(tmp_path / "state", some(100))
    return tmp_path / "state"


def said(capsys: Out, *words: object) -> str:
    assert main([str(word) for word in words]) == 0
    return capsys.readouterr().out


def shown(capsys: Out, state: Path, *words: object) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said(capsys, "show", "--json", "--state", state, *words).splitlines()]


def test_show_prints_the_newest_with_their_pictures(state: Path, capsys: Out) -> None:
    kept = picture(state, "100000-run-1-00000100-FAIL-score.png")
    header, *lines = said(capsys, "show", "--state", state, "--limit", 3).splitlines()
    assert header.split()[:4] == ["when", "seq", "verdict", "reason"]
    assert [line.split()[2:5] for line in lines] == [
        ["98", "INVALID", "late"],
        ["99", "PASS", "ok"],
        ["100", "FAIL", "score"],
    ]
    assert str(kept) in lines[2]
    assert "degraded" in lines[2]
    assert "4.1 /        4" in lines[2]


@pytest.mark.parametrize(
    ("words", "seqs"),
    [
        (["--verdict", "FAIL"], [5, 10, 15, 20, 25, 30, 40, 45, 50, 55, 60, 65, 75, 80, 85, 90, 95, 100]),
        (["--reason", "late", "--limit", "2"], [91, 98]),
        (["--verdict", "FAIL", "INVALID", "--limit", "3"], [95, 98, 100]),
        (["--part-id", "1042"], [42]),
        (["--recipe", "1"], []),
        (["--run", "run", "--limit", "1"], [100]),
        (["--run", "other"], []),
        (["--since", "1h", "--limit", "1"], [100]),
        (["--until", "1h"], []),
        (["--limit", "0"], list(range(1, 101))),
    ],
    ids=str,
)
def test_show_narrows(state: Path, capsys: Out, words: list[str], seqs: list[int]) -> None:
    assert [row["seq"] for row in shown(capsys, state, *words)] == seqs


def test_since_finds_rows_whatever_order_a_jumping_clock_dated_them_in(state: Path, capsys: Out) -> None:
    redate(
        state / "line1" / "journal.sqlite",
        f"UPDATE decisions SET decided_ns = decided_ns - {9 * HOUR_NS} WHERE seq > 50",
    )
    assert [row["seq"] for row in shown(capsys, state, "--since", "1h", "--limit", 0)] == list(range(1, 51))


def test_rows_come_in_pages_both_ways(tmp_path: Path) -> None:
    path = recorded(tmp_path, some(2 * PAGE + 7))
    with reading(path) as journal:
        forwards = [row.seq for row in rows(journal, Wanted())]
        backwards = [row.seq for row in rows(journal, Wanted(), backwards=True)]
    assert forwards == list(range(1, 2 * PAGE + 8))
    assert backwards == forwards[::-1]


def test_stats_counts_verdicts_reasons_and_latencies(state: Path, capsys: Out) -> None:
    (group,) = json.loads(said(capsys, "stats", "--json", "--state", state, "--by", "run"))["groups"]
    assert (group["parts"], group["PASS"], group["FAIL"], group["INVALID"]) == (100, 68, 18, 14)
    assert group["invalid"] == {"late": 14}
    assert group["yield"] == 0.68
    infer = group["latency_ms"]["infer"]
    assert infer["p50"] == pytest.approx(50, rel=0.006)
    assert infer["p99"] == pytest.approx(99, rel=0.006)
    assert infer["max"] == 100.0
    assert group["clock_steps"] == []
    text = said(capsys, "stats", "--state", state)
    assert "100 parts: 68 PASS, 18 FAIL, 14 INVALID; yield 68.00%" in text
    assert "INVALID late" in text


def test_stats_tells_hours_apart_and_jumps_of_the_clock(state: Path, capsys: Out) -> None:
    redate(
        state / "line1" / "journal.sqlite",
        f"UPDATE decisions SET decided_ns = decided_ns + {3 * HOUR_NS} WHERE seq > 50",
    )
    groups = json.loads(said(capsys, "stats", "--json", "--by", "hour", "--state", state))["groups"]
    assert sum(group["parts"] for group in groups) == 100
    assert len(groups) >= 2
    (step,) = [step for group in groups for step in group["clock_steps"]]
    assert step["seconds"] == pytest.approx(3 * 3600, abs=1)


def test_a_histogram_is_right_to_half_a_per_cent() -> None:
    histogram = Histogram()
    values = [1.0003**n for n in range(20_000)]
    for value in values:
        histogram.add(value)
    for share in (0.001, 0.5, 0.99, 0.999):
        assert histogram.quantile(share) == pytest.approx(values[int(share * 20_000) - 1], rel=0.0055)
    assert histogram.quantile(1.0) <= histogram.largest == values[-1]


def test_export_writes_all_columns_as_csv(state: Path, tmp_path: Path, capsys: Out) -> None:
    kept = picture(state, "100000-run-1-00000100-FAIL-score.png")
    out = tmp_path / "out.csv"
    assert "100 decisions" in said(capsys, "export", "--csv", out, "--state", state)
    with out.open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [int(row["seq"]) for row in table] == list(range(1, 101))
    last = table[-1]
    assert (last["verdict"], last["score"], last["flags"], last["part_id"]) == ("FAIL", "4.1", "degraded", "1100")
    assert (last["latency_infer_ms"], last["latency_grab_ms"]) == ("100.0", "")
    assert (last["source"], last["picture"]) == ("the last, with a comma", str(kept))
    assert (
        int(datetime.fromisoformat(last["decided_utc"].replace("Z", "+00:00")).timestamp())
        == int(last["decided_ns"]) // 10**9
    )


def test_export_writes_the_same_as_parquet(state: Path, tmp_path: Path, capsys: Out) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    said(capsys, "export", "--parquet", tmp_path / "out.parquet", "--state", state, "--verdict", "FAIL", "INVALID")
    table = parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert len(table) == 32
    assert table[-1]["score"] == 4.1
    assert table[-2]["score"] is None
    assert table[-1]["decided_ns"] > 10**18


def test_without_pyarrow_the_extra_is_named(
    state: Path, tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["export", "--parquet", str(tmp_path / "x.parquet"), "--state", str(state)]) == 2
    assert "pip install 'sad-inspection[parquet]'" in capsys.readouterr().err


def test_an_export_that_fails_leaves_the_old_file_and_nothing_else(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "exports" / "out.csv"
    out.parent.mkdir()
    out.write_text("old")

    def refuse(*given: Any, **words: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("csv.writer", refuse)
    assert main(["export", "--csv", str(out), "--state", str(state)]) == 2
    assert out.read_text() == "old"
    assert list(out.parent.iterdir()) == [out]


def test_check_finds_a_whole_journal_in_order(state: Path, capsys: Out) -> None:
    picture(state, "100000-run-1-00000100-FAIL-score.png")
    assert said(capsys, "check", "--pictures", "--state", state).splitlines()[-1] == "in order"


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ("hole", "hole: run run-1: 40 to 42"),
        ("first hole", "hole: run run-2: 1"),
        ("picture", "picture without a row"),
        ("unreadable", "picture cannot be read"),
        ("overlay", "left by a kill"),
        ("tmp", "left by a kill"),
        ("damage", "damaged: "),
    ],
)
def test_check_finds_what_is_wrong(state: Path, capsys: Out, spoil: str, says: str) -> None:
    path = state / "line1" / "journal.sqlite"
    if spoil == "hole":
        redate(path, "DELETE FROM decisions WHERE seq BETWEEN 40 AND 42")
    elif spoil == "first hole":
        recorded(state, [a_decision(2, "run-2")])
    elif spoil == "picture":
        picture(state, "100000-run-1-00000101-FAIL-score.png")
    elif spoil == "unreadable":
        kept = picture(state, "100000-run-1-00000100-FAIL-score.png")
        kept.write_bytes(kept.read_bytes()[:-40])
    elif spoil == "overlay":
        picture(state, "100000-run-1-00000100-FAIL-score.jpg")
    elif spoil == "tmp":
        half = picture(state, ".100000-run-1-00000100-FAIL-score.png.tmp")
        os.utime(half, (time.time() - 600,) * 2)
    elif spoil == "damage":
        data = path.read_bytes()
        path.write_bytes(data[:20_000] + b"\x5a" * 8192 + data[28_192:])
    assert main(["check", "--pictures", "--state", str(state)]) in (1, 2)
    heard = capsys.readouterr()
    assert says in heard.out + heard.err
    assert "Traceback" not in heard.err


def test_rows_whose_picture_is_gone_are_told_and_are_no_damage(state: Path, capsys: Out) -> None:
    picture(state, "100000-run-1-00000095-FAIL-score.png")
    redate(
        state / "line1" / "journal.sqlite", f"UPDATE decisions SET decided_ns = decided_ns - {HOUR_NS} WHERE seq < 99"
    )
    told = json.loads(said(capsys, "check", "--json", "--state", state))
    assert (told["in_order"], told["without_picture"]) == (True, 16)


def test_a_live_station_is_never_held_up_by_readers(tmp_path: Path, capsys: Out) -> None:
    path = recorded(tmp_path, some(5000))
    waits: list[float] = []
    refused, over = [], threading.Event()

    def work() -> None:
        with Journal(path, JournalConfig(wait_ms=1000), Happenings("line1", "run-2")) as journal:
            seq = 0
            while not over.is_set():
                seq += 1
                begin = time.perf_counter()
                if not journal.record(a_decision(seq, "run-2")):
                    refused.append(seq)
                waits.append(time.perf_counter() - begin)

    writer = threading.Thread(target=work)
    writer.start()
    slow = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    try:
        slow.execute("BEGIN")
        slow.execute("SELECT count(*) FROM decisions").fetchone()  # somebody's own tool, which reads on for seconds
        while len(waits) <= 100:  # as often as it takes: readers that are done soon leave little to be held up by
            for words in (["show", "--limit", "0"], ["stats"], ["check"], ["export", "--csv", str(tmp_path / "x.csv")]):
                assert main([*words, "--state", str(tmp_path)]) == 0
            assert writer.is_alive()
    finally:
        over.set()
        writer.join()
        slow.close()
    assert refused == []
    assert sorted(waits)[len(waits) // 2] < 0.02


def test_the_station_is_the_only_one_there_or_has_to_be_named(state: Path, capsys: Out) -> None:
    recorded(state, some(3), "line2")
    assert main(["show", "--state", str(state)]) == 2
    assert "which of line1, line2?" in capsys.readouterr().err
    assert "3" in said(capsys, "show", "--state", state, "--station", "line2", "--limit", 1)


def test_a_journal_on_a_read_only_disk_can_be_read(state: Path, tmp_path: Path) -> None:
    path = state / "line1" / "journal.sqlite"
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        with reading(path) as journal:
            assert len(list(rows(journal, Wanted()))) == 100
    finally:
        path.parent.chmod(0o755)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["show", "--state", "/nowhere"], "no station has a journal there"),
        (["show", "--station", "line9"], "no journal there"),
        (["show", "--since", "1h", "--until", "2h"], "nothing lies between"),
        (["rerun", "--bundle", "none.sad"], "no kept picture fits"),
        (["export", "--csv", "{state}"], "is a folder"),
        (["export", "--csv", "/proc/none/x.csv"], "cannot be written"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_one_clear_line(state: Path, capsys: Out, words: list[str], says: str) -> None:
    words = [word.format(state=state) for word in words]
    assert main(words if "--state" in words else [*words, "--state", str(state)]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "yesterday", "2h2h", "-5m", "2026-13-01", "99999999999d", "9" * 30 + "h", "nan"])
def test_a_time_that_is_none_is_refused(text: str, capsys: Out) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["show", f"--since={text}"])
    assert ended.value.code == 2
    assert "is no time; write 2h" in capsys.readouterr().err


def test_times_are_ago_or_local_or_in_a_zone() -> None:
    assert abs(moment_ns("2h") - (time.time_ns() - 2 * HOUR_NS)) < 10**9
    assert moment_ns("2026-05-04T06:00:00Z") == 1_777_874_400 * 10**9
    assert moment_ns("2026-05-04") == int(datetime(2026, 5, 4).timestamp()) * 10**9


@pytest.mark.parametrize("data", [b"", b"rubbish" * 1000, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_file_that_is_no_journal_is_refused(tmp_path: Path, capsys: Out, data: bytes) -> None:
    path = tmp_path / "line1" / "journal.sqlite"
    path.parent.mkdir()
    path.write_bytes(data)
    for command in (["show"], ["stats"], ["check"], ["export", "--csv", str(tmp_path / "x.csv")]):
        assert main([*command, "--state", str(tmp_path)]) == 2
        assert "journal" in capsys.readouterr().err
    assert not (tmp_path / "x.csv").exists()


def test_rows_with_a_message_that_cannot_be_read_are_shown_all_the_same(
    state: Path, tmp_path: Path, capsys: Out
) -> None:
    redate(state / "line1" / "journal.sqlite", "UPDATE decisions SET message = x'c1' WHERE seq = 100")
    assert "100  FAIL" in said(capsys, "show", "--state", state)
    said(capsys, "stats", "--state", state)
    said(capsys, "export", "--csv", tmp_path / "x.csv", "--state", state)


@pytest.mark.parametrize("flag", ["--part-id", "--trigger-id", "--recipe", "--limit"])
@pytest.mark.parametrize("number", ["9" * 23, "-1", "٣", "x"])
def test_a_number_that_is_none_is_wrong_usage(flag: str, number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["show", f"{flag}={number}"])
    assert ended.value.code == 2
    assert "is not a number" in capsys.readouterr().err
