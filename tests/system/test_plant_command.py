"""Several real stations under one `sad-runtime`: each in its process, watched, restarted, stopped together."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ports import free_port
from sad_runtime.child_process import command_for
from sad_runtime.cli.runtime import main
from sad_runtime.ops import supervisor
from sad_runtime.ops.sd_listen import Listening
from sad_runtime.ops.supervisor import supervise

PATIENCE_S = 30.0


def until(true: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end_s, what
        time.sleep(0.02)


@pytest.fixture
def plant(tmp_path: Path, tiny_bundle: Path) -> Path:
    file = tmp_path / "plant.yaml"
    file.write_text(
        f"""
stations:
  washers: {{camera: {{uri: "demo:washer?size=64&fps=20"}}, metrics: {{address: "127.0.0.1:{free_port()}"}}}}
  boards: {{camera: {{uri: "demo:board?size=64&fps=20"}}}}
recipes: {{1: {{bundle: {tiny_bundle}}}}}
backend: onnxruntime
threads: 1
state: {tmp_path / "state"}
feed: {{decisions: ["tcp://127.0.0.1:*"], heatmaps: "tcp://127.0.0.1:*", snapshot: "tcp://127.0.0.1:*"}}
"""
    )
    return file


class Running:
    """`sad-runtime` with a plant's file; what it writes to stderr, line by line."""

    def __init__(self, *arguments: str | Path, **environment: str) -> None:
        self.process = subprocess.Popen(
            command_for("sad_runtime.cli.runtime_start", *(str(argument) for argument in arguments)),
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            self.lines.extend(iter(lines.readline, ""))

    def found(self, pattern: str) -> list[str]:
        return [match[0] if match.lastindex is None else match[1] for match in self._matches(pattern)]

    def _matches(self, pattern: str) -> Iterator[re.Match[str]]:
        return (match for line in list(self.lines) if (match := re.search(pattern, line)))

    def says(self, pattern: str, times: int = 1) -> str:
        until(lambda: len(self.found(pattern)) >= times, f"{pattern} in {''.join(self.lines)}")
        return self.found(pattern)[times - 1]

    def ends(self) -> int:
        code = self.process.wait(PATIENCE_S)
        self._reader.join()
        return code

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.ends()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.slow
def test_all_run_are_told_apart_and_stop_together(plant: Path) -> None:
    with closing(Listening(5.0)) as manager, Running("--config", plant, **manager.environment) as running:
        for name in ("washers", "boards"):
            running.says(rf"^\[{name}\] .*Ready: station {name}")
        until(lambda: manager.ready, "the service manager hears that all are ready")
        address = running.says(r"^\[washers\] .*metrics at (\S+)")
        counted = re.compile(r'^sad_parts_total\{.*station="washers".*\} [1-9]', re.MULTILINE)
        until(lambda: counted.search(urllib.request.urlopen(address, timeout=5).read().decode()) is not None, "parts")
        running.process.send_signal(signal.SIGTERM)
        assert running.ends() == 0
        for name in ("washers", "boards"):
            assert running.found(rf"^\[{name}\] .*stopping after .*asked to")
            assert running.found(rf"station {name}: ended with 0")
        assert not running.found("leaving now"), "each was to be told once"


@pytest.mark.slow
def test_one_that_is_killed_comes_back_and_takes_no_other_with_it(plant: Path) -> None:
    with Running("--config", plant, WATCHDOG_PID="1") as running:  # another's watchdog; each station has its own
        boards = int(running.says(r"station boards: process (\d+)"))
        washers = int(running.says(r"station washers: process (\d+)"))
        running.says(r"^\[washers\] .*Ready")
        running.says(r"^\[boards\] .*Ready")
        os.kill(washers, signal.SIGKILL)
        running.says(r"station washers: ended with -9; starting it again in 1 s")
        running.says(r"^\[washers\] .*Ready", times=2)
        assert not gone(boards)
        assert len(running.found(r"station boards: process")) == 1


@pytest.mark.slow
def test_one_that_hangs_is_ended_and_started_again(plant: Path) -> None:
    with Running("--config", plant) as running:
        washers = int(running.says(r"station washers: process (\d+)"))
        running.says(r"^\[washers\] .*Ready")
        os.kill(washers, signal.SIGSTOP)
        begin_s = time.monotonic()
        running.says(r"station washers: its loop stands still")
        assert time.monotonic() - begin_s < 2 * supervisor.WATCHDOG_S + 1
        running.says(r"^\[washers\] .*Ready", times=2)
        assert gone(washers)


@pytest.mark.slow
def test_no_station_outlives_its_supervisor(plant: Path) -> None:
    with Running("--config", plant) as running:
        stations = [int(running.says(rf"station {name}: process (\d+)")) for name in ("washers", "boards")]
        running.says(r"^\[washers\] .*Ready")
        running.says(r"^\[boards\] .*Ready")
        running.process.kill()
        until(lambda: all(gone(pid) for pid in stations), "the stations end")


@pytest.mark.slow
def test_one_of_them_can_be_run_alone_and_logs_as_json(plant: Path) -> None:
    with Running("--config", plant, "--station", "boards", "--limit", "3", "--log-format", "json") as running:
        assert running.ends() == 0
    lines = [json.loads(line) for line in running.lines]
    assert {line["station"] for line in lines if "station" in line} == {"boards"}
    assert {"ready", "stopping"} <= {line.get("code") for line in lines}
    assert "parts 3" in lines[-1]["message"]


def in_python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_what_a_restart_does_not_mend_stays_ended_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "BACK_OFF_S", (0.05,))
    out, stop = io.StringIO(), threading.Event()
    commands = {
        "wrong": in_python("import sys; print('no such bundle', file=sys.stderr); sys.exit(2)"),
        "gate": in_python("raise SystemExit(4)"),
        "over": in_python("pass"),
        "crashing": in_python("raise SystemExit(1)"),
    }
    until_s = time.monotonic() + PATIENCE_S

    def beat(_: bool) -> None:
        if (out.getvalue().count("\n") >= 1 and len(crashes()) >= 3) or time.monotonic() > until_s:
            stop.set()

    def crashes() -> list[str]:
        return [record for record in told if "crashing: ended with 1" in record]

    told: list[str] = []
    monkeypatch.setattr(supervisor.log, "log", lambda level, text, *given: told.append(text % given))
    monkeypatch.setattr(supervisor.log, "error", lambda text, *given: told.append(text % given))
    codes = supervise(commands, stop, environment=dict(os.environ), out=out, beat=beat)
    assert {name: codes[name] for name in ("wrong", "gate", "over")} == {"wrong": 2, "gate": 4, "over": 0}
    assert out.getvalue() == "[wrong] no such bundle\n"
    assert len(crashes()) >= 3
    assert sum("wrong: ended" in line for line in told) == 1


def test_a_whole_plant_is_checked_and_every_fault_is_named(
    plant: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(plant), "--check"]) == 0
    said = capsys.readouterr().out
    assert "station washers is in order" in said
    assert "station boards is in order" in said
    (tmp_path / "state").mkdir()
    (tmp_path / "state/boards").write_text("in the way")
    (tmp_path / "state/washers").write_text("in the way")
    assert main(["--config", str(plant), "--check"]) == 2
    said = capsys.readouterr().err
    assert re.search(r"station washers: .*Not a directory", said)
    assert re.search(r"station boards: .*Not a directory", said)


WRONG = [
    (["--camera", "demo:washer"], "--camera is for one station"),
    (["--dry-run"], "--dry-run is for one station"),
    (["--build-only"], "--build-only is for one station"),
    (["--decisions", "tcp://127.0.0.1:*"], "add --station NAME, one of washers, boards"),
    (["--station", "washer"], "did you mean 'washers'"),
]


@pytest.mark.parametrize(("flags", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_flag_for_one_station_is_not_given_to_all(
    plant: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    assert main(["--config", str(plant), *flags]) == 2
    assert said in capsys.readouterr().err


def test_two_stations_with_one_camera_are_refused_before_anything_starts(
    plant: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = re.sub(r"demo:\w+\?size=64&fps=20", "/dev/video0", plant.read_text())
    plant.write_text(text)
    assert main(["--config", str(plant)]) == 2
    said = capsys.readouterr().err
    assert "washers: camera /dev/video0 and boards: camera /dev/video0" in said
    assert "process" not in said
