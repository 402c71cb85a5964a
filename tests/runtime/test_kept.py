"""Kept pictures: under their limits, whole or not at all, and never in the way of a verdict."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bundles import good_picture
from feeds import a_decision
from sad_runtime.decide import Thresholds
from sad_runtime.inspector import Inspection
from sad_runtime.journal.kept import QUEUE, KeptPictures
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


def test_what_is_too_old_goes_with_its_folder(tmp_path: Path) -> None:
    old = tmp_path / "2020-01-01" / "000000-old-FAIL.png"
    old.parent.mkdir()
    old.write_bytes(b"old")
    os.utime(old, (1_577_836_800, 1_577_836_800))
    keep(tmp_path, PicturesConfig(max_days=30), 1)
    assert not old.parent.exists()
    assert len(files(tmp_path)) == 2


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
