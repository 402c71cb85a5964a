"""From an ONNX file to an engine for this box, through the real builder in its own process, and from the cache."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from bundles import tiny_onnx
from sad_runtime.engines import child
from sad_runtime.engines.child import Order, built_in_child
from sad_runtime.engines.gpu import NO_GPU, gpu_found
from sad_runtime.engines.job import Progress
from sad_runtime.engines.room import EngineRoom
from sad_runtime.engines.settings import EngineSettings
from sad_runtime.errors import BackendError, MissingExtra, UsageError

pytest.importorskip("tensorrt_rtx")
PLAIN = EngineSettings()
TWICE = """
import logging, sys
from pathlib import Path
from sad_runtime.engines.room import EngineRoom
from sad_runtime.engines.settings import EngineSettings
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
model = Path(sys.argv[1]).read_bytes()
print(len(EngineRoom("tensorrt_rtx", Path(sys.argv[2]), EngineSettings()).engine(model)))
"""
HANGING = """
import sys, time
from sad_runtime.engines import building
building.engine_from_onnx = lambda *_, **__: time.sleep(600)
sys.exit(building.main(sys.argv[1:]))
"""
WITHOUT_ROOM = """
import sys
from sad_runtime.engines import building
from sad_runtime.engines.build import Built
def full(*_):
    raise OSError(28, "No space left on device")
building.engine_from_onnx = lambda *_, **__: Built(b"engine", b"")
building._write = full
sys.exit(building.main(sys.argv[1:]))
"""
OOM_KILLED = """
import os, signal, sys
print("the last words", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
ODD = """
import json, os, sys
job = json.loads(sys.argv[1])
os.write(job["lines"], b"no JSON at all" + bytes([10]))
sys.exit(7)
"""
PARENT = """
import logging, sys
from pathlib import Path
import sad_runtime.engines.child as child
child.CHILD = sys.argv[1]
from sad_runtime.engines.settings import EngineSettings
child.built_in_child(child.Order("tensorrt_rtx", b"model", EngineSettings()), Path(sys.argv[2]))
"""


@pytest.fixture
def room(tmp_path: Path) -> EngineRoom:
    return EngineRoom("tensorrt_rtx", tmp_path / "engines", PLAIN)


def played_by(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, code: str) -> None:
    """Another child in place of the builder."""
    (folder / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(child, "CHILD", name)


def order() -> Order:
    return Order("tensorrt_rtx", tiny_onnx(), PLAIN)


def test_an_engine_is_built_once_and_then_found(room: EngineRoom, caplog: pytest.LogCaptureFixture) -> None:
    assert room.cached(tiny_onnx()) is None
    with caplog.at_level(logging.INFO):
        engine = room.engine(tiny_onnx())
        assert room.engine(tiny_onnx()) == room.cached(tiny_onnx()) == engine
    assert caplog.text.count("building an engine for no GPU with tensorrt_rtx") == 1
    room.forget(tiny_onnx())
    assert room.cached(tiny_onnx()) is None


def test_a_damaged_engine_is_built_again(room: EngineRoom, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = room.engine(tiny_onnx())
    (path,) = (tmp_path / "engines").glob("*.engine")
    path.write_bytes(path.read_bytes()[:-100])
    assert len(room.engine(tiny_onnx())) == len(engine)
    assert "damaged (its digest does not match); removed, and built again" in caplog.text
    assert room.cached(tiny_onnx()) is not None


def test_two_processes_at_once_build_one_engine(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(tiny_onnx())
    command = [sys.executable, "-c", TWICE, str(model), str(tmp_path / "engines")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sum(text.count("building an engine") for text in said) == 1
    assert len({text.splitlines()[-1] for text in said}) == 1


def test_what_the_builder_refuses_comes_through_the_process(
    room: EngineRoom, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(BackendError, match=r"tensorrt_rtx: this model cannot be read: .*Failed to parse"):
        room.engine(b"rubbish")
    assert "MODEL_DESERIALIZE_FAILED" in caplog.text
    assert list((tmp_path / "engines").iterdir()) == []


def test_the_time_so_far_is_told_while_a_build_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played_by(monkeypatch, tmp_path, "hanging", HANGING)
    monkeypatch.setattr(child, "TELL_EVERY_S", 0.05)
    told: list[Progress] = []

    class Enough(Exception):
        """Raised out of the progress."""

    def tell(progress: Progress) -> None:
        told.append(progress)
        if len(told) == 3:
            raise Enough

    before = {process.pid for process in psutil.Process().children()}
    with pytest.raises(Enough):
        built_in_child(Order("tensorrt_rtx", b"", PLAIN, estimate_s=12.0), tmp_path, tell)
    assert {process.pid for process in psutil.Process().children()} == before
    assert [progress.estimate_s for progress in told] == [12.0] * 3
    assert [progress.elapsed_s for progress in told] == sorted(progress.elapsed_s for progress in told)
    assert told[0].elapsed_s > 0


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (OOM_KILLED, r"was killed, as the kernel does when memory runs out.*It said: the last words"),
        (ODD, "ended with exit code 7"),
        ("import os; os.abort()", "died of SIGABRT"),
    ],
)
def test_a_builder_that_dies_is_an_error_that_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, why: str
) -> None:
    played_by(monkeypatch, tmp_path, "dying", code)
    with pytest.raises(BackendError, match=why):
        built_in_child(order(), tmp_path)


def test_a_builder_does_not_outlive_its_parent(tmp_path: Path) -> None:
    (tmp_path / "hanging.py").write_text(HANGING)
    surroundings = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", PARENT, "hanging", str(tmp_path)]
    with subprocess.Popen(command, env=surroundings) as parent:
        found: list[psutil.Process] = []
        end_s = time.monotonic() + 20
        while not found or not _is_asleep(found[0]):
            assert time.monotonic() < end_s
            time.sleep(0.05)
            found = psutil.Process(parent.pid).children()
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        gone, left = psutil.wait_procs(found, 10)
    assert (len(gone), left) == (1, [])


def _is_asleep(process: psutil.Process) -> bool:
    """It has come to the build: nobody is nice before."""
    return process.nice() > 0


def test_waiting_for_another_process_can_be_given_up(room: EngineRoom, tmp_path: Path) -> None:
    cache = EngineRoom("tensorrt_rtx", tmp_path / "engines", PLAIN)
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with cache._cache.locked(cache._key(tiny_onnx()), lambda _: None):
            held.set()
            let_go.wait(20)

    class Enough(Exception):
        """Raised out of the progress."""

    def tell(progress: Progress) -> None:
        assert progress.text == "another process builds this engine"
        raise Enough

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(10)
    with pytest.raises(Enough):
        room.engine(tiny_onnx(), tell)
    let_go.set()
    thread.join(10)


def test_tensorrt_that_is_not_installed_is_named_with_its_extra(tmp_path: Path) -> None:
    if "tensorrt" in sys.modules:
        pytest.skip("TensorRT is installed")
    with pytest.raises(MissingExtra, match=r"pip install 'sad-inspection\[tensorrt\]'"):
        EngineRoom("tensorrt", tmp_path, PLAIN).engine(tiny_onnx())


def test_a_calibration_table_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    settings = EngineSettings(int8_table=str(tmp_path / "none"))
    with pytest.raises(UsageError, match=r"engines\.int8_table .*: cannot be read \(No such file"):
        EngineRoom("tensorrt_rtx", tmp_path, settings).cached(tiny_onnx())


def test_a_box_without_a_gpu_is_told_from_one_with() -> None:
    pytest.importorskip("cuda.bindings")
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU here")
    assert gpu_found() == NO_GPU
    assert not NO_GPU.there
    assert str(NO_GPU) == "no GPU"


def test_the_header_of_an_engine_can_be_read_by_people(room: EngineRoom, tmp_path: Path) -> None:
    room.engine(tiny_onnx())
    (path,) = (tmp_path / "engines").glob("*.engine")
    mark, header = path.read_bytes().split(b"\n", 2)[:2]
    assert mark == b"sad-engine 1"
    assert json.loads(header)["key"]["kind"] == "tensorrt_rtx"


def test_packages_beside_the_user_are_not_imported_by_the_builder(
    room: EngineRoom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt_rtx.py").write_text("raise RuntimeError('not TensorRT')")
    monkeypatch.chdir(tmp_path)
    assert len(room.engine(tiny_onnx())) > 10_000


def test_a_builder_that_hangs_is_ended_after_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played_by(monkeypatch, tmp_path, "hanging", HANGING)
    before = {process.pid for process in psutil.Process().children()}
    with pytest.raises(BackendError, match=r"no engine after 1 s.*engines\.build_limit_s"):
        built_in_child(Order("tensorrt_rtx", b"", EngineSettings(build_limit_s=1)), tmp_path)
    assert {process.pid for process in psutil.Process().children()} == before


def test_a_builder_that_cannot_be_killed_is_left_behind_with_a_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(child, "DYING_S", 0.05)
    with subprocess.Popen(["sleep", "600"]) as process:
        kill = process.kill
        monkeypatch.setattr(process, "kill", lambda: None)  # as one that a driver holds
        with caplog.at_level(logging.ERROR):
            child._ended(process)
        kill()
    assert "does not end, and is left behind" in caplog.text


def test_another_process_that_never_ends_its_build_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = EngineRoom("tensorrt_rtx", tmp_path / "engines", EngineSettings(build_limit_s=1))

    def locked(key: object, waiting: Callable[[float], None]) -> None:
        waiting(0.5)
        waiting(1.5)

    monkeypatch.setattr(room._cache, "locked", locked)
    with pytest.raises(BackendError, match="another process builds this engine for 2 s now"):
        room.engine(tiny_onnx())


def test_a_full_disk_is_named_and_not_the_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played_by(monkeypatch, tmp_path, "full", WITHOUT_ROOM)
    with pytest.raises(BackendError, match=r"cannot be written .No space left on device") as caught:
        built_in_child(order(), tmp_path)
    assert "driver" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_folder_without_room_for_the_model_is_wrong_usage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: object, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(child, "_write", full)
    with pytest.raises(UsageError, match=r"no engine can be built here .No space left on device"):
        built_in_child(order(), tmp_path)


def test_an_engine_whose_timing_notes_cannot_be_kept_is_built_all_the_same(
    room: EngineRoom, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(key: object, timing: bytes) -> None:
        raise UsageError("no space left")

    monkeypatch.setattr(room._cache, "keep_timing", full)
    with caplog.at_level(logging.WARNING):
        assert room.engine(tiny_onnx()) == room.cached(tiny_onnx())
    assert "no space left" in caplog.text
