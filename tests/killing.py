"""Kills a running line at random moments, again and again, and looks whether its record still tells all.

    python tests/killing.py --kills 100 --seed 1

Victims are the runtime, its grabber and a subscriber; always SIGKILL. Whatever a subscriber was told is looked for in
the journal afterwards: it must be there, once, with the same verdict. Pictures and journal must open without a word.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from sad_runtime.messages import Decision
from sad_runtime.pictures import decode_picture
from sad_runtime.subscriber import Subscriber

CAMERA = "demo:washer?fps=60&drop=1&size=64&defects=0"
PATIENCE_S = 20.0
READER = """
import sys
from sad_runtime.subscriber import Subscriber
with Subscriber(sys.argv[1], history=True) as feed:
    while True:
        feed.poll(100)
"""


@dataclass
class Told:
    """What the subscriber heard, by (run, seq)."""

    verdicts: dict[tuple[str, int], str] = field(default_factory=dict)
    unrecorded: set[tuple[str, int]] = field(default_factory=set)
    twice: int = 0
    lost: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    longest_back_s: float = 0.0
    """From the kill of the grabber to the next verdict that is not INVALID."""

    def take(self, decision: Decision) -> None:
        key = (decision.run, decision.seq)
        self.twice += key in self.verdicts
        self.verdicts[key] = decision.verdict.value
        if "unrecorded" in decision.flags:
            self.unrecorded.add(key)


class KilledLine:
    """One line whose parts are killed; `folder` holds its state across all starts."""

    def __init__(self, bundle: Path, folder: Path, seed: int) -> None:
        self.told, self.state = Told(), folder / "state"
        self._bundle, self._folder = bundle, folder
        self._dice = random.Random(seed)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def decisions(self) -> str:
        return f"ipc://{self._folder}/decisions.ipc"

    def kill(self, times: int) -> None:
        while sum(self.told.kills.values()) < times:
            self._start()
            with Subscriber(self.decisions) as feed:
                self._hear(feed, 0.0, at_least=1)
                self._hear(feed, self._dice.uniform(0.0, 1.0))
                while self._dice.random() < 0.6 and sum(self.told.kills.values()) < times - 1:
                    self._kill_beside(feed)
                self._kill_runtime(feed)
                self.told.lost += feed.lost

    def _start(self) -> None:
        names = ("decisions", "heatmaps", "snapshot", "commands")
        sockets = [word for name in names for word in (f"--{name}", f"ipc://{self._folder}/{name}.ipc")]
        options = ["--camera", CAMERA, "--bundle", str(self._bundle), "--backend", "constant"]
        command = [sys.executable, "-m", "sad_runtime.cli.runtime", *options, *sockets, "--state", str(self.state)]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log)

    def _kill_beside(self, feed: Subscriber) -> None:
        """The grabber, or another subscriber: the line goes on."""
        assert self._process is not None
        if self._dice.random() < 0.3:
            reader = subprocess.Popen([sys.executable, "-c", READER, self.decisions])
            self._hear(feed, self._dice.uniform(0.2, 0.8))
            reader.kill()
            reader.wait()
            self.told.kills["subscriber"] += 1
            return
        for child in psutil.Process(self._process.pid).children():
            child.kill()
        self.told.kills["grabber"] += 1
        began_s = time.monotonic()
        while time.monotonic() < began_s + PATIENCE_S:
            decision = feed.poll(100)
            if decision is None:
                continue
            self.told.take(decision)
            if decision.verdict.value != "INVALID" and time.monotonic() - began_s > 0.1:
                break
        else:
            raise AssertionError(f"the camera did not come back in {PATIENCE_S} s: {self.log}")
        self.told.longest_back_s = max(self.told.longest_back_s, time.monotonic() - began_s)

    def _kill_runtime(self, feed: Subscriber) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self.told.kills["runtime"] += 1
        while (decision := feed.poll(50)) is not None:  # what was under way
            self.told.take(decision)

    def _hear(self, feed: Subscriber, seconds: float, at_least: int = 0) -> None:
        """For so long, and until `at_least` decisions have come."""
        end_s, late_s, heard = time.monotonic() + seconds, time.monotonic() + PATIENCE_S, 0
        while time.monotonic() < end_s or heard < at_least:
            assert time.monotonic() < late_s, f"no decision in {PATIENCE_S} s: {self.log}"
            decision = feed.poll(20)
            if decision is not None:
                self.told.take(decision)
                heard += 1

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-2000:]


def faults_of(line: KilledLine) -> list[str]:
    """What is wrong with the record; nothing in a line that can be trusted."""
    found: list[str] = []
    told = line.told
    connection = sqlite3.connect(next(line.state.glob("*/journal.sqlite")))
    if (said := connection.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
        found.append(f"the journal is damaged: {said}")
    rows = connection.execute("SELECT run, seq, verdict FROM decisions").fetchall()
    connection.close()
    kept = {(run, seq): verdict for run, seq, verdict in rows}
    if len(kept) != len(rows):
        found.append(f"{len(rows) - len(kept)} decisions stand in the journal twice")
    missing = [key for key in told.verdicts if key not in kept and key not in told.unrecorded]
    other = [key for key, verdict in told.verdicts.items() if kept.get(key, verdict) != verdict]
    if missing or other:
        found.append(f"{len(missing)} of {len(told.verdicts)} told are not in the journal, {len(other)} otherwise")
    if told.twice:
        found.append(f"{told.twice} decisions were told twice")
    if told.lost:
        found.append(f"{told.lost} decisions were lost on the feed")
    found += [f"{path} cannot be read" for path in line.state.glob("*/pictures/**/*.png") if not _whole(path)]
    found += [f"{path} is left over" for path in line.state.rglob("*.tmp")]
    return found


def _whole(path: Path) -> bool:
    try:
        decode_picture(path.read_bytes(), path.name)
    except Exception:  # noqa: BLE001  whatever it is, it is told
        return False
    return True


def main() -> int:
    from bundles import write_tiny_bundle

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sad-kill-") as folder:
        line = KilledLine(write_tiny_bundle(Path(folder) / "tiny.sad"), Path(folder), arguments.seed)
        began_s = time.monotonic()
        line.kill(arguments.kills)
        wrong = faults_of(line)
        text = io.StringIO()
        print(f"seed {arguments.seed}, {dict(line.told.kills)} kills in {time.monotonic() - began_s:.0f} s,", file=text)
        print(f"{len(line.told.verdicts)} decisions told, {len(line.told.unrecorded)} unrecorded", file=text)
        print(f"the camera was back within {line.told.longest_back_s:.2f} s of the grabber's death", file=text)
        print("\n".join(wrong) or "every decision is in the journal, none twice", file=text)
        print(text.getvalue(), end="")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
