"""What `--check` finds before the line does, with no device opened and nothing written."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bundles import good_picture
from sad_runtime.errors import BundleError, MissingExtra, UsageError
from sad_runtime.pictures import encode_png
from sad_runtime.station.checks import check_all, check_state
from sad_runtime.station.selection import selected
from sad_runtime.station.state_folder import StateFolder
from stations import station_config


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "0.png").write_bytes(encode_png(good_picture()))
    return folder


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def checked(tmp_path: Path, bundle: Path, **changes: Any) -> list[str]:
    config = station_config(**{"state": str(tmp_path / "state"), "camera": {"uri": "93"}, **changes})
    return check_all(selected(config, bundle if "recipes" not in changes else None))


def test_a_station_in_order_passes_and_nothing_is_written(tmp_path: Path, tiny_bundle: Path, pictures: Path) -> None:
    assert (
        checked(tmp_path, tiny_bundle, camera={"uri": f"folder:{pictures}"}, metrics={"address": "127.0.0.1:0"}) == []
    )
    assert not (tmp_path / "state").exists()


def test_every_recipes_bundle_is_read_not_only_the_active_ones(tmp_path: Path, tiny_bundle: Path) -> None:
    (tmp_path / "cut.sad").write_bytes(tiny_bundle.read_bytes()[:3000])
    recipes = {1: {"bundle": str(tiny_bundle)}, 2: {"bundle": str(tmp_path / "cut.sad")}}
    with pytest.raises(BundleError, match="cut short"):
        checked(tmp_path, tiny_bundle, recipes=recipes, active_recipe=1)


ROI = {"x": 40, "y": 0, "width": 32, "height": 32}


@pytest.mark.parametrize("active", [1, 2])
def test_a_roi_that_leaves_the_picture_is_found_in_any_recipe(
    tmp_path: Path, tiny_bundle: Path, pictures: Path, active: int
) -> None:
    recipes = {1: {"bundle": str(tiny_bundle)}, 2: {"bundle": str(tiny_bundle), "roi": ROI}}
    given: dict[str, Any] = {"recipes": recipes, "active_recipe": active}
    with pytest.raises(UsageError, match=r"recipe 2 .*leaves the picture, which is 64x64"):
        checked(tmp_path, tiny_bundle, camera={"uri": f"folder:{pictures}"}, **given)
    size = {"width_px": 64, "height_px": 64}
    with pytest.raises(UsageError, match=r"recipe 2 with camera 93: .*leaves the picture"):
        checked(tmp_path, tiny_bundle, camera={"uri": "93", "settings": size}, **given)
    assert checked(tmp_path, tiny_bundle, **given) == [], "the size of a camera that is not open is not known"


@pytest.mark.parametrize("key", ["decisions", "heatmaps", "snapshot", "metrics"])
def test_a_port_in_use_is_named_with_its_key(tmp_path: Path, tiny_bundle: Path, taken: int, key: str) -> None:
    wanted: dict[str, Any] = {"feed": {key: [f"tcp://127.0.0.1:{taken}"]}}
    if key == "metrics":
        wanted = {"metrics": {"address": f"127.0.0.1:{taken}"}}
    with pytest.raises(UsageError, match=rf"{key}.*127\.0\.0\.1:{taken}.*in use"):
        checked(tmp_path, tiny_bundle, **wanted)


def test_a_station_that_runs_may_be_checked_beside_itself(tmp_path: Path, tiny_bundle: Path, taken: int) -> None:
    folder = StateFolder(tmp_path / "state", "line1")
    folder.make()
    folder.lock.write_text("4711\n")
    with folder.lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        said = checked(tmp_path, tiny_bundle, feed={"decisions": [f"tcp://127.0.0.1:{taken}"]})
    assert len(said) == 1
    assert "running now (process 4711)" in said[0]


def test_a_port_named_twice_in_one_station_is_refused(tmp_path: Path, tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match=r"feed\.heatmaps\.0.*feed\.snapshot\.0"):
        checked(tmp_path, tiny_bundle, feed={"heatmaps": "tcp://127.0.0.1:4000", "snapshot": "tcp://127.0.0.1:4000"})


def test_a_file_where_the_state_folder_should_be_is_named(tmp_path: Path, tiny_bundle: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(UsageError, match="Not a directory"):
        checked(tmp_path, tiny_bundle)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_journal_of_another_user_is_named(tmp_path: Path, tiny_bundle: Path) -> None:
    folder = StateFolder(tmp_path / "state", "line1")
    folder.make()
    folder.journal.touch(mode=0o400)
    with pytest.raises(UsageError, match=r"journal\.sqlite: cannot be written"):
        checked(tmp_path, tiny_bundle)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is for who is not root; what the system says of rights is played here."""
    monkeypatch.setattr("sad_runtime.station.checks.os.access", lambda path, mode: False)
    with pytest.raises(UsageError, match=r"cannot be written\. Mend its rights"):
        check_state(StateFolder(tmp_path / "state", "line1"))


def test_metrics_without_the_library_are_found_at_once(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    monkeypatch.setattr("sad_runtime.station.checks.importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"\[metrics\]"):
        checked(tmp_path, tiny_bundle, metrics={"address": "127.0.0.1:0"})
