"""Data sets rendered from a demo URI."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from sad_runtime.errors import DataError
from sad_train.data.dataset import read_dataset
from sad_train.data.rendered import rendered_folder, rendered_set


def test_a_rendered_set_is_made_once_and_reused(tmp_path: Path) -> None:
    uri = "demo:washer?n=2&seed=3&size=64&good=1&defect=2"
    part, folder = rendered_folder(uri, tmp_path)
    stamp = folder.stat().st_mtime_ns
    assert part == "washer"
    assert rendered_folder(uri, tmp_path) == (part, folder)
    assert folder.stat().st_mtime_ns == stamp
    assert rendered_folder(uri.replace("seed=3", "seed=4"), tmp_path)[1] != folder
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_demo_uri_is_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda _name: str(tmp_path))
    dataset = read_dataset("demo:washer?n=8&size=64&good=2&defect=3")
    assert dataset.name == "washer"
    assert len(dataset.train_good) == 8
    assert sum(sample.is_good for sample in dataset.test) == 2
    assert sum(sample.mask is not None for sample in dataset.test) == 3


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("demo:washer?pictures=5", "unknown key 'pictures'; there are defect, defect_px, good, n, seed, size"),
        ("demo:washer?n=many", "n takes a whole number, not 'many'"),
        ("demo:washer?n=-3", "whole number"),
        ("demo:", "expected demo:PART"),
        ("demo:../etc", "expected demo:PART"),
    ],
)
def test_a_wrong_demo_uri_is_refused_by_name(uri: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rendered_set(uri)


def test_a_part_that_there_is_not_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="teapot"):
        rendered_folder("demo:teapot?n=1&size=64", tmp_path)
    assert list(tmp_path.iterdir()) == []
