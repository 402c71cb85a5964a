"""Kept pictures: under their limits, whole or not at all, and never in the way of a verdict."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bundles import good_picture
from feeds import a_decision
from sad_runtime.decide import Thresholds
from sad_runtime.inspector import Inspection
from sad_runtime.journal.ages import AgeLimit
from sad_runtime.journal.kept import MAX_WAITING_BYTES, QUEUE, KeptPictures, sampled
from sad_runtime.journal.picture_names import CAMERA, OVERLAY, day_of
from sad_runtime.journal.picture_stock import PictureStock
from sad_runtime.pictures import read_picture
from sad_runtime.station.config import PicturesConfig
from sad_runtime.station.happenings import Happenings
from sad_runtime.verdict import Reason, Verdict

CUTS = Thresholds(4.0, 4.0, 0.5)
FAIL = a_decision(1, verdict=Verdict.FAIL, reason=Reason.SCORE)


def inspection() -> Inspection:
    heatmap = np.zeros((64, 64), np.float32)
    embedding = np.zeros(3, np.float32)
    return Inspection(Verdict.FAIL, Reason.SCORE, 5.0, 0.1, False, [], heatmap, embedding, good_picture())


def keep(folder: Path, config: PicturesConfig, count: int, told: Happenings | None = None) -> KeptPictures:
    with KeptPictures(folder, config, told or Happenings("line1", "run-1")) as kept:
        for seq in range(1, count + 1):
            kept.keep(FAIL.model_copy(update={"seq": seq}), None, inspection(), CUTS)
            while kept._queue.qsize() > QUEUE // 2:
                time.sleep(0.005)
    return kept


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_each_part_has_its_picture_and_its_heatmap(tmp_path: Path) -> None:
    keep(tmp_path, PicturesConfig(), 3)
    assert len(files(tmp_path)) == 6
    assert {path.suffix for path in files(tmp_path)} == {".png", ".jpg"}
    assert files(tmp_path)[0].parent.name == time.strftime("%Y-%m-%d", time.gmtime())


def test_the_oldest_go_first_when_there_are_too_many(tmp_path: Path) -> None:
    keep(tmp_path, PicturesConfig(max_mb=1), 120)
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 2**20 + 20_000
    kept = sorted({int(path.name.split("-")[3]) for path in files(tmp_path)})
    assert kept[-1] == 120
    assert kept[0] > 20


def put(folder: Path, days_ago: float, *stems: str) -> Path:
    """A day's folder with pictures of 1000 bytes and their overlays."""
    day = folder / day_of(time.time() - days_ago * 86400)
    day.mkdir(exist_ok=True)
    for stem in stems:
        for end in (CAMERA, OVERLAY):
            (day / f"{stem}{end}").write_bytes(b"x" * 1000)
    return day


def test_what_is_too_old_goes_with_its_folder(tmp_path: Path) -> None:
    yesterday = put(tmp_path, 1, "100000-run-0-00000001-FAIL-score")
    old = put(tmp_path, 40, "100000-run-0-00000001-FAIL-score")
    keep(tmp_path, PicturesConfig(max_days=30), 1)
    assert not old.exists()
    assert len(files(yesterday)) == 2
    assert len(files(tmp_path)) == 4


@pytest.mark.parametrize("days_ahead", [-56 * 365, 3650], ids=["1970", "ten years ahead"])
def test_a_clock_that_leaps_deletes_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days_ahead: int
) -> None:
    put(tmp_path, 0, "100000-run-0-00000001-FAIL-score")
    put(tmp_path, 1, "100000-run-0-00000001-FAIL-score")
    now = time.time_ns() + days_ahead * 86400 * 10**9
    monkeypatch.setattr(time, "time", lambda: now / 1e9)
    kept = KeptPictures(tmp_path, PicturesConfig(max_days=30), Happenings("line1", "run-1"))
    kept._ages = AgeLimit(30, wall_ns=lambda: now)
    with kept:
        kept.keep(FAIL, None, inspection(), CUTS)
    monkeypatch.undo()
    keep(tmp_path, PicturesConfig(max_days=30), 2)
    assert len(files(tmp_path)) == 4 + 2 + 4


def test_pass_goes_before_invalid_and_invalid_before_fail_of_each_the_oldest(tmp_path: Path) -> None:
    put(tmp_path, 3, "100000-run-0-00000001-FAIL-score", "100001-run-0-00000002-INVALID-late")
    put(tmp_path, 2, "100000-run-0-00000003-PASS-ok", "100001-run-0-00000004-FAIL-score")
    put(tmp_path, 1, "100000-run-0-00000005-INVALID-late", "100001-run-0-00000006-PASS-ok")
    stock = PictureStock(tmp_path)
    stock.take()
    assert stock.bytes == 12_000
    gone = []
    before = set(files(tmp_path))
    while stock.remove_first():
        left = set(files(tmp_path))
        gone += [int(path.name.split("-")[3]) for path in sorted(before - left) if path.suffix == ".png"]
        assert len(left) % 2 == 0
        before = left
    assert gone == [3, 6, 2, 5, 1, 4]
    assert stock.bytes == 0
    assert list(tmp_path.iterdir()) == []


def test_pictures_that_somebody_deleted_or_left_there_confuse_nobody(tmp_path: Path) -> None:
    day = put(tmp_path, 1, *(f"100000-run-0-{seq:08}-FAIL-score" for seq in range(20)))
    stock = PictureStock(tmp_path)
    (day / "note.txt").write_text("do not touch")
    stock.take()
    for path in day.glob("*-0000000?-*"):
        path.unlink()
    while stock.remove_first():
        pass
    assert files(tmp_path) == []


def test_the_start_sweeps_what_a_kill_left(tmp_path: Path) -> None:
    day = put(tmp_path, 0, "100000-run-0-00000001-FAIL-score", "100000-run-0-00000002-FAIL-score")
    (day / ".100000-run-0-00000003-FAIL-score.png.tmp").write_bytes(b"half")
    (day / "100000-run-0-00000001-FAIL-score.png").unlink()
    (day / "100000-run-0-00000002-FAIL-score.jpg").unlink()
    keep(tmp_path, PicturesConfig(), 0)
    assert [path.name for path in files(tmp_path)] == ["100000-run-0-00000002-FAIL-score.png"]


def test_the_cameras_whole_picture_is_kept_bit_for_bit(tmp_path: Path) -> None:
    whole = np.random.default_rng(1).integers(0, 256, (300, 400, 3)).astype(np.uint8)
    with KeptPictures(tmp_path, PicturesConfig(), Happenings("line1", "run-1")) as kept:
        given = whole.copy()
        kept.keep(FAIL, given, inspection(), CUTS)
        given[:] = 0  # the camera fills its buffer again
    picture, shown = sorted(files(tmp_path), key=lambda path: path.suffix, reverse=True)
    assert np.array_equal(read_picture(picture), whole)
    assert read_picture(shown).shape == (64, 64, 3)


def test_the_models_picture_is_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    whole = np.zeros((300, 400, 3), np.uint8)
    with KeptPictures(tmp_path, PicturesConfig(store="model"), Happenings("line1", "run-1")) as kept:
        kept.keep(FAIL, whole, inspection(), CUTS)
        kept.keep(FAIL.model_copy(update={"seq": 2}), whole, None, CUTS)
    model, camera = sorted(path for path in files(tmp_path) if path.suffix == ".png")
    assert model.name.endswith("00000001-FAIL-score.model.png")
    assert np.array_equal(read_picture(model), good_picture())
    assert camera.name.endswith("00000002-FAIL-score.png")


def test_a_share_of_pass_is_kept_the_same_ones_each_time(tmp_path: Path) -> None:
    chosen = [seq for seq in range(1, 2001) if sampled("run-1", seq, 0.05)]
    assert 70 <= len(chosen) <= 130
    assert chosen == [seq for seq in range(1, 2001) if sampled("run-1", seq, 0.05)]
    assert len({seq % 8 for seq in chosen}) == 8
    assert all(sampled("run-1", seq, 1.0) and not sampled("run-1", seq, 0.0) for seq in range(100))
    with KeptPictures(tmp_path, PicturesConfig(sample_pass=0.05), Happenings("line1", "run-1")) as kept:
        for seq in range(1, chosen[2] + 1):
            kept.keep(a_decision(seq), good_picture(), None, CUTS)
    assert [int(path.name.split("-")[3]) for path in files(tmp_path)] == chosen[:3]


def test_pictures_that_wait_take_no_more_memory_than_agreed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(KeptPictures, "_store", lambda *_: gate.wait(5))
    large = np.zeros((2048, 2448, 3), np.uint8)
    with KeptPictures(tmp_path, PicturesConfig(), Happenings("line1", "run-1")) as kept:
        for _ in range(12):
            kept.keep(FAIL, large, None, CUTS)
        assert kept._waiting_bytes <= MAX_WAITING_BYTES
        assert kept.lost == 12 - MAX_WAITING_BYTES // large.nbytes
        gate.set()
    assert kept._waiting_bytes == 0


def test_only_the_verdicts_asked_for_are_kept_and_zero_megabytes_keep_none(tmp_path: Path) -> None:
    keep(tmp_path, PicturesConfig(keep=[Verdict.INVALID]), 2)
    keep(tmp_path, PicturesConfig(max_mb=0), 2)
    assert files(tmp_path) == []


def test_a_part_without_an_inspection_is_kept_as_the_camera_gave_it(tmp_path: Path) -> None:
    decision = a_decision(1, verdict=Verdict.INVALID, reason=Reason.LATE)
    with KeptPictures(tmp_path, PicturesConfig(), Happenings("line1", "run-1")) as kept:
        kept.keep(decision, good_picture(), None, CUTS)
        kept.keep(decision, None, None, CUTS)
    (one,) = files(tmp_path)
    assert one.name.endswith("INVALID-late.png")


def test_a_slow_disk_loses_pictures_and_never_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(KeptPictures, "_store", lambda *_: gate.wait(5))
    told = Happenings("line1", "run-1")
    with KeptPictures(tmp_path, PicturesConfig(), told) as kept:
        begin = time.perf_counter()
        for _ in range(QUEUE + 20):
            kept.keep(FAIL, None, inspection(), CUTS)
        assert time.perf_counter() - begin < 0.2
        assert kept.lost >= 19
        gate.set()
    assert [event.code for event in told._early] == ["pictures_lost"]


def test_a_nearly_full_disk_keeps_no_pictures(tmp_path: Path) -> None:
    told = Happenings("line1", "run-1")
    kept = keep(tmp_path, PicturesConfig(leave_free_mb=10**9), 3, told)
    assert (files(tmp_path), kept.lost) == ([], 3)
    assert "free" in told._early[0].text


def test_a_folder_that_somebody_made_among_the_pictures_is_left_alone_and_the_limits_hold(tmp_path: Path) -> None:
    keep(tmp_path, PicturesConfig(), 4)
    day = files(tmp_path)[0].parent
    own = day / "for-the-boss"
    own.mkdir()
    (own / "best.png").write_bytes(b"x" * 5000)
    stock = PictureStock(tmp_path)
    stock.take()
    before = stock.bytes
    assert stock.remove_first()
    assert stock.bytes < before
    while stock.remove_first():
        pass
    stock.remove_day(day)
    assert files(tmp_path) == [own / "best.png"]
    assert stock.bytes == 0
