"""`--dry-run`: real camera code and model, verdicts as the station would give them, and no trace of a station."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from bundles import bad_picture, good_picture
from sad_runtime.errors import CameraError
from sad_runtime.messages import Decision
from sad_runtime.pictures import encode_png
from sad_runtime.station.dry_run import dry_run
from sad_runtime.station.selection import Selection, selected
from sad_runtime.verdict import Reason, Verdict
from stations import station_config


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(6):
        picture = bad_picture(number) if number == 2 else good_picture(number)
        (folder / f"{number}.png").write_bytes(encode_png(picture))
    (folder / "6.png").write_bytes(b"not a picture")
    (folder / "7.png").write_bytes(encode_png(np.zeros_like(good_picture())))
    return folder


def choice(tmp_path: Path, bundle: Path, camera: str, deadline_ms: int = 1000) -> Selection:
    config = station_config(
        state=str(tmp_path / "state"), camera={"uri": camera}, trigger={"deadline_ms": deadline_ms, "mode": "software"}
    )
    return selected(config, bundle)


def test_every_picture_is_judged_shown_and_counted_and_nothing_is_left(
    tmp_path: Path, tiny_bundle: Path, pictures: Path
) -> None:
    shown: list[Decision] = []
    tally = dry_run(choice(tmp_path, tiny_bundle, f"folder:{pictures}"), threading.Event(), 0, shown.append)
    assert [decision.verdict for decision in shown[:4]] == [Verdict.PASS, Verdict.PASS, Verdict.FAIL, Verdict.PASS]
    assert (shown[6].verdict, shown[6].reason) == (Verdict.INVALID, Reason.INCOMPLETE)
    assert (shown[7].verdict, shown[7].reason) == (Verdict.INVALID, Reason.BLACK), "the scene guard looks here too"
    assert [decision.seq for decision in shown] == list(range(1, 9))
    assert tally.parts == 8
    assert {"wait", "grab", "pre", "infer", "post", "publish"} <= set(shown[0].latency_ms)
    assert not (tmp_path / "state").exists()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("journal", "feed"))]


def test_it_ends_after_so_many_parts_or_when_asked_to(tmp_path: Path, tiny_bundle: Path, pictures: Path) -> None:
    camera = f"folder:{pictures}?loop=1"
    assert dry_run(choice(tmp_path, tiny_bundle, camera), threading.Event(), 20, _ignore).parts == 20
    stop = threading.Event()
    stop.set()
    assert dry_run(choice(tmp_path, tiny_bundle, camera), stop, 20, _ignore).parts == 0


def test_a_camera_that_gives_no_picture_is_an_error(
    tmp_path: Path, tiny_bundle: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sad_runtime.station.dry_run.SILENT_S", 0.3)
    selection = choice(tmp_path, tiny_bundle, f"folder:{pictures}?fps=0.1&loop=1")
    with pytest.raises(CameraError, match="no picture"):
        dry_run(selection, threading.Event(), 5, _ignore)


def _ignore(decision: Decision) -> None:
    """Only the tally is looked at."""
