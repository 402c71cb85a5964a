"""How long a technician waits: process start to Ready, and the small commands. Each beside a bare process, in turn."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict

from figure import Figure, Spread, spread
from line import PATIENCE_S, Line
from material import BARE_ENGINE, Material

from sad_runtime.messages import Event
from sad_runtime.subscriber import Subscriber

ROUNDS = 7
READY_BUDGET_S = Spread(3.0)
ENGINE = "a process with OpenVINO and the model (bare_engine.py)"
LIBRARIES = "import pydantic, msgpack, zmq"
PROCESSES = {
    "tail": ("-m", "sad_runtime.cli.tail", "--help"),
    "python": ("-c", "pass"),
    "messages": ("-c", "import sad_runtime.messages"),
    "libraries": ("-c", LIBRARIES),
}


def figures(material: Material, quick: bool) -> list[Figure]:
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(1 if quick else ROUNDS):
        heartbeat_s, ready_s = _station(material)
        seconds["heartbeat"].append(heartbeat_s)
        seconds["ready"].append(ready_s)
        seconds["engine"].append(_bare_engine(material))
        for name, words in PROCESSES.items():
            seconds[name].append(_process_s(*words))
    of = {name: spread(values) for name, values in seconds.items()}
    return [
        Figure("start to first heartbeat", "s", of["heartbeat"]),
        Figure("start to Ready", "s", of["ready"], at_most=READY_BUDGET_S),
        Figure("start to Ready, over the engine", "s", of["ready"], of["engine"], ENGINE, "more"),
        Figure("sad-tail --help", "s", of["tail"], of["python"], "python -c pass", "more"),
        Figure("import sad_runtime.messages", "s", of["messages"], of["libraries"], LIBRARIES, "more"),
    ]


def _station(material: Material) -> tuple[float, float]:
    """Seconds from process start to (first heartbeat, the event `ready`)."""
    ready_s: list[float] = []

    def listen(event: Event) -> None:
        if event.code == "ready":
            ready_s.append(time.monotonic())

    camera = f"folder:{material.pictures}?fps=5&loop=1"
    beat_s = 0.0
    with (
        Line(material.bundle, camera, "--backend", "openvino") as line,
        Subscriber(line.decisions, on_event=listen) as feed,
    ):
        while not ready_s:
            feed.poll(2)
            if feed.heartbeat is not None and not beat_s:
                beat_s = time.monotonic()
            if line.process.poll() is not None or time.monotonic() - line.started_s > PATIENCE_S:
                raise RuntimeError(f"sad-runtime is not Ready\n{line.log}")
        return (beat_s or ready_s[0]) - line.started_s, ready_s[0] - line.started_s


def _bare_engine(material: Material) -> float:
    """Seconds from process start to the second inference of a process that does nothing else."""
    began_s = time.monotonic()
    script = [sys.executable, str(BARE_ENGINE), str(material.model), "2"]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        passed_s = time.monotonic() - began_s
        process.stdout.read()
    return passed_s


def _process_s(*words: str) -> float:
    began_s = time.monotonic()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began_s
