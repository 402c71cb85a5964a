"""A real `sad-runtime` in its own process, with its feed on sockets in a folder of its own, for benches to watch."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import psutil
import zmq

from sad_runtime.messages import Command, CommandReply, Decision, Op, decode, encode
from sad_runtime.subscriber import Subscriber

PATIENCE_S = 60.0
SOCKETS = ("decisions", "heatmaps", "snapshot", "commands")


class Line:
    """Opened by `with`. `started_s` is time.monotonic() just before the process was started."""

    def __init__(self, bundle: Path, camera: str, *options: str) -> None:
        self._arguments = ["--bundle", str(bundle), "--camera", camera, *options]
        self._opened = ExitStack()

    def __enter__(self) -> Line:
        with ExitStack() as opening:
            self._folder = Path(opening.enter_context(tempfile.TemporaryDirectory(prefix="sad-bench-")))
            self.decisions, self._commands = f"ipc://{self._folder}/decisions", f"ipc://{self._folder}/commands"
            words = [word for name in SOCKETS for word in (f"--{name}", f"ipc://{self._folder}/{name}")]
            words += ["--state", str(self._folder / "state"), *self._arguments]
            log = opening.enter_context((self._folder / "log").open("w"))
            self.started_s = time.monotonic()
            self.process = subprocess.Popen([sys.executable, "-m", "sad_runtime.cli.runtime", *words], stderr=log)
            opening.callback(self._end)
            self._wait_for_feed()
            self._opened = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def next_decision(self, feed: Subscriber) -> Decision:
        """Raises RuntimeError with the end of the log when none comes."""
        decision = feed.poll(1000 * PATIENCE_S)
        if decision is None:
            raise RuntimeError(f"no decision for {PATIENCE_S:g} s\n{self.log[-2000:]}")
        return decision

    def order(self, op: Op) -> None:
        """`pause` or `resume`, agreed to by the station."""
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.linger = 0
            socket.rcvtimeo = int(1000 * PATIENCE_S)
            socket.connect(self._commands)
            socket.send(encode(Command(id=1, op=op)))
            reply = decode(CommandReply, socket.recv_multipart()[-1])
        if not reply.ok:
            raise RuntimeError(f"{op}: {reply.error}")

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    @property
    def memory_mb(self) -> float:
        """Resident memory now."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 1e6)

    @property
    def memory_peak_mb(self) -> float:
        """The most that was ever resident (VmHWM)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        (line,) = [line for line in status if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024 / 1e6

    @property
    def journal_mb(self) -> float:
        """The journal on disk with its write-ahead log."""
        return sum(file.stat().st_size for file in self._folder.glob("state/*/journal.sqlite*")) / 1e6

    @property
    def pictures_mb(self) -> float:
        """The kept pictures on disk."""
        return sum(_size(file) for file in self._folder.glob("state/*/pictures/**/*") if file.is_file()) / 1e6

    def _wait_for_feed(self) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not (self._folder / "decisions").exists():
            if self.process.poll() is not None or time.monotonic() > end_s:
                raise RuntimeError(f"sad-runtime did not start\n{self.log}")
            time.sleep(0.002)

    def _end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _size(file: Path) -> int:
    """0 for one that was deleted meanwhile."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
