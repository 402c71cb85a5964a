"""Malformed, oversize, flooding and unauthenticated peers at all four sockets, plain and encrypted: no harm done.

The judge is an honest reader: every decision reaches it, in order, young. What is random here has a fixed seed.
"""

from __future__ import annotations

import random
import socket as system_socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgpack
import pytest
import zmq

from feed_keys import KeyFolder, encrypted_feed
from feeds import STATION, MemoryJournal, a_decision, publish, wait_until
from sad_runtime.feed.curve_keys import ClientKeys
from sad_runtime.feed.pace import Pace
from sad_runtime.feed.publisher import Feed
from sad_runtime.feed.requests import BURST, REQUESTS_PER_S
from sad_runtime.messages import Command, CommandReply, SnapshotReply, SnapshotRequest, decode, encode
from sad_runtime.subscriber import Subscriber

SOCKETS = ("decisions", "heatmaps", "snapshot", "commands")
GREETING = b"\xff" + bytes(8) + b"\x7f"
ZMTP1 = b"\x01\x00" + b"\x05\x00junk" * 200
ZMTP3_NULL = GREETING + b"\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
ZMTP3_CURVE = GREETING + b"\x03\x01" + b"CURVE".ljust(20, b"\0") + bytes(32)
LATE_MS, TOO_LATE_MS = 250.0, 1000.0
"""Whoever knocks, a decision in a hundred at most is later than this at the reader, a quarter of the default deadline;
none is later than all of it. The flood comes from the reader's own process, on two cores."""


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture(params=["plain", "curve"])
def stand(
    request: pytest.FixtureRequest, tmp_path: Path, journal: MemoryJournal
) -> Iterator[tuple[Feed, ClientKeys | None]]:
    keys = KeyFolder(tmp_path / "keys") if request.param == "curve" else None
    honest = keys.reader("honest") if keys is not None else None
    with encrypted_feed(tmp_path, keys, journal) as feed:
        yield feed, honest


@contextmanager
def line_to(address: str, keys: ClientKeys | None, kind: int = zmq.DEALER) -> Iterator[zmq.Socket[bytes]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(kind) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SNDHWM, 100)
        socket.setsockopt(zmq.RCVTIMEO, 5000)
        if keys is not None:
            keys.apply(socket)
        socket.connect(address)
        yield socket


def throw(feed: Feed, name: str, data: bytes) -> None:
    port = int(feed.addresses[name].rpartition(":")[2])
    with system_socket.create_connection(("127.0.0.1", port)) as stranger, suppress(OSError):
        stranger.sendall(data)
        stranger.shutdown(system_socket.SHUT_WR)
        stranger.settimeout(0.02)
        stranger.recv(100)


def check_in_time(ages_ms: Sequence[float]) -> None:
    late = sorted(ages_ms)[-(len(ages_ms) // 100 + 1) :]
    assert late[0] < LATE_MS, late
    assert late[-1] < TOO_LATE_MS, late


def ages_while(
    feed: Feed, journal: MemoryJournal, keys: ClientKeys | None, seconds: float, trouble: Callable[[], object]
) -> list[float]:
    """ms from publishing to reading of every decision, 100 a second, while `trouble` goes on in a thread of its own."""
    ages = []
    with Subscriber(feed.addresses["decisions"], keys=keys) as reader:
        wait_until(lambda: reader.poll(20) is None and reader.heartbeat is not None, "a heartbeat")
        first = len(journal.rows) + 1
        thread = threading.Thread(target=trouble)
        thread.start()
        until_s = time.monotonic() + seconds
        found = []
        while time.monotonic() < until_s or thread.is_alive():
            publish(feed, journal, a_decision(len(journal.rows) + 1, age_ms=0.0))
            decision = reader.poll(10)
            while decision is not None:  # one that was late must not make all after it late too
                found.append(decision.seq)
                ages.append(reader.age_ms(decision))
                decision = reader.poll(0)
        thread.join()
        for decision in reader.decisions(0.5):
            found.append(decision.seq)
        assert found == list(range(first, len(journal.rows) + 1))
        assert reader.lost == 0
    return ages


def still_answers(feed: Feed, keys: ClientKeys | None) -> None:
    with line_to(feed.addresses["commands"], keys) as line:
        line.send(encode(Command(id=7, op="pause")))
        assert decode(CommandReply, line.recv()) == CommandReply(id=7, ok=True)
    with line_to(feed.addresses["snapshot"], keys) as line:
        line.send(encode(SnapshotRequest(station=STATION, from_seq=1, to_seq=2)))
        assert decode(SnapshotReply, line.recv()).error is None


def test_raw_junk_at_every_port_is_survived_and_counted(
    stand: tuple[Feed, ClientKeys | None], journal: MemoryJournal
) -> None:
    feed, keys = stand
    dice = random.Random(1)
    junk = [
        b"GET / HTTP/1.1\r\n\r\n" * 20,
        bytes(500),
        ZMTP1,
        GREETING,
        ZMTP3_NULL + dice.randbytes(300),
        ZMTP3_CURVE + dice.randbytes(300),
        ZMTP3_CURVE + b"\x04\xc8\x05HELLO" + dice.randbytes(194),
        *(dice.randbytes(dice.randrange(1, 3000)) for _ in range(8)),
        *(GREETING + dice.randbytes(dice.randrange(1, 300)) for _ in range(8)),
    ]

    def trouble() -> None:
        for data in junk:
            for name in SOCKETS:
                throw(feed, name, data)

    ages = ages_while(feed, journal, keys, 0.5, trouble)
    check_in_time(ages)
    assert sum(feed.refused().values()) >= len(junk), feed.refused()
    still_answers(feed, keys)


def test_half_open_connections_are_dropped_and_keep_nobody_out(
    stand: tuple[Feed, ClientKeys | None], journal: MemoryJournal
) -> None:
    feed, keys = stand
    with ExitStack() as open_ones:
        for name in SOCKETS:
            for start in (b"", GREETING[:5], ZMTP3_CURVE[:40]):
                port = int(feed.addresses[name].rpartition(":")[2])
                one = open_ones.enter_context(system_socket.create_connection(("127.0.0.1", port)))
                one.sendall(start)
        still_answers(feed, keys)
        wait_until(lambda: feed.refused().get("unfinished", 0) >= 8, "the end of the silent ones")
    check_in_time(ages_while(feed, journal, keys, 0.2, lambda: None))


def test_random_frames_random_maps_and_oversize_from_a_reader_on_the_list(
    stand: tuple[Feed, ClientKeys | None], journal: MemoryJournal
) -> None:
    feed, keys = stand
    dice = random.Random(2)

    def value() -> object:
        return dice.choice(
            [None, True, dice.getrandbits(64), -1, 1.5, "x" * dice.randrange(99), [1], {"a": [{}]}, b"b"]
        )

    fields = [*Command.model_fields, *SnapshotRequest.model_fields]

    def trouble() -> None:
        for name in ("snapshot", "commands"):
            with line_to(feed.addresses[name], keys) as line:
                for _ in range(60):
                    line.send_multipart([dice.randbytes(dice.randrange(99)) for _ in range(dice.randrange(1, 6))])
                    line.send(msgpack.packb({"v": 1} | {dice.choice(fields): value() for _ in range(5)}))
                    line.send(b"\x91" * 3000)  # lists in lists
                wait_until(lambda: feed.refused().get("requests", 0) > 20, "requests to be dropped")
                line.send(bytes(70_000))
        for name in ("decisions", "heatmaps"):
            with line_to(feed.addresses[name], keys, zmq.XSUB) as line:
                for _ in range(200):
                    line.send(bytes([dice.randrange(3)]) + dice.randbytes(dice.randrange(60)))
                line.send(b"\1" + bytes(70_000))
                time.sleep(0.1)

    check_in_time(ages_while(feed, journal, keys, 0.5, trouble))
    still_answers(feed, keys)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOCKETS)
def test_a_flood_of_ten_thousand_a_second_delays_no_decision_and_no_trigger(
    name: str, stand: tuple[Feed, ClientKeys | None], journal: MemoryJournal
) -> None:
    feed, keys = stand
    waits: list[float] = []
    request = {
        "commands": encode(Command(id=1, op="pause")),
        "snapshot": encode(SnapshotRequest(station=STATION, from_seq=1, to_seq=1)),
    }
    dice = random.Random(3)

    def trouble() -> None:
        kind = zmq.DEALER if name in request else zmq.XSUB
        with line_to(feed.addresses[name], keys, kind) as flood, line_to(feed.addresses["commands"], keys) as plc:
            asked_s = 0.0
            start_s, sent = time.monotonic(), 0
            while time.monotonic() < start_s + 2.0:
                if sent > (time.monotonic() - start_s) * 10_000:
                    time.sleep(0.001)
                with suppress(zmq.Again):
                    flood.send(request.get(name, b"\1hello" + dice.randbytes(4)), zmq.NOBLOCK)
                    sent += 1
                if not asked_s:
                    plc.send(encode(Command(id=2, op="pause")))
                    asked_s = time.monotonic()
                elif plc.poll(0):
                    plc.recv()
                    waits.append((time.monotonic() - asked_s) * 1000)
                    asked_s = 0.0

    ages = ages_while(feed, journal, keys, 2.0, trouble)
    check_in_time(ages)
    assert len(waits) > 20
    check_in_time(waits)
    print(f"{name}: decision worst {max(ages):.1f} ms, command worst {max(waits):.1f} ms of {len(waits)}")


@pytest.mark.slow
def test_connections_by_the_thousand_delay_no_decision(
    stand: tuple[Feed, ClientKeys | None], journal: MemoryJournal
) -> None:
    feed, keys = stand

    def trouble() -> None:
        for _ in range(250):
            for name in SOCKETS:
                throw(feed, name, b"")

    check_in_time(ages_while(feed, journal, keys, 1.0, trouble))
    wait_until(lambda: sum(feed.refused().values()) >= 900, "all to be counted")
    still_answers(feed, keys)


def test_the_pace_allows_a_burst_and_then_so_many_a_second() -> None:
    now_s = 0.0
    pace = Pace(100.0, 5, lambda: now_s)
    assert [pace.wait_s() for _ in range(5)] == [0.0] * 5
    assert pace.wait_s() == pytest.approx(0.01)
    now_s = 0.0101
    assert pace.wait_s() == 0.0
    assert pace.wait_s() > 0
    now_s = 100.0
    assert [pace.wait_s() for _ in range(6)][:5] == [0.0] * 5


def test_a_flood_of_requests_is_answered_at_the_pace_and_not_faster(
    stand: tuple[Feed, ClientKeys | None],
) -> None:
    feed, keys = stand
    with line_to(feed.addresses["commands"], keys) as line:
        start_s, answers = time.monotonic(), 0
        while time.monotonic() < start_s + 0.8:
            with suppress(zmq.Again):
                line.send(encode(Command(id=1, op="pause")), zmq.NOBLOCK)
            while line.poll(0):
                line.recv()
                answers += 1
    assert BURST < answers <= BURST + REQUESTS_PER_S * 0.9
