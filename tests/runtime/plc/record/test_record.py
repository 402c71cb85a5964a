"""The gateway's record on real files: whole after a kill, going on without a disk, and telling where it has holes."""

from __future__ import annotations

import logging
import math
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import sad_runtime.plc.record.record as record_module
from feeds import wait_until
from sad_runtime.plc.record.file import delete_oldest
from sad_runtime.plc.record.record import BATCH, Entry, Record
from sad_runtime.plc.record.rows import Row, Wanted, reading, rows
from sad_runtime.plc.status import Result
from sad_runtime.verdict import Reason, Verdict

WRITER = """
import sys
from pathlib import Path
from sad_runtime.plc.record.record import Entry, Record
with Record(Path(sys.argv[1]), 10_000_000) as record:
    number = 0
    while True:
        number += 1
        record.put(Entry("trigger", "line1", f"{sys.argv[2]} {number}"))
        if number % 50 == 0:
            while record.written < number:
                pass
            print(number, flush=True)
"""
FULL_DISK = """
import resource, sys, time
from pathlib import Path
from sad_runtime.plc.record.record import Entry, Record
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
with Record(Path(sys.argv[1]), 10_000) as record:
    until_s = time.monotonic() + 20
    record.put(Entry("fault", "line1", "while there is room"))
    while not record.written and time.monotonic() < until_s:
        time.sleep(0.001)
    while not record.failing and time.monotonic() < until_s:
        record.put(Entry("fault", "line1", "x" * 5000))
        time.sleep(0.001)
    for _ in range(20):
        record.put(Entry("fault", "line1", "one more"))
    print(record.failing, threads_alive := record._thread.is_alive())
print(record.lost > 0)
"""


def a_result(seq: int = 1, **changes: Any) -> Result:
    values: dict[str, Any] = {
        "seq": seq,
        "verdict": Verdict.FAIL,
        "reason": Reason.SCORE,
        "part_id": 1000 + seq,
        "trigger_id": seq,
        "score": 4.5,
        "threshold": 4.0,
        "regions": ((1, 2, 3, 4, 0.5),),
        "feed_seq": seq,
    }
    return Result(**(values | changes))


def read(path: Path, **wanted: Any) -> list[Row]:
    with reading(path) as record:
        return list(rows(record, Wanted(**wanted)))


def aside(path: Path) -> list[str]:
    return [one.name for one in path.parent.iterdir() if ".damaged-" in one.name]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "line1" / "plc.sqlite"


def test_what_was_put_is_there_in_order_with_its_result_and_times(path: Path) -> None:
    with Record(path, 1000) as record:
        record.put(Entry("trigger", "line1", "part 1001", part_id=1001, trigger_id=1))
        record.put(Entry("result", "line1", "shown", a_result(), wall_ns=123, mono_ns=45))
        wait_until(lambda: record.written == 2, "writing")
        beside = read(path)
    assert read(path) == beside
    trigger, result = beside
    assert (trigger.kind, trigger.part_id, trigger.trigger_id, trigger.shown) == ("trigger", 1001, 1, None)
    assert (result.wall_ns, result.mono_ns, result.verdict, result.reason) == (123, 45, "FAIL", "score")
    assert (result.seq, result.part_id, result.trigger_id) == (1, 1001, 1)
    assert result.shown is not None
    assert (result.shown["score"], result.shown["verdict"], result.shown["regions"]) == (
        4.5,
        "FAIL",
        [[1, 2, 3, 4, 0.5]],
    )
    assert (record.written, record.lost, record.failing) == (2, 0, False)


def test_putting_takes_no_time_while_the_disk_hangs_and_what_waits_is_bounded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module, "MAX_WAITING", 300)
    monkeypatch.setattr(record_module, "SLOW_S", 0.05)
    with Record(path, 100_000) as record:
        record.put(Entry("result", "line1", "first"))
        wait_until(lambda: record.written == 1, "writing")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # the writer waits for this one, as for a disk
        began_s = time.monotonic()
        for number in range(2000):
            record.put(Entry("result", "line1", str(number)))
        assert time.monotonic() - began_s < 0.5
        wait_until(lambda: record.failing, "noticing")
        other.execute("ROLLBACK")
        other.close()
        wait_until(lambda: not record.failing and not record._waiting, "going on")
    found = [row.text for row in read(path)]
    kept = [text for text in found if text.isdigit()]
    assert kept[-1] == "1999", "the newest are kept"
    assert 2000 - BATCH - 300 <= record.lost <= 1700
    assert len(kept) + record.lost == 2000
    holes = [int(text.split()[5].strip(";")) for text in found if text.startswith("entries lost before this one:")]
    assert sum(holes) == record.lost


def test_what_no_file_can_hold_is_lost_alone_and_counted_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Record(path, 1000) as record:
        record.put(Entry("result", "line1", "too large", a_result(part_id=2**70)))
        record.put(Entry("result", "line1", "no number", a_result(score=math.nan)))
        record.put(Entry("plc", "line1", "half a character \ud83d"))
    assert record.lost == 1
    assert "kind result" in caplog.text
    hole, result, plc = read(path)
    assert hole.text.startswith("entries lost before this one: 1;")
    assert result.shown is not None
    assert result.shown["score"] is None
    assert plc.text == "half a character \\ud83d"


def test_old_entries_go_a_few_hundred_at_a_time(path: Path) -> None:
    with Record(path, 1000) as record:
        for number in range(5000):
            record.put(Entry("result", "line1", str(number)))
    found = [int(row.text) for row in read(path)]
    assert found[-1] == 4999
    assert 1000 <= len(found) <= 1000 + 2 * BATCH
    assert found == list(range(found[0], 5000))


def test_no_deletion_takes_more_than_it_may(path: Path) -> None:
    with Record(path, 100_000) as record:
        for number in range(3000):
            record.put(Entry("result", "line1", str(number)))
    connection = sqlite3.connect(path, isolation_level=None)
    assert [delete_oldest(connection, keep_rows=1000, most=900) for _ in range(4)] == [900, 900, 200, 0]
    connection.close()


def test_a_deletion_that_fails_has_nothing_written_twice(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*given: object, **named: object) -> int:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(record_module, "delete_oldest", refuse)
    with Record(path, 1000) as record:
        for number in range(2000):
            record.put(Entry("result", "line1", str(number)))
    assert [row.text for row in read(path)] == [str(number) for number in range(2000)]
    assert "disk I/O error" in caplog.text


@pytest.mark.parametrize("damage", [b"this is no database, however long it may be " * 100, b"\0" * 8192])
def test_a_damaged_record_is_set_aside_and_a_new_one_begun(
    path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(damage)
    with Record(path, 1000) as record:
        record.put(Entry("restart", "line1", "sad-plc was started"))
        wait_until(lambda: record.written == 1, "writing")
        assert not record.failing
    assert [row.text for row in read(path)] == ["sad-plc was started"]
    (kept,) = aside(path)
    assert (path.parent / kept).read_bytes() == damage
    assert kept in caplog.text


def test_damage_that_shows_while_it_runs_costs_no_entry(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_module, "RETRY_S", 0.01)
    with Record(path, 1000) as record:
        for _ in range(200):
            record.put(Entry("result", "line1", "x" * 500))
        wait_until(lambda: record.written == 200, "writing")
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * (path.stat().st_size - 4096))
        for number in range(20):
            record.put(Entry("result", "line1", str(number)))
        wait_until(lambda: record.written == 220, "beginning anew")
    assert [row.text for row in read(path)][-20:] == [str(number) for number in range(20)]
    assert len(aside(path)) >= 1
    assert record.lost == 0


def test_a_record_of_a_later_sad_is_kept_and_not_written_into(path: Path) -> None:
    with Record(path, 1000):
        pass
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with Record(path, 1000) as record:
        record.put(Entry("restart", "line1", "anew"))
    assert [row.text for row in read(path)] == ["anew"]
    assert len([name for name in aside(path) if not name.endswith(("-wal", "-shm"))]) == 1


def test_without_a_place_to_write_it_goes_on_and_tells_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module, "RETRY_S", 0.01)
    (tmp_path / "line1").write_text("a file where the folder should be")
    with Record(tmp_path / "line1" / "plc.sqlite", 1000) as record:
        for _ in range(30):
            record.put(Entry("result", "line1", "x"))
        wait_until(lambda: record.failing, "telling")
        time.sleep(0.1)
        told = [line for line in caplog.records if line.levelno >= logging.ERROR]
        assert len(told) == 1
        (tmp_path / "line1").unlink()
        wait_until(lambda: record.written == 30, "writing after all")
        assert not record.failing
    assert record.lost == 0


def test_what_never_found_a_disk_is_counted_at_the_end(tmp_path: Path) -> None:
    (tmp_path / "line1").write_text("a file where the folder should be")
    with Record(tmp_path / "line1" / "plc.sqlite", 1000) as record:
        for _ in range(600):
            record.put(Entry("result", "line1", "x"))
    record.put(Entry("result", "line1", "after the end"))
    assert (record.written, record.lost) == (0, 601)
    assert not [thread for thread in threading.enumerate() if "plc record" in thread.name]


def test_a_full_disk_stops_the_record_and_nothing_else(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["True", "True", "True"], done.stderr
    assert "takes no entries" in done.stderr
    assert "Traceback" not in done.stderr
    assert read(path)[0].text == "while there is room"


@pytest.mark.slow
def test_killed_at_any_moment_it_is_whole_and_has_all_that_was_committed(path: Path) -> None:
    for number in range(10):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(number)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(0.03 * number)
        child.kill()
        told = [int(line) for line in [first, *child.stdout] if line.endswith("\n")]
        child.wait()
        child.stdout.close()
        found = [row.text for row in read(path) if row.text.startswith(f"{number} ")]
        assert found == [f"{number} {entry}" for entry in range(1, len(found) + 1)]
        assert len(found) >= told[-1] > 0
    assert aside(path) == []
