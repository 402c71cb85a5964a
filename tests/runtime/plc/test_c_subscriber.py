"""docs/plc/subscriber.c, compiled and run: it lets parts go only by the rules of docs/feed.md."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from typing import Any

import msgpack
import pytest
import zmq

import feeds
from feeds import STATION, MemoryJournal, a_decision, open_feed, publish
from hanging import hang
from sad_runtime.identity import boot_id
from sad_runtime.messages import Heartbeat, Message, encode, topic_of
from sad_runtime.verdict import State

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "docs" / "plc" / "subscriber.c"
HEADERS = [Path("/usr/include/zmq.h"), Path("/usr/include/msgpack.h")]
PATIENCE_S = 10.0

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None or not all(header.exists() for header in HEADERS),
    reason="needs a C compiler, libzmq3-dev and libmsgpack-dev",
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("c") / "subscriber"
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-O1", "-g", "-fsanitize=address,undefined"]
    subprocess.run(
        ["cc", *flags, "-fno-sanitize-recover=all", str(SOURCE), "-o", str(path), "-lzmq", "-lmsgpackc"],
        check=True,
        timeout=120,
    )
    return path


class Reader:
    """The program under way, and what it prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: Queue[tuple[float, str]] = Queue()
        self._thread = Thread(target=self._read)
        self._thread.start()

    def says(self, start: str, within_s: float = PATIENCE_S) -> tuple[float, str]:
        """(CLOCK_MONOTONIC, line) of the next line, which must begin so."""
        try:
            when_s, line = self._lines.get(timeout=within_s)
        except Empty:
            raise AssertionError(f"no {start} in {within_s} s") from None
        assert line.startswith(start), line
        return when_s, line

    def lets(self, start: str) -> str:
        return self.says(start)[1]

    def says_nothing(self, for_s: float) -> None:
        time.sleep(for_s)
        assert self._lines.empty(), self._lines.get()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        hang(self._process.pid)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self._process.terminate()
        self._thread.join()
        assert self._process.wait(PATIENCE_S) == 0, "it ends well, and the sanitizers found nothing"

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put((time.monotonic(), line.strip()))


@contextmanager
def reading(program: Path, address: str) -> Iterator[Reader]:
    with subprocess.Popen([str(program), address, STATION], stdout=subprocess.PIPE, text=True) as process:
        reader = Reader(process)
        try:
            yield reader
        finally:
            reader.close()


class Publisher:
    """A bare socket: what is said, and when, is the test's."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self.address = socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self.seq = 0

    def subscribed(self) -> None:
        """Waits for both subscriptions."""
        for _ in range(2):
            assert self._socket.poll(int(PATIENCE_S * 1e3)), "nobody subscribed"
            self._socket.recv()

    def beat(self, **changes: Any) -> None:
        values: dict[str, Any] = {
            "run": "run-1",
            "station": STATION,
            "seq_last": self.seq,
            "state": State.READY,
            "online": True,
            "loop_count": 1,
            "quiet_ms": 250,
            "mono_ns": time.monotonic_ns(),
            "boot_id": boot_id(),
        }
        self.send(Heartbeat(**(values | changes)))

    def decide(self, **changes: Any) -> None:
        self.seq += 1
        self.send(a_decision(self.seq, **changes))

    def send(self, message: Message) -> None:
        self.raw(topic_of(message), encode(message))

    def raw(self, *frames: bytes) -> None:
        self._socket.send_multipart(list(frames))


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.XPUB)
    socket.bind(feeds.FREE)
    yield Publisher(socket)
    socket.close(linger=0)
    context.term()


@pytest.fixture
def reader(program: Path, publisher: Publisher) -> Iterator[Reader]:
    with reading(program, publisher.address) as reader:
        publisher.subscribed()
        yield reader


def test_a_pass_of_a_station_that_is_heard_lets_its_part_go(reader: Reader, publisher: Publisher) -> None:
    publisher.beat()
    reader.says("FRESH run=run-1")
    publisher.decide()
    assert reader.lets("LET") == "LET part=1001 seq=1"


def test_nothing_goes_before_the_first_heartbeat(reader: Reader, publisher: Publisher) -> None:
    publisher.decide()
    reader.says("REJECT part=1001 seq=1 no fresh heartbeat")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"verdict": "FAIL", "reason": "score", "score": 9.0}, "not PASS"),
        ({"verdict": "INVALID", "reason": "black"}, "not PASS"),
        ({"age_ms": 1001.0}, "too old"),
        ({"mono_ns": time.monotonic_ns() - 2_000_000_000}, "too old"),
        ({"mono_ns": time.monotonic_ns() + 10**13}, "too old"),
        ({"age_ms": 1001.0, "boot_id": "another computer"}, "too old"),
        ({"run": "run-0"}, "of another run"),
        ({"score": None}, "PASS without a score"),
        ({"score": float("nan")}, "PASS without a score"),
        ({"score": 4.5}, "PASS without a score"),
        ({"flags": ["review", "simulated"]}, "simulated"),
        ({"flags": "simulated"}, "simulated"),
        ({"flags": None}, "simulated"),
        ({"flags": [7]}, "simulated"),
    ],
)
def test_whatever_is_not_a_fresh_pass_is_rejected(
    reader: Reader, publisher: Publisher, changes: dict[str, Any], why: str
) -> None:
    publisher.beat()
    reader.says("FRESH")
    publisher.seq += 1
    fields = {"verdict": "PASS", "reason": "ok"} | changes
    values = msgpack.unpackb(encode(a_decision(publisher.seq))) | fields
    publisher.raw(f"decision.{STATION}".encode(), msgpack.packb(values))
    reader.says(f"REJECT part=1001 seq=1 {why}")


def test_a_word_that_it_does_not_know_is_rejected(reader: Reader, publisher: Publisher) -> None:
    publisher.beat()
    reader.says("FRESH")
    values = msgpack.unpackb(encode(a_decision(1)))
    publisher.raw(f"decision.{STATION}".encode(), msgpack.packb(values | {"verdict": "PASSABLE"}))
    reader.says("REJECT")


def test_a_station_that_is_not_online_lets_nothing_go(reader: Reader, publisher: Publisher) -> None:
    publisher.beat(online=False)
    reader.says("FRESH")
    publisher.decide()
    reader.says("REJECT part=1001 seq=1 the station is not online")


def test_an_age_from_another_computer_is_taken_from_the_message(reader: Reader, publisher: Publisher) -> None:
    publisher.beat(boot_id="another computer", mono_ns=5)
    reader.says("FRESH")
    publisher.decide(boot_id="another computer", mono_ns=5)
    reader.says("LET")


def test_a_hole_is_told_and_an_old_number_never_acted_on(reader: Reader, publisher: Publisher) -> None:
    publisher.beat()
    reader.says("FRESH")
    publisher.decide()
    reader.says("LET part=1001")
    publisher.seq += 2
    publisher.decide()
    reader.says("LOST 2")
    reader.says("LET part=1004 seq=4")
    publisher.send(a_decision(2))
    publisher.seq += 1
    publisher.beat()
    reader.says("LOST 1")


def test_every_kind_of_value_may_stand_beside_what_it_reads(reader: Reader, publisher: Publisher) -> None:
    publisher.beat()
    reader.says("FRESH")
    values: list[Any] = [None, True, 1, -1, 200, 2**16 - 1, 2**32 - 1, 2**63, -200, -(2**15), -(2**31), -(2**63), 0.5]
    values += ["a" * n for n in (0, 31, 200, 300)] + [b"b" * n for n in (0, 300, 30_000)]
    values += [msgpack.ExtType(5, b"e" * n) for n in (0, 1, 2, 3, 4, 8, 16, 17, 300)]
    values += [[1] * n for n in (0, 15, 16, 300)] + [{n: n for n in range(m)} for m in (0, 15, 16)]
    body = msgpack.unpackb(encode(a_decision(1))) | {"new": values}
    publisher.raw(f"decision.{STATION}".encode(), msgpack.packb(body))
    reader.says("LET part=1001 seq=1")


def test_a_restart_is_stale_until_the_new_run_is_heard(reader: Reader, publisher: Publisher) -> None:
    publisher.beat()
    reader.says("FRESH")
    publisher.seq = 0
    publisher.beat(run="run-2")
    reader.says("STALE the station was started anew")
    reader.says("FRESH run=run-2")
    publisher.decide(run="run-2")
    reader.says("LET")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\xde\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa1v\xdd\x10\x00\x00\x00",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\xdb\xff\xff\xff\xff",
        b"\x91" * 60_000,
        b"\x80",
        msgpack.packb([1, 2]),
        msgpack.packb({"v": 2, "station": STATION}),
        msgpack.packb({"v": "1"}),
        encode(a_decision(1))[:-3],
        encode(a_decision(1)) + b"\x00",
    ],
)
def test_rubbish_is_refused_and_what_comes_after_it_is_read(reader: Reader, publisher: Publisher, body: bytes) -> None:
    publisher.raw(f"decision.{STATION}".encode(), body)
    reader.says("REFUSED")
    publisher.beat()
    reader.says("FRESH")
    publisher.decide()
    reader.says("LET")


def test_heartbeats_of_another_major_prove_nothing(reader: Reader, publisher: Publisher) -> None:
    publisher.beat()
    reader.says("FRESH")
    for _ in range(2):
        publisher.raw(f"heartbeat.{STATION}".encode(), msgpack.packb({"v": 2, "station": STATION, "run": "run-1"}))
        reader.says("REFUSED a message of another major")
        time.sleep(0.1)
    reader.says("STALE")
    publisher.decide()
    reader.says("REJECT part=1001 seq=1 no fresh heartbeat")


def test_frames_too_few_or_too_many_and_other_stations_harm_nothing(reader: Reader, publisher: Publisher) -> None:
    publisher.raw(f"decision.{STATION}".encode())
    publisher.raw(f"decision.{STATION}0".encode(), encode(a_decision(1, station=f"{STATION}0")))
    publisher.raw(f"decision.{STATION}".encode() + b"x" * 500, encode(a_decision(1, station="other")))
    publisher.beat()
    reader.says("FRESH")
    publisher.raw(f"decision.{STATION}".encode(), encode(a_decision(1)), b"a third frame")
    reader.says("LET")


def test_a_heartbeat_that_lay_unread_is_not_fresh(reader: Reader, publisher: Publisher) -> None:
    publisher.beat(mono_ns=time.monotonic_ns() - 400_000_000)
    publisher.decide()
    reader.says("REJECT part=1001 seq=1 no fresh heartbeat")


@pytest.mark.parametrize("flag", ["review", "degraded", "a word of tomorrow"])
def test_other_flags_change_nothing(reader: Reader, publisher: Publisher, flag: str) -> None:
    publisher.beat()
    reader.says("FRESH")
    values = msgpack.unpackb(encode(a_decision(1)))
    publisher.raw(f"decision.{STATION}".encode(), msgpack.packb(values | {"flags": [flag]}))
    reader.says("LET")


@pytest.mark.parametrize("run", ["run-1", "run-2"])
@pytest.mark.parametrize("clock_ns", [0, 10**15, -(10**9)])
def test_what_lay_unread_while_it_hung_is_old_also_from_another_computer(
    reader: Reader, publisher: Publisher, run: str, clock_ns: int
) -> None:
    """Whose clock is another one, and which may have started its station anew meanwhile."""

    def there() -> dict[str, Any]:
        return {"boot_id": "another computer", "mono_ns": time.monotonic_ns() + clock_ns}

    publisher.beat(**there())
    reader.says("FRESH run=run-1")
    publisher.decide(**there())
    reader.says("LET part=1001")
    with reader.hanging():
        publisher.seq = 1 if run == "run-1" else 0
        publisher.beat(run=run, **there())
        publisher.decide(run=run, **there())
        for _ in range(7):
            publisher.beat(run=run, **there())
            time.sleep(0.1)
    reader.says("STALE no heartbeat")
    reader.says("REJECT")
    reader.says(f"FRESH run={run}")
    publisher.decide(run=run, **there())
    reader.says("LET")


def test_a_clock_that_no_heartbeat_came_from_makes_a_decision_old(reader: Reader, publisher: Publisher) -> None:
    publisher.beat(boot_id="another computer")
    reader.says("FRESH")
    publisher.decide(boot_id="a third one")
    reader.says("REJECT part=1001 seq=1 too old")
    publisher.beat(boot_id="a third one")
    publisher.decide(boot_id="a third one")
    reader.says("LET")


@pytest.mark.parametrize("mono_ns", [0, 2**62, 2**63, 2**64 - 1])
def test_a_clock_beyond_all_sense_lets_nothing_go(reader: Reader, publisher: Publisher, mono_ns: int) -> None:
    publisher.beat(boot_id="another computer")
    reader.says("FRESH")
    values = msgpack.unpackb(encode(a_decision(1, boot_id="another computer")))
    publisher.raw(f"decision.{STATION}".encode(), msgpack.packb(values | {"mono_ns": mono_ns}))
    reader.says("REJECT part=1001 seq=1 too old")


def test_a_real_feed_is_read(program: Path, tmp_path: Path) -> None:
    journal = MemoryJournal()
    with open_feed(tmp_path, journal) as feed, reading(program, feed.addresses["decisions"]) as reader:
        feed.status(state=State.READY, online=True)
        feed.tick()
        reader.says("FRESH run=run-1")
        time.sleep(0.12)  # a heartbeat that says online
        publish(feed, journal, a_decision(1))
        reader.says("LET part=1001 seq=1")


def test_a_killed_station_is_stale_within_350_ms(program: Path, tmp_path: Path) -> None:
    address, snapshot = (f"ipc://{tmp_path / name}" for name in ("decisions", "snapshot"))
    command = [sys.executable, str(ROOT / "tests" / "feeds.py"), address, snapshot, str(tmp_path), "run-1", "1"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as station,
        reading(program, address) as reader,
    ):
        try:
            reader.says("FRESH")
            time.sleep(0.25)
        finally:
            station.kill()
        killed_s = time.monotonic()
        said_s, _ = reader.says("STALE no heartbeat", 2.0)
        assert said_s - killed_s < 0.35
        reader.says_nothing(0.3)
