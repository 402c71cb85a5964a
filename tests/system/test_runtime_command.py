"""The real `sad-runtime` in its own process: replay, stop, kill, restart, and everything a line engineer mistypes."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bundles import SPEC, bad_picture, good_picture, tiny_onnx
from sad_runtime.backends.onnxruntime import ONNXRuntimeBackend
from sad_runtime.cli.runtime import main
from sad_runtime.decide import Thresholds
from sad_runtime.inspector import Inspector
from sad_runtime.journal.replay import Replay
from sad_runtime.messages import Decision, SnapshotRequest
from sad_runtime.pictures import encode_png
from sad_runtime.subscriber import Subscriber
from sad_runtime.verdict import Verdict

PATIENCE_S = 20.0
FREE = "tcp://127.0.0.1:*"
COMMAND = [sys.executable, "-m", "sad_runtime.cli.runtime"]
PORTS = ["--decisions", FREE, "--heatmaps", FREE, "--snapshot", FREE, "--commands", FREE]
ENGINE = ["--backend", "onnxruntime", "--threads", "1"]


class Runtime:
    """A `sad-runtime` under way and what it writes to stderr."""

    def __init__(self, *arguments: str | Path, command: list[str] = COMMAND, ports: list[str] = PORTS) -> None:
        self.process = subprocess.Popen(
            [*command, *ports, *(str(argument) for argument in arguments)], stderr=subprocess.PIPE, text=True
        )
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            self.log.extend(iter(lines.readline, ""))

    def says(self, pattern: str) -> str:
        """Waits for a line; returns its first group, or all of it."""
        end_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            for line in list(self.log):
                found = re.search(pattern, line)
                if found:
                    return found.group(found.lastindex or 0)
            time.sleep(0.01)
        raise AssertionError(f"never said {pattern}:\n{self.text}")

    @property
    def text(self) -> str:
        return "".join(self.log)

    def address(self, name: str) -> str:
        return self.says(rf"{name} at (\S+)")

    def ends(self) -> int:
        code = self.process.wait(PATIENCE_S)
        self._reader.join()
        return code


@contextmanager
def runtime(*arguments: str | Path, **how: list[str]) -> Iterator[Runtime]:
    running = Runtime(*arguments, **how)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.ends()


def journal(state: Path) -> list[tuple[str, int, str]]:
    connection = sqlite3.connect(state / "line1/journal.sqlite")
    rows = connection.execute("SELECT run, seq, verdict FROM decisions ORDER BY id").fetchall()
    connection.close()
    return rows


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(500):
        picture = bad_picture(number) if number % 7 == 3 else good_picture(number)
        (folder / f"{number:04}.png").write_bytes(encode_png(picture))
    return folder


def test_a_folder_of_500_pictures_is_published_once_in_order_and_as_the_inspector_says(
    tmp_path: Path, pictures: Path, tiny_bundle: Path
) -> None:
    seen: list[Decision] = []
    with runtime("--camera", f"folder:{pictures}", "--bundle", tiny_bundle, "--state", tmp_path, *ENGINE) as running:
        with Subscriber(running.address("decisions"), station="line1") as feed:
            for decision in feed.decisions(timeout_s=5.0):
                seen.append(decision)
                if decision.seq == 500:
                    break
        assert running.ends() == 0, running.text
    assert [decision.seq for decision in seen] == list(range(1, 501))
    assert feed.lost == 0
    with Inspector(ONNXRuntimeBackend(tiny_onnx(), SPEC, threads=1), Thresholds(4.0, 4.0, 0.5)) as inspector:
        for number, decision in enumerate(seen):
            found = inspector.inspect(bad_picture(number) if number % 7 == 3 else good_picture(number))
            assert (decision.verdict, decision.score) == (found.verdict, found.score)
    assert re.search(r"parts 500 +PASS 429 +FAIL 71 +INVALID 0", running.text)
    assert re.search(r"publish +\d+\.\d\d", running.text)
    replay = Replay(tmp_path / "line1/journal.sqlite", station="line1", run=seen[0].run)
    page = replay(SnapshotRequest(station="line1", from_seq=1, to_seq=500))
    assert [(item.seq, item.verdict) for item in page.items] == [(item.seq, item.verdict) for item in seen]


def test_sigterm_ends_well_and_everything_published_is_in_the_journal(
    tmp_path: Path, pictures: Path, tiny_bundle: Path
) -> None:
    seen: list[Decision] = []
    camera = f"folder:{pictures}?loop=1&fps=200"
    with runtime("--camera", camera, "--bundle", tiny_bundle, "--state", tmp_path, *ENGINE) as running:
        with Subscriber(running.address("decisions"), station="line1", history=True) as feed:
            for decision in feed.decisions(timeout_s=1.0):
                seen.append(decision)
                if decision.seq == 100:
                    running.process.send_signal(signal.SIGTERM)
        assert running.ends() == 0, running.text
    assert "stopping after" in running.text
    assert "asked to" in running.text
    recorded = [(run, seq) for run, seq, _ in journal(tmp_path)]
    assert [(decision.run, decision.seq) for decision in seen] == recorded[: len(seen)]
    assert len(seen) == len(recorded) >= 100


def test_after_kill_9_it_starts_again_with_the_journal_whole(tmp_path: Path, pictures: Path, tiny_bundle: Path) -> None:
    arguments = ("--camera", f"folder:{pictures}?loop=1", "--bundle", tiny_bundle, "--state", tmp_path, *ENGINE)
    published = 0
    with runtime(*arguments) as running:
        with Subscriber(running.address("decisions"), station="line1", history=True) as feed:
            for decision in feed.decisions(timeout_s=5.0):
                published = decision.seq
                if published == 200:
                    break
        running.process.kill()
        assert running.ends() == -signal.SIGKILL
    with runtime(*arguments, "--limit", "50") as again:
        assert again.ends() == 0, again.text
        assert "journal_damaged" not in again.text
    rows = journal(tmp_path)
    first = [seq for run, seq, _ in rows if run == rows[0][0]]
    assert first == list(range(1, len(first) + 1))
    assert len(first) >= published
    assert [seq for run, seq, _ in rows if run != rows[0][0]][:50] == list(range(1, 51))


def test_a_second_runtime_for_the_station_ends_with_3_and_names_the_first(tmp_path: Path, tiny_bundle: Path) -> None:
    arguments = ("--camera", "demo:washer?size=64", "--bundle", tiny_bundle, "--state", tmp_path, *ENGINE)
    with runtime(*arguments) as first:
        first.says("Ready")
        with runtime(*arguments) as second:
            assert second.ends() == 3
            assert f"line1 is already running (process {first.process.pid})" in second.text
        with runtime(*arguments, "--station", "line2", "--limit", "1") as other:
            assert other.ends() == 0, other.text
        assert first.process.poll() is None
        first.process.send_signal(signal.SIGINT)
        assert first.ends() == 0


def test_a_port_in_use_ends_with_1_so_that_a_supervisor_tries_again(tmp_path: Path, tiny_bundle: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        ports = ["--decisions", f"tcp://127.0.0.1:{port}", *PORTS[2:]]
        arguments = ("--camera", "demo:washer", "--bundle", tiny_bundle, "--state", tmp_path)
        with runtime(*arguments, ports=ports) as running:
            assert running.ends() == 1
            assert str(port) in running.text


HANGS = """
import time
from sad_runtime.backends import table
from sad_runtime.backends.constant import ConstantBackend

class Hanging(ConstantBackend):
    def infer(self, pictures):
        if pictures.any():
            end = time.monotonic() + 60
            while time.monotonic() < end:
                time.sleep(60)
        return super().infer(pictures)

table.BACKENDS["constant"] = Hanging
from sad_runtime.cli import runtime
runtime.CLOSING_S = 1.0
raise SystemExit(runtime.main())
"""


@pytest.mark.parametrize("twice", [False, True])
def test_a_hung_engine_cannot_hold_up_a_stop(tmp_path: Path, pictures: Path, tiny_bundle: Path, twice: bool) -> None:
    arguments = (
        "--camera",
        f"folder:{pictures}",
        "--bundle",
        tiny_bundle,
        "--state",
        tmp_path,
        "--backend",
        "constant",
    )
    with runtime(*arguments, "--deadline", "500", command=[sys.executable, "-c", HANGS]) as running:
        with Subscriber(running.address("decisions"), station="line1", history=True) as feed:
            late = next(feed.decisions(timeout_s=10.0))
        assert (late.verdict, late.reason.value) == (Verdict.INVALID, "late")
        assert late.age_ms < 500
        begin = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        if twice:
            running.says("once more")
            running.process.send_signal(signal.SIGTERM)
        assert running.ends() == 1
        assert time.monotonic() - begin < (1.0 if twice else 4.0)
    assert [row[1:] for row in journal(tmp_path)] == [(1, "INVALID")]


WRONG = [
    (["--bundle", "TINY"], "which camera"),
    (["--config", "FOLDER/typo.yaml"], "did you mean 'deadline_ms'"),
    (["--config", "FOLDER/none.yaml"], "no such file"),
    (["--preset", "statoin"], "did you mean 'station'"),
    (["--camera", "demo:wahser", "--bundle", "TINY"], "did you mean 'washer'"),
    (["--camera", "folder:FOLDER/none", "--bundle", "TINY"], "no folder"),
    (["--camera", "demo:washer", "--bundle", "FOLDER/cut.sad"], "cut short"),
    (["--camera", "demo:washer", "--bundle", "FOLDER/none.sad"], "no such bundle"),
    (["--camera", "demo:washer", "--bundle", "TINY", "--precision", "int8"], "no int8 model"),
    (["--camera", "demo:washer", "--bundle", "TINY", "--backend", "tensorflow"], "no such backend"),
    (["--camera", "demo:washer", "--bundle", "TINY", "--backend", "constant:x"], "expected a number"),
    (["--camera", "demo:washer", "--bundle", "TINY", "--trigger", "interval"], "interval_ms"),
    (["--camera", "demo:washer", "--bundle", "TINY", "--station", "line 1"], "station"),
    (["--camera", "demo:washer", "--bundle", "TINY", "--state", "TINY"], "Not a directory"),
    (["--camera", "demo:washer", "--bundle", "TINY", "--decisions", "tcp://0.0.0.0"], "0.0.0.0"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=[said for _, said in WRONG])
def test_wrong_use_ends_with_2_and_says_how_to_mend_it(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    (tmp_path / "typo.yaml").write_text("trigger: {deadlin_ms: 100}\n")
    (tmp_path / "cut.sad").write_bytes(tiny_bundle.read_bytes()[:5000])
    given = [one.replace("TINY", str(tiny_bundle)).replace("FOLDER", str(tmp_path)) for one in arguments]
    assert main(["--state", str(tmp_path / "state"), *PORTS, *given]) == 2
    assert said in capsys.readouterr().err


def test_a_camera_that_is_not_there_ends_with_1_and_says_what_is(tmp_path: Path, tiny_bundle: Path) -> None:
    with runtime("--camera", "93", "--bundle", tiny_bundle, "--state", tmp_path, *ENGINE) as running:
        assert running.ends() == 1
        assert "there is no /dev/video93" in running.text


def test_a_check_opens_nothing(tmp_path: Path, tiny_bundle: Path) -> None:
    arguments = ("--camera", "93", "--bundle", tiny_bundle, "--state", tmp_path / "state", "--check")
    with runtime(*arguments) as running:
        assert running.ends() == 0, running.text
    assert not (tmp_path / "state").exists()


def test_the_shipped_demo_station_runs(tmp_path: Path, tiny_bundle: Path) -> None:
    arguments = ("--preset", "station-demo", "--bundle", tiny_bundle, "--state", tmp_path, "--limit", "3")
    with runtime(*arguments, *ENGINE) as running:
        assert running.ends() == 0, running.text
    connection = sqlite3.connect(tmp_path / "demo/journal.sqlite")
    sources = [row[0] for row in connection.execute("SELECT source FROM decisions ORDER BY seq")]
    connection.close()
    assert [source.split()[0] for source in sources] == ["demo:washer#0", "demo:washer#1", "demo:washer#2"]


def test_a_threshold_tried_out_is_warned_about_and_used(tmp_path: Path, pictures: Path, tiny_bundle: Path) -> None:
    arguments = ("--camera", f"folder:{pictures}", "--bundle", tiny_bundle, "--state", tmp_path, "--limit", "10")
    with runtime(*arguments, "--threshold", "0.01", *ENGINE) as running:
        assert running.ends() == 0, running.text
    assert re.search(r"WARNING.*threshold 0\.01 overrides 4", running.text)
    assert {verdict for _, _, verdict in journal(tmp_path)} == {"FAIL"}


NO_TORCH = """
import sys
for name in ("torch", "torchvision", "onnx", "sklearn", "scipy", "skimage"):
    sys.modules[name] = None
from sad_runtime.cli.runtime import main
raise SystemExit(main())
"""


def test_it_runs_where_torch_cannot_be_imported(tmp_path: Path, pictures: Path, tiny_bundle: Path) -> None:
    arguments = ("--camera", f"folder:{pictures}", "--bundle", tiny_bundle, "--state", tmp_path, "--limit", "5")
    with runtime(*arguments, command=[sys.executable, "-c", NO_TORCH]) as running:
        assert running.ends() == 0, running.text


def test_messages_and_their_reader_need_neither_numpy_nor_opencv() -> None:
    code = """
import sys
sys.modules["numpy"] = sys.modules["cv2"] = None
import sad_runtime.messages, sad_runtime.subscriber
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_stops_records_and_pictures_but_no_verdict(
    tmp_path: Path, pictures: Path, tiny_bundle: Path, small_disk: Path
) -> None:
    camera = f"folder:{pictures}?loop=1&fps=300"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(3 * 2**20))
    with runtime("--camera", camera, "--bundle", tiny_bundle, "--state", small_disk, *ENGINE) as running:
        with Subscriber(running.address("decisions"), station="line1", history=True) as feed:
            unrecorded = last = 0
            for decision in feed.decisions(timeout_s=5.0):
                assert decision.seq == last + 1
                last = decision.seq
                unrecorded += "unrecorded" in decision.flags
                expected = Verdict.FAIL if (last - 1) % 500 % 7 == 3 else Verdict.PASS
                assert decision.verdict is expected
                if unrecorded > 100:
                    break
            running.says("journal_refuses")
            running.says("pictures_lost")
            ballast.unlink()
            for decision in feed.decisions(timeout_s=5.0):
                if "unrecorded" not in decision.flags:
                    break
        running.process.send_signal(signal.SIGTERM)
        assert running.ends() == 0, running.text
    assert "journal_recovered" in running.text
    seqs = [seq for _, seq, _ in journal(small_disk)]
    assert seqs == list(range(1, len(seqs) + 1))
