"""A whole station for tests: real feed, real journal, its loop in a thread; cameras and engines that err on cue."""

from __future__ import annotations

import itertools
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zmq
from numpy.typing import NDArray

from bundles import good_picture
from sad_runtime.backends.base import Backend, Outputs
from sad_runtime.bundle import DIGESTS, MANIFEST, read_bundle, write_bundle
from sad_runtime.cameras.base import Camera, Frame, frame_now
from sad_runtime.errors import BackendError, CameraError
from sad_runtime.faults.schedule import Schedule
from sad_runtime.messages import Command, CommandReply, Decision, Event, Heartbeat, decode, decode_published, encode
from sad_runtime.schema import parse
from sad_runtime.station.config import StationConfig
from sad_runtime.station.selection import selected
from sad_runtime.station.station import Station

FREE = "tcp://127.0.0.1:*"
PATIENCE_S = 10.0
SETTINGS: dict[str, Any] = {
    "camera": {"uri": "folder:not-used"},
    "feed": {"decisions": [FREE], "heatmaps": FREE, "snapshot": FREE, "commands": FREE},
    "journal": {"wait_ms": 500},
    "backend": "onnxruntime",
    "threads": 1,
}


def station_config(**changes: Any) -> StationConfig:
    """The settings above with `changes`; sections are merged."""
    values = {key: dict(value) if isinstance(value, Mapping) else value for key, value in SETTINGS.items()}
    for key, value in changes.items():
        values[key] = values.get(key, {}) | value if isinstance(value, Mapping) else value
    return parse(StationConfig, values, "test")


class ScriptedCamera(Camera):
    """Delivers what is put into it: a picture, an error to raise, or EndOfStream."""

    def __init__(self, *, live: bool = False, endless: bool = True, silent_after_s: float | None = None) -> None:
        super().__init__("scripted")
        self.live, self.endless, self.silent_after_s = live, endless, silent_after_s
        self.script: queue.Queue[Any] = queue.Queue()
        self.opened = 0
        self.refuses_to_open = False
        self._numbers = itertools.count()

    def put(self, *items: Any) -> None:
        for item in items:
            self.script.put(item)

    def open(self) -> None:
        if self.refuses_to_open:
            raise CameraError("scripted: still gone")
        self.opened += 1

    def grab(self, timeout_s: float) -> Frame | None:
        try:
            item = self.script.get(timeout=timeout_s) if timeout_s else self.script.get_nowait()
        except queue.Empty:
            return None
        if isinstance(item, Exception):
            raise item
        if isinstance(item, Frame):
            return item
        return frame_now(item, next(self._numbers), "scripted")

    def close(self) -> None:
        """Nothing to give back."""


def good_frames(count: int) -> list[NDArray[np.uint8]]:
    return [good_picture(seed) for seed in range(count)]


class Misbehaving(Backend):
    """Scores by the first pixel: 250 hangs for `hang_s`, 251 raises, 252 says NaN, 253 raises what nobody expects."""

    name = "misbehaving"
    hang_s = 0.5
    opening_s = 0.0

    def open(self) -> None:
        time.sleep(self.opening_s)

    def infer(self, pictures: NDArray[np.uint8]) -> Outputs:
        cue = int(pictures[0, 0, 0, 0])
        if cue == 250:
            time.sleep(self.hang_s)
        if cue == 251:
            raise BackendError("misbehaving: as told")
        if cue == 253:
            raise MemoryError("no more")
        count, height, width = pictures.shape[:3]
        score = np.nan if cue == 252 else 0.0
        return Outputs(
            np.full((count, height, width), score, np.float32),
            np.full(count, score, np.float32),
            np.zeros((count, 3), np.float32),
        )

    def close(self) -> None:
        """Nothing to give back."""


def without_golden(bundle: Path, path: Path) -> Path:
    """A copy without golden pictures, for engines that could not stand the proof."""
    whole = read_bundle(bundle)
    files = {name: data for name, data in whole.files.items() if name not in (MANIFEST, DIGESTS)}
    write_bundle(path, whole.manifest.model_copy(update={"golden": []}), files)
    return path


def cue(value: int) -> NDArray[np.uint8]:
    picture = good_picture()
    picture[0, 0, 0] = value
    return picture


class Stand:
    """A running station, and everything it says on its feed."""

    def __init__(
        self,
        station: Station,
        stop: threading.Event,
        over: threading.Event,
        failed: list[BaseException],
        faults: Schedule,
    ) -> None:
        self.station, self.stop, self.over, self._failed = station, stop, over, failed
        self.faults = faults
        self.decisions: list[Decision] = []
        self.events: list[Event] = []
        self.heartbeats: list[Heartbeat] = []
        self._ids = itertools.count(1)
        self._context = zmq.Context()
        self._feed = self._context.socket(zmq.SUB)
        self._feed.subscribe(b"")
        self._feed.connect(station.feed.addresses["decisions"])
        self._commands = self._context.socket(zmq.REQ)
        self._commands.connect(station.feed.addresses["commands"])

    def read(self, timeout_s: float = 0.0) -> None:
        """Reads what is there; waits up to `timeout_s` for a first message."""
        wait_ms = int(timeout_s * 1e3)
        while self._feed.poll(wait_ms):
            wait_ms = 0
            message = decode_published(*self._feed.recv_multipart()[:2])
            for kind, kept in (
                (Decision, self.decisions),
                (Event, self.events),
                (Heartbeat, self.heartbeats),
            ):
                if isinstance(message, kind):
                    kept.append(message)  # type: ignore[arg-type]

    def until(self, true: Callable[[], bool], what: str) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not true():
            assert time.monotonic() < end_s, f"{what} did not happen; decisions {self.decisions}, {self.events}"
            self.read(0.02)

    def decided(self, count: int) -> list[Decision]:
        self.until(lambda: len(self.decisions) >= count, f"decision {count}")
        return self.decisions

    def told(self, code: str) -> Event:
        self.until(lambda: any(event.code == code for event in self.events), code)
        return next(event for event in self.events if event.code == code)

    def state(self, name: str) -> Heartbeat:
        """Waits for a heartbeat of the state."""
        self.heartbeats.clear()
        self.until(lambda: bool(self.heartbeats) and self.heartbeats[-1].state.value == name, f"state {name}")
        return self.heartbeats[-1]

    def command(self, op: str, **fields: Any) -> CommandReply:
        self._commands.send(encode(Command(id=next(self._ids), op=op, **fields)))  # type: ignore[arg-type]
        assert self._commands.poll(PATIENCE_S * 1e3), f"no reply to {op}"
        return decode(CommandReply, self._commands.recv())

    def ended(self) -> None:
        """Waits for the regular end of the run, and reads what it said to the last."""
        self.until(self.over.is_set, "the end")
        if not self._failed:
            self.until(lambda: any(event.code == "stopping" for event in self.events), "the last word")

    def close(self) -> None:
        self._feed.close(linger=0)
        self._commands.close(linger=0)
        self._context.term()

    @property
    def verdicts(self) -> list[str]:
        return [f"{decision.verdict.value} {decision.reason.value}" for decision in self.decisions]


@contextmanager
def station(
    tmp_path: Path, bundle: Path | None, scripted: Camera | None = None, *, limit: int = 0, **changes: Any
) -> Iterator[Stand]:
    """A station under way; `scripted` in place of the camera of the configuration. Raises what its run raised."""
    choice = selected(station_config(state=str(tmp_path / "state"), **changes), bundle)
    choice.folder.make()
    stop, bound, subscribed, over, read = (threading.Event() for _ in range(5))
    failed: list[BaseException] = []
    opened = Station(
        choice.config,
        choice.recipe,
        scripted or choice.camera,
        choice.folder,
        stop=stop,
        limit=limit,
        faults=choice.faults,
        camera_with=None if scripted is not None else choice.camera_with,
    )
    opened.feed.linger_ms = 0

    def work() -> None:
        try:
            with opened:
                bound.set()
                subscribed.wait(PATIENCE_S)
                opened.run()
                over.set()
                read.wait(PATIENCE_S)
        except BaseException as error:  # noqa: BLE001  handed to the test
            failed.append(error)
        finally:
            bound.set()
            over.set()

    with ExitStack() as stack:
        thread = threading.Thread(target=work, name="station under test")
        thread.start()
        for last in (thread.join, read.set, stop.set, subscribed.set):
            stack.callback(last)
        assert bound.wait(PATIENCE_S)
        if failed:
            raise failed[0]
        stand = Stand(opened, stop, over, failed, choice.faults)
        stack.callback(stand.close)
        stand.until(lambda: opened.feed.decision_subscribers() > 0, "the subscription")
        subscribed.set()
        yield stand
    if failed:
        raise failed[0]


def journal_rows(folder: Path) -> list[tuple[int, str, str, str]]:
    """(seq, verdict, reason, source) of every row, in order."""
    connection = sqlite3.connect(folder / "journal.sqlite")
    rows = connection.execute("SELECT seq, verdict, reason, source FROM decisions ORDER BY id").fetchall()
    connection.close()
    return rows
