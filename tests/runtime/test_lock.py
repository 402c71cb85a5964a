"""One process a station, and a state folder that can be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sad_runtime.errors import AlreadyRunning, UsageError
from sad_runtime.station.lock import StationLock
from sad_runtime.station.state_folder import StateFolder, default_state_root

HOLD = """
import sys, time
from pathlib import Path
from sad_runtime.station.lock import StationLock
with StationLock(Path(sys.argv[1]), "line1"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(AlreadyRunning, match=rf"line1 is already running \(process {holder.pid}\)"):
        StationLock(tmp_path / "lock", "line1").__enter__()
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with StationLock(tmp_path / "lock", "line1"):  # the kernel let go of it
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_two_stations_of_a_box_do_not_meet(tmp_path: Path) -> None:
    with StationLock(tmp_path / "a", "line1"), StationLock(tmp_path / "b", "line2"):
        assert (tmp_path / "b").exists()


def test_the_folder_of_a_station_is_made_with_all_it_needs(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state", "line1")
    folder.make()
    folder.make()
    assert folder.pictures.is_dir()
    assert folder.journal == tmp_path / "state/line1/journal.sqlite"


def test_a_folder_that_cannot_be_written_is_named_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"cannot be written .*--state DIR"):
        StateFolder(tmp_path / "file", "line1").make()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else_is_named_too(tmp_path: Path) -> None:
    (tmp_path / "line1/pictures").mkdir(parents=True)
    (tmp_path / "line1").chmod(0o500)
    with pytest.raises(UsageError, match="not this user's"):
        StateFolder(tmp_path, "line1").make()


def test_without_a_word_the_state_lies_in_the_users_own_folder() -> None:
    assert default_state_root().name == "sad"
