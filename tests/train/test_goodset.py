"""Good pictures at model size: in memory, or in a file that nobody has to clear away."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from folders import write_goods
from sad_runtime.errors import DataError
from sad_runtime.manifest import InputSpec
from sad_train.data import goodset
from sad_train.data.goodset import loaded

SPEC = InputSpec(height=32, width=32, channels=3)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    write_goods(tmp_path / "good", 5)
    return sorted((tmp_path / "good").iterdir())


def test_a_large_set_lies_in_a_file_that_shows_the_same_and_leaves_nothing(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory = loaded(paths, SPEC, spill=tmp_path)
    assert not isinstance(in_memory, np.memmap)
    monkeypatch.setattr(goodset, "IN_MEMORY_BYTES", 1000)
    before = set(tmp_path.iterdir())
    spilt = loaded(paths, SPEC, spill=tmp_path)
    assert isinstance(spilt, np.memmap)
    assert np.array_equal(spilt, in_memory)
    assert set(tmp_path.iterdir()) == before
    assert not isinstance(loaded(paths, SPEC), np.memmap)


def test_a_disk_without_room_is_named_before_anything_is_read(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(goodset, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(goodset.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2000})())
    with pytest.raises(DataError, match=r"5 pictures of 32x32 need 0\.0 GB there .* a smaller --size"):
        loaded(paths, SPEC, spill=tmp_path)


def test_a_picture_that_cannot_be_read_is_named(paths: list[Path]) -> None:
    paths[3].write_bytes(b"no picture")
    with pytest.raises(DataError, match=paths[3].name):
        loaded(paths, SPEC)
