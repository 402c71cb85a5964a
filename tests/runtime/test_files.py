"""A place that cannot be written is named, with the way to mend it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from sad_runtime.errors import UsageError
from sad_runtime.files import made_folder, reason_of, write_atomically


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(UsageError, match=r"taken: cannot be written \(File exists\)\. A file is in the way"):
        made_folder(tmp_path / "taken")
    with pytest.raises(UsageError, match=r"x: cannot be written \(Not a directory\)\. A file stands where a folder"):
        write_atomically(tmp_path / "taken" / "deep" / "x", b"")


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "keep.txt").touch()
    assert made_folder(tmp_path) == tmp_path
    assert made_folder(tmp_path / "a" / "b").is_dir()


def test_a_full_disk_asks_for_room_and_an_odd_error_speaks_for_itself() -> None:
    assert reason_of(OSError(errno.ENOSPC, "No space left on device")).endswith("then give the same command again")
    assert reason_of(OSError("strange")) == "strange"
