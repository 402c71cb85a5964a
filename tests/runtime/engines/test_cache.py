"""Engines are kept whole or not at all, for this box only, and within a limit."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path

import pytest

from sad_runtime.engines import key as keys_of
from sad_runtime.engines.cache import EngineCache, check_only_ours_may_write
from sad_runtime.engines.gpu import NO_GPU, Gpu
from sad_runtime.engines.key import EngineKey, key_of
from sad_runtime.engines.settings import EngineSettings
from sad_runtime.errors import UsageError

ORIN = Gpu("Orin", "8.7", 12060, integrated=True)
SETTINGS = EngineSettings()
ENGINE = bytes(range(256)) * 4000


def key(model: bytes = b"model", gpu: Gpu = ORIN, version: str = "10.3.0") -> EngineKey:
    return key_of("tensorrt", model, version, gpu, SETTINGS)


def only_file(cache: EngineCache) -> Path:
    (path,) = cache.folder.glob("*.engine")
    return path


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines", max_mb=3)


@pytest.fixture
def unwritable(tmp_path: Path) -> Path:
    """A folder that is there and takes nothing, for root neither."""
    folder = Path("/sys/kernel") if os.geteuid() == 0 else tmp_path / "shut"
    if os.geteuid() != 0:
        folder.mkdir(mode=0o500)
    if not folder.is_dir():
        pytest.skip("no folder here that root cannot write")
    return folder


def test_what_was_written_is_read_back(cache: EngineCache) -> None:
    assert cache.read(key()) is None
    cache.write(key(), ENGINE, 1.0)
    assert cache.read(key()) == ENGINE
    cache.forget(key())
    assert cache.read(key()) is None
    cache.forget(key())


def test_everything_that_changes_an_engine_changes_its_key() -> None:
    thor = Gpu("Thor", "11.0", 13000, integrated=True)
    newer = Gpu("Orin", "8.7", 12080, integrated=True)
    keys = [
        key(),
        key(model=b"other"),
        key(gpu=thor),
        key(gpu=newer),
        key(gpu=NO_GPU),
        key(version="10.4.0"),
        key_of("tensorrt_rtx", b"model", "10.3.0", ORIN, SETTINGS),
        key_of("tensorrt", b"model", "10.3.0", ORIN, EngineSettings(workspace_mb=64)),
        key_of("tensorrt", b"model", "10.3.0", ORIN, EngineSettings(optimisation_level=5)),
        key_of("tensorrt", b"model", "10.3.0", ORIN, EngineSettings(dla_core=0)),
        key_of("tensorrt", b"model", "10.3.0", ORIN, SETTINGS, b"table"),
    ]
    assert len({one.name for one in keys}) == len(keys)
    how_it_runs = EngineSettings(graphs=False, in_flight=4, memory="pycuda", max_mb=7)
    assert key_of("tensorrt", b"model", "10.3.0", ORIN, how_it_runs).name == key().name


@pytest.mark.parametrize("spoil", ["byte", "cut", "header", "empty", "longer"])
def test_a_damaged_engine_is_removed_with_a_line_in_the_log(
    cache: EngineCache, caplog: pytest.LogCaptureFixture, spoil: str
) -> None:
    cache.write(key(), ENGINE, 1.0)
    path = only_file(cache)
    data = path.read_bytes()
    path.write_bytes(
        {
            "byte": data[:-5] + b"\0" + data[-4:],
            "cut": data[:-1],
            "header": data[:40] + b"}" + data[41:],
            "empty": b"",
            "longer": data + b"\0",
        }[spoil]
    )
    with caplog.at_level(logging.WARNING):
        assert cache.read(key()) is None
    assert "removed, and built again" in caplog.text
    assert not path.exists()


def test_an_engine_of_another_box_under_this_boxs_name_is_removed(
    cache: EngineCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write(key(gpu=Gpu("Thor", "11.0", 13000, integrated=True)), ENGINE, 1.0)
    only_file(cache).rename(cache.folder / f"{key().name}.engine")
    with caplog.at_level(logging.WARNING):
        assert cache.read(key()) is None
    assert "an engine for Thor with tensorrt 10.3.0, not for this box" in caplog.text
    assert list(cache.folder.glob("*.engine")) == []


def test_the_least_recently_used_go_first_and_the_newest_stays(cache: EngineCache) -> None:
    keys = [key(model=bytes([number])) for number in range(4)]
    for age, one in enumerate(keys[:3]):
        cache.write(one, ENGINE, 1.0)
        path = next(path for path in cache.folder.glob("*.engine") if path.name.startswith(one.model[:12]))
        os.utime(path, (1000 + age, 1000 + age))
    assert cache.read(keys[0]) == ENGINE  # used now
    other = cache.folder / "notes.txt"
    other.write_bytes(bytes(5 << 20))
    cache.write(keys[3], ENGINE, 1.0)
    assert [cache.read(one) is not None for one in keys] == [True, False, True, True]
    assert other.exists()


def test_an_engine_larger_than_the_limit_is_kept_with_a_warning(
    cache: EngineCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write(key(), ENGINE, 1.0)
    with caplog.at_level(logging.WARNING):
        cache.write(key(model=b"big"), bytes(4 << 20), 1.0)
    assert "larger than engines.max_mb 3" in caplog.text
    assert cache.read(key(model=b"big")) is not None
    assert cache.read(key()) is None


def test_the_estimate_rests_on_earlier_builds_of_this_box_per_byte_of_the_model(cache: EngineCache) -> None:
    assert cache.estimate_s(key()) is None
    cache.write(key(model=bytes(100)), b"engine", 10.0)
    cache.write(key(model=bytes(100), version="8.6.1"), b"engine", 1000.0)
    (cache.folder / "broken.engine").write_bytes(b"sad-engine 1\nnonsense")
    assert cache.estimate_s(key(model=bytes(250))) == pytest.approx(25.0)
    assert cache.estimate_s(key(model=bytes(25))) == pytest.approx(2.5)
    assert cache.estimate_s(key(model=bytes(10))) is None
    assert cache.estimate_s(key(model=bytes(1000))) is None


def test_timing_notes_are_kept_for_one_tensorrt_on_one_gpu(cache: EngineCache) -> None:
    cache.keep_timing(key(), b"notes")
    assert cache.timing(key(model=b"other")) == b"notes"
    assert cache.timing(key(version="10.4.0")) == b""
    cache.keep_timing(key(), b"")
    assert cache.timing(key()) == b"notes"


def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path: Path, unwritable: Path) -> None:
    with pytest.raises(UsageError, match=r"engines cannot be kept here .* Name another folder with engines\.folder"):
        EngineCache(unwritable, max_mb=1)
    in_the_way = tmp_path / "file"
    in_the_way.write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be written"):
        EngineCache(in_the_way, max_mb=1)


def test_only_one_at_a_time_holds_the_lock_of_a_key_and_nothing_stays(cache: EngineCache) -> None:
    inside: list[int] = []
    most: list[int] = []
    waited: list[float] = []

    def work(number: int) -> None:
        with cache.locked(key(), waited.append):
            inside.append(number)
            most.append(len(inside))
            time.sleep(0.05)
            inside.remove(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == [1, 1, 1, 1]
    assert waited
    assert list(cache.folder.iterdir()) == []


def test_engines_of_different_keys_are_built_side_by_side(cache: EngineCache) -> None:
    def never(seconds: float) -> None:
        raise AssertionError("waited for another key")

    with cache.locked(key(), never), cache.locked(key(model=b"other"), never):
        assert len(list(cache.folder.iterdir())) == 2


def test_a_sad_that_builds_otherwise_takes_no_engine_of_an_earlier_one(
    cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.write(key(), ENGINE, 1.0)
    monkeypatch.setattr(keys_of, "BUILDER", keys_of.BUILDER + 1)
    assert cache.read(key()) is None


def test_engines_of_somebody_else_are_never_removed_to_make_room(cache: EngineCache) -> None:
    foreign = cache.folder / "yolo.engine"
    foreign.write_bytes(bytes(4 << 20))
    cache.write(key(model=b"copied"), ENGINE, 1.0)
    renamed = only_ours(cache, foreign).rename(cache.folder / "by another name.engine")
    for path in (foreign, renamed):
        os.utime(path, (1, 1))
    for number in range(5):
        cache.write(key(model=bytes([number])), ENGINE, 1.0)
    assert foreign.exists()
    assert renamed.exists()
    assert len(list(cache.folder.glob("*.engine"))) == 2 + 3


def only_ours(cache: EngineCache, foreign: Path) -> Path:
    (path,) = set(cache.folder.glob("*.engine")) - {foreign}
    return path


def test_what_a_killed_writer_left_goes_and_what_is_being_written_stays(cache: EngineCache) -> None:
    left = cache.folder / f".{key().name}.engine.abc_12x9.tmp"
    fresh = cache.folder / f".{key().name}.engine.abc_12x8.tmp"
    foreign = cache.folder / ".notes.tmp"
    for path in (left, fresh, foreign):
        path.touch()
    for path in (left, foreign):
        os.utime(path, (1, 1))
    cache.write(key(), ENGINE, 1.0)
    assert [path.exists() for path in (left, fresh, foreign)] == [False, True, True]


def test_timing_notes_of_old_drivers_go(cache: EngineCache) -> None:
    foreign = cache.folder / "lap.timing"
    foreign.touch()
    for number in range(8):
        one = key(version=f"10.{number}.0")
        cache.keep_timing(one, b"notes")
        os.utime(cache._timing_path(one), (1000 + number, 1000 + number))
    kept = [number for number in range(8) if cache.timing(key(version=f"10.{number}.0"))]
    assert kept == [4, 5, 6, 7]
    assert foreign.exists()


def test_a_folder_that_others_may_write_is_warned_of_and_refused_where_only_signed_bundles_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    umask = os.umask(0o002)
    try:
        made = EngineCache(tmp_path / "engines", max_mb=3).folder
    finally:
        os.umask(umask)
    with caplog.at_level(logging.WARNING):
        check_only_ours_may_write(tmp_path / "none", strict=True)
        check_only_ours_may_write(made, strict=True)
        assert caplog.text == ""
        made.chmod(0o775)
        check_only_ours_may_write(made, strict=False)
    assert "mode 0775" in caplog.text
    with pytest.raises(UsageError, match="chmod go-w"):
        check_only_ours_may_write(made, strict=True)
