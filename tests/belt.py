"""A belt under fire: simulated parts while camera, model, station, feed, gateway and PLC fail at random.

    python tests/belt.py 10000 --seed 1        prints the table of docs/plc.md

A real station (its model tells bright washers from dark ones), a real gateway behind a feed that loses, delays and
repeats messages, and the simulated PLC. What a part was, and whose doing its fate was, the simulator's judge says.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import zmq

from fault_matrix import write_bright_bundle
from ports import free_port

CAMERA = "demo:washer?fps=60&drop=1&defects=0.1&size=128&seed=4"
STAGED = ("dark", "freeze", "blur", "unplug", "hang", "torn", "drop", "slow", "nan", "crash", "disk-slow", "disk-full")
"""Faults of camera, model and disk, by --inject."""
PLC_FAULTS = ("plc-stop", "cable", "no-ack", "double-trigger", "same-id", "garbage")
BELT = ("--speed-mm-s", "1000", "--spacing-mm", "50", "--camera-to-gate-mm", "500", "--scan-ms", "5")
"""Twenty parts a second."""
PARTS_S = 20.0
CONFIG = """\
trigger: {picture_within_ms: 25}      # the next part is there after 35 ms at the earliest
journal: {wait_ms: 50}
pictures: {keep: []}
"""
PATIENCE_S = 60.0


class LossyFeed(threading.Thread):
    """Between station and gateway: while `bad`, every third message is lost, kept for a while, or said twice."""

    def __init__(self, source: str, shown: str, dice: random.Random) -> None:
        super().__init__(name="lossy feed", daemon=True)
        self.bad = False
        self.spoilt: Counter[str] = Counter()
        self._source, self._shown, self._dice = source, shown, dice
        self._over = threading.Event()

    def run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.XSUB) as taken, context.socket(zmq.XPUB) as given:
            for one in (taken, given):
                one.linger = 0
            taken.connect(self._source)
            given.bind(self._shown)
            late: list[tuple[float, list[bytes]]] = []
            poller = zmq.Poller()
            poller.register(taken, zmq.POLLIN)
            poller.register(given, zmq.POLLIN)
            while not self._over.is_set():
                ready = dict(poller.poll(20))
                if given in ready:
                    taken.send_multipart(given.recv_multipart())
                if taken in ready:
                    self._pass_on(taken.recv_multipart(), given, late)
                while late and late[0][0] <= time.monotonic():
                    given.send_multipart(late.pop(0)[1])

    def end(self) -> None:
        self._over.set()
        self.join()

    def _pass_on(self, message: list[bytes], given: zmq.Socket[bytes], late: list[tuple[float, list[bytes]]]) -> None:
        fate = self._dice.choice(("lost", "late", "twice", "", "", "")) if self.bad else ""
        if fate:
            self.spoilt[fate] += 1
        if fate == "late":
            late.append((time.monotonic() + 0.3, message))
        elif fate != "lost":
            given.send_multipart(message)
            if fate == "twice":
                given.send_multipart(message)


@dataclass
class Process:
    """Started again whenever it was killed."""

    words: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", *self.words, *more], stderr=log, env=environment)

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()


@dataclass
class Told:
    report: dict[str, Any] = field(default_factory=dict)
    code: int = -1
    done: Counter[str] = field(default_factory=Counter)
    """Faults, by what they were."""


class Belt:
    """Opened by `with`; `run` lets so many parts go by."""

    def __init__(self, folder: Path, seed: int, calm_s: tuple[float, float] = (1.0, 4.0)) -> None:
        """`calm_s`: so long nothing happens between one fault and the next."""
        self.told = Told()
        self._dice = random.Random(seed)
        self._calm_s = calm_s
        names = ("decisions", "heatmaps", "snapshot", "commands", "lossy")
        sockets = {name: f"ipc://{folder}/{name}" for name in names}
        modbus = f"127.0.0.1:{free_port()}"
        state = ["--state", str(folder / "state")]
        bundle = write_bright_bundle(folder / "washer.sad")
        flags = [word for name in names[:4] for word in (f"--{name}", sockets[name])]
        options = ["--camera", CAMERA, "--bundle", str(bundle), "--trigger", "software", "--backend", "onnxruntime"]
        config = folder / "station.yaml"
        config.write_text(CONFIG)
        self._station = Process(
            ["sad_runtime.cli.runtime_start", "--config", str(config), *options, *flags, *state, "--threads", "1"],
            folder / "station.log",
        )
        plc = ["--feed", sockets["lossy"], "--commands", sockets["commands"], "--modbus", modbus]
        self._gateway = Process(["sad_runtime.cli.plc", *plc, *state], folder / "gateway.log")
        judge = ["--modbus", modbus, "--feed", sockets["decisions"], "--camera", CAMERA, *BELT, "--json"]
        self._plc = ["sad_runtime.cli.plc", "simulate", *judge, "--view", "plain", "--seed", str(seed)]
        self._feed = LossyFeed(sockets["decisions"], sockets["lossy"], self._dice)
        self._folder = folder

    def __enter__(self) -> Belt:
        self._feed.start()
        self._station.start()
        self._gateway.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._gateway.kill()
        self._station.kill()
        self._feed.end()

    def run(self, parts: int) -> Told:
        faults = self._plc_faults(parts / PARTS_S)
        words = [*self._plc, "--parts", str(parts), *(["--fault", faults] if faults else [])]
        self._wait_for_ready()
        with (self._folder / "plc.log").open("w") as log:
            plc = subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.PIPE, stderr=log, text=True)
            with plc:
                out: list[str] = []
                reader = threading.Thread(target=lambda: out.append(plc.stdout.read() if plc.stdout else ""))
                reader.start()
                self._trouble(plc)
                reader.join()
        self.told.code = plc.returncode
        self.told.report = json.loads(out[0])
        self.told.done.update({f"feed: message {fate}": count for fate, count in self._feed.spoilt.items()})
        return self.told

    def _wait_for_ready(self) -> None:
        until_s = time.monotonic() + PATIENCE_S
        while "Ready" not in self._station.log.read_text(errors="replace"):
            assert time.monotonic() < until_s, self._station.log.read_text(errors="replace")[-2000:]
            time.sleep(0.1)

    def _trouble(self, plc: subprocess.Popen[str]) -> None:
        """One after the other, each some seconds after the one before, as long as the belt runs."""
        kinds = [self._kill_station, self._kill_gateway, self._stop_station, self._stop_gateway, self._spoil_feed]
        weights = [2, 2, 2, 2, 4]
        while plc.poll() is None:
            pause_s = self._dice.uniform(*self._calm_s)
            with suppress(subprocess.TimeoutExpired):
                plc.wait(pause_s)
                return
            self._dice.choices(kinds, weights)[0]()

    def _kill_station(self) -> None:
        """It comes back with another fault of its own staged."""
        self.told.done["station killed"] += 1
        self._station.kill()
        kind, at_s = self._dice.choice(STAGED), self._dice.uniform(2.0, 4.0)
        self.told.done[f"staged: {kind}"] += 1
        self._station.start("--inject", f"{kind}@{at_s:.1f}s+{self._dice.uniform(0.3, 2.0):.1f}s")

    def _kill_gateway(self) -> None:
        self.told.done["gateway killed"] += 1
        self._gateway.kill()
        self._gateway.start()

    def _stop_station(self) -> None:
        self._stop(self._station, "station stopped for a while")

    def _stop_gateway(self) -> None:
        self._stop(self._gateway, "gateway stopped for a while")

    def _stop(self, process: Process, what: str) -> None:
        self.told.done[what] += 1
        process.signal(signal.SIGSTOP)
        time.sleep(self._dice.uniform(0.05, 1.0))
        process.signal(signal.SIGCONT)

    def _spoil_feed(self) -> None:
        self.told.done["feed: spells of loss"] += 1
        self._feed.bad = True
        time.sleep(self._dice.uniform(0.5, 2.0))
        self._feed.bad = False

    def _plc_faults(self, seconds: float) -> str:
        """Some of the PLC's own, spread over the run."""
        told, at_s = [], 8.0
        while at_s < seconds - 4:
            kind, lasts_s = self._dice.choice(PLC_FAULTS), self._dice.uniform(0.3, 1.5)
            told.append(f"{kind}@{at_s:.1f}s+{lasts_s:.1f}s")
            self.told.done[f"plc: {kind}"] += 1
            at_s += self._dice.uniform(8.0, 20.0)
        return ",".join(told)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="belt-")))
        belt = stack.enter_context(Belt(folder, arguments.seed, (2.0, 10.0)))
        told = belt.run(arguments.parts)
    print(json.dumps({"code": told.code, "report": told.report, "faults": dict(sorted(told.done.items()))}, indent=1))
    return told.code


if __name__ == "__main__":
    sys.exit(main())
