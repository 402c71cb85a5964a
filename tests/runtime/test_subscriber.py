"""The reading side against a real feed: nothing twice, nothing silently lost, nothing old taken for new."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgpack
import pytest
import zmq

import feeds
from feeds import STATION, MemoryJournal, a_decision, open_feed, publish, wait_until
from ports import free_port
from sad_runtime.errors import UsageError
from sad_runtime.feed.ordering import Gap
from sad_runtime.feed.publisher import Feed
from sad_runtime.messages import (
    Decision,
    Event,
    Heartbeat,
    Message,
    SnapshotReply,
    SnapshotRequest,
    UnknownMajor,
    encode,
    topic_of,
)
from sad_runtime.subscriber import ALIVE_MS, Subscriber
from sad_runtime.verdict import State


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def feed(tmp_path: Path, journal: MemoryJournal) -> Iterator[Feed]:
    with open_feed(tmp_path, journal) as feed:
        yield feed


def attached(feed: Feed, reader: Subscriber) -> Subscriber:
    """Waits until `reader` has heard a heartbeat."""
    wait_until(lambda: _poll(feed, reader) is None and reader.heartbeat is not None, "a first heartbeat")
    return reader


def _poll(feed: Feed, reader: Subscriber) -> Decision | None:
    feed.tick()
    return reader.poll(20)


def seqs(reader: Subscriber, timeout_s: float = 0.4) -> list[int]:
    return [decision.seq for decision in reader.decisions(timeout_s)]


# --- the plain way


def test_live_decisions_come_in_order_and_are_young(feed: Feed, journal: MemoryJournal) -> None:
    with Subscriber(feed.addresses["decisions"]) as reader:
        attached(feed, reader)
        for seq in range(1, 101):
            publish(feed, journal, a_decision(seq))
        found = list(reader.decisions(0.4))
        assert found == journal.rows
        assert not reader.recovered(found[-1])
        assert 400 < reader.age_ms(found[-1]) < 5000, "20 ms when it was published, and the wait since"
        assert (reader.run, reader.station, reader.lost) == ("run-1", STATION, 0)
    assert journal.requests == []


def test_a_decision_is_delivered_at_once(feed: Feed, journal: MemoryJournal) -> None:
    with Subscriber(feed.addresses["decisions"]) as reader:
        attached(feed, reader)
        ages_ms = []
        for seq in range(1, 51):
            publish(feed, journal, a_decision(seq))
            decision = reader.poll(1000)
            assert decision is not None
            ages_ms.append(reader.age_ms(decision) - decision.age_ms)
    assert sorted(ages_ms)[25] < 20


def test_a_late_joiner_starts_at_the_next_decision(feed: Feed, journal: MemoryJournal) -> None:
    for seq in range(1, 51):
        publish(feed, journal, a_decision(seq))
    with Subscriber(feed.addresses["decisions"]) as reader:
        attached(feed, reader)
        publish(feed, journal, a_decision(51))
        assert seqs(reader) == [51]


def test_a_late_joiner_who_wants_history_gets_all_of_it_in_pages(feed: Feed, journal: MemoryJournal) -> None:
    for seq in range(1, 2101):
        publish(feed, journal, a_decision(seq))
    with Subscriber(feed.addresses["decisions"], history=True) as reader:
        first = reader.poll(5000)
        assert first is not None
        assert (first.seq, reader.recovered(first), reader.age_ms(first)) == (1, True, math.inf)
        publish(feed, journal, a_decision(2101))
        rest = list(reader.decisions(0.5))
        assert [decision.seq for decision in rest] == list(range(2, 2102))
        assert not reader.recovered(rest[-1])
    assert len(journal.requests) == 3


def test_a_reader_that_is_there_first_waits_for_the_station(tmp_path: Path, journal: MemoryJournal) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    with Subscriber(address) as reader:
        assert reader.poll(50) is None
        assert (reader.alive, reader.silent_ms) == (False, math.inf)
        with open_feed(tmp_path, journal, decisions=address) as feed:
            attached(feed, reader)
            assert reader.alive


def test_events_are_handed_on(feed: Feed) -> None:
    events: list[Event] = []
    event = Event(run="run-1", station=STATION, code="camera_lost", level="error", text="the camera is gone")
    with Subscriber(feed.addresses["decisions"], on_event=events.append) as reader:
        attached(feed, reader)
        feed.publish(event)
        wait_until(lambda: _poll(feed, reader) is None and bool(events), "the event")
    assert events == [event]


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="not the address of a feed"), Subscriber("line1:5555"):
        pass


# --- several stations, strangers, newer publishers


@pytest.fixture
def publisher() -> Iterator[zmq.Socket[bytes]]:
    """A bare socket that says whatever a test wants."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context, context.socket(zmq.XPUB) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 5000)
        socket.bind("tcp://127.0.0.1:*")
        yield socket


def say(publisher: zmq.Socket[bytes], message: Message) -> None:
    publisher.send_multipart([topic_of(message), encode(message)])


def hear(publisher: zmq.Socket[bytes], subscriptions: int = 4) -> None:
    for _ in range(subscriptions):
        publisher.recv()


def endpoint(publisher: zmq.Socket[bytes]) -> str:
    return publisher.get_string(zmq.LAST_ENDPOINT).rstrip("\0")


def test_a_station_whose_name_only_begins_alike_is_not_heard(publisher: zmq.Socket[bytes]) -> None:
    with Subscriber(endpoint(publisher), station="line1") as reader:
        hear(publisher)
        say(publisher, a_decision(1, station="line10"))
        say(publisher, a_decision(1))
        decision = reader.poll(2000)
        assert decision is not None
        assert decision.station == "line1"
        assert reader.poll(50) is None


def test_the_first_station_that_speaks_is_followed(publisher: zmq.Socket[bytes]) -> None:
    with Subscriber(endpoint(publisher)) as reader:
        hear(publisher)
        for station in ("north", "south", "north"):
            say(publisher, a_decision(1 if station == "south" else reader.lost + 5, station=station))
        assert [decision.station for decision in reader.decisions(0.2)] == ["north"]


def test_junk_is_counted_and_what_is_younger_than_the_reader_is_passed_over(publisher: zmq.Socket[bytes]) -> None:
    with Subscriber(endpoint(publisher)) as reader:
        hear(publisher)
        publisher.send_multipart([b"decision.line1", b"\xc1junk"])
        publisher.send_multipart([b"decision.line1"])
        publisher.send_multipart([b"hello-world", b"\x80"])
        publisher.send_multipart([b"decision.line1", encode(a_decision(1)), b"a frame of a later version"])
        assert seqs(reader, 0.2) == [1]
        assert reader.refused == 1


def test_a_publisher_of_another_major_is_refused_aloud(publisher: zmq.Socket[bytes]) -> None:
    with Subscriber(endpoint(publisher)) as reader:
        hear(publisher)
        publisher.send_multipart([b"hello", msgpack.packb({"v": 2})])
        with pytest.raises(UnknownMajor, match="schema 2 is not 1"):
            reader.poll(2000)


# --- holes


def test_a_hole_is_filled_from_the_snapshot_socket(feed: Feed, journal: MemoryJournal) -> None:
    with Subscriber(feed.addresses["decisions"]) as reader:
        attached(feed, reader)
        publish(feed, journal, a_decision(1))
        journal.rows += [a_decision(2), a_decision(3)]  # lost on the way
        publish(feed, journal, a_decision(4))
        found = list(reader.decisions(0.4))
        assert [decision.seq for decision in found] == [1, 2, 3, 4]
        assert [reader.recovered(decision) for decision in found] == [False, True, True, False]
        assert [math.isinf(reader.age_ms(decision)) for decision in found] == [False, True, True, False]
        assert reader.lost == 0


def test_the_loss_of_the_last_decision_is_noticed_by_the_heartbeat(feed: Feed, journal: MemoryJournal) -> None:
    with Subscriber(feed.addresses["decisions"]) as reader:
        attached(feed, reader)
        journal.rows.append(a_decision(1))
        feed._pulse.seq_last = 1  # as if it had been published and dropped at the high-water mark
        feed.tick()
        assert seqs(reader) == [1]


def test_what_cannot_be_recovered_is_told_in_its_place(feed: Feed, journal: MemoryJournal) -> None:
    story: list[object] = []
    with Subscriber(feed.addresses["decisions"], on_gap=story.append) as reader:
        attached(feed, reader)
        publish(feed, journal, a_decision(1))
        publish(feed, journal, a_decision(4))
        for decision in reader.decisions(0.4):
            story.append(decision.seq)
        assert story == [1, Gap("run-1", 2, 3), 4]
        assert reader.lost == 2


def test_a_reader_that_must_not_wait_recovers_nothing(feed: Feed, journal: MemoryJournal) -> None:
    with Subscriber(feed.addresses["decisions"], recover=False) as reader:
        attached(feed, reader)
        publish(feed, journal, a_decision(1))
        journal.rows.append(a_decision(2))
        publish(feed, journal, a_decision(3))
        assert seqs(reader) == [1, 3]
        assert reader.lost == 1
    assert journal.requests == []


def test_a_silent_snapshot_socket_delays_but_does_not_stop_the_decisions(feed: Feed, journal: MemoryJournal) -> None:
    silent = f"tcp://127.0.0.1:{free_port()}"
    with Subscriber(feed.addresses["decisions"], snapshot=silent, recovery_timeout_s=0.3) as reader:
        attached(feed, reader)
        publish(feed, journal, a_decision(1))
        publish(feed, journal, a_decision(3))
        start_s = time.monotonic()
        found: list[int] = []
        while len(found) < 2:
            decision = _poll(feed, reader)
            found += [decision.seq] if decision else []
            assert reader.alive, "heartbeats are read while the journal is waited for"
        assert 0.25 < time.monotonic() - start_s < 2.0
        assert (found, reader.lost) == ([1, 3], 1)


def test_a_snapshot_socket_that_answers_nonsense_is_given_up(feed: Feed, journal: MemoryJournal) -> None:
    with Subscriber(feed.addresses["decisions"], snapshot=feed.addresses["commands"]) as reader:
        attached(feed, reader)
        publish(feed, journal, a_decision(1))
        publish(feed, journal, a_decision(3))
        assert seqs(reader) == [1, 3]
        assert reader.lost == 1


def test_a_snapshot_address_that_is_none_is_given_up(publisher: zmq.Socket[bytes]) -> None:
    with Subscriber(endpoint(publisher), snapshot="nowhere", recovery_timeout_s=0.1) as reader:
        hear(publisher)
        say(publisher, a_decision(1))
        say(publisher, a_decision(3))
        assert seqs(reader) == [1, 3]


def test_an_answer_that_comes_too_late_is_not_taken_for_that_to_the_next_question(tmp_path: Path) -> None:
    class Slow(MemoryJournal):
        def replay(self, request: SnapshotRequest) -> SnapshotReply:
            if request.from_seq == 2:
                time.sleep(0.5)
            return super().replay(request)

    journal = Slow()
    gaps: list[Gap] = []
    with (
        open_feed(tmp_path, journal) as feed,
        Subscriber(feed.addresses["decisions"], recovery_timeout_s=0.3, on_gap=gaps.append) as reader,
    ):
        attached(feed, reader)
        journal.rows = [a_decision(seq) for seq in range(1, 7)]
        feed.publish(journal.rows[0])
        feed.publish(journal.rows[2])
        found = seqs(reader, 0.35)
        feed.publish(journal.rows[5])
        found += seqs(reader, 1.0)
    assert gaps[0] == Gap("run-1", 2, 2)
    assert sorted([*found, *(seq for gap in gaps for seq in range(gap.from_seq, gap.to_seq + 1))]) == [1, 2, 3, 4, 5, 6]


def test_a_reader_that_stood_still_ends_with_a_whole_record(feed: Feed, journal: MemoryJournal) -> None:
    """10 000 decisions of 3 KB to a reader that takes none: far more than high-water marks and buffers hold."""
    with Subscriber(feed.addresses["decisions"], high_water=100) as reader:
        attached(feed, reader)
        for seq in range(1, 10_001):
            publish(feed, journal, a_decision(seq, model_digest="ab" * 1500))
        found = list(reader.decisions(1.0))
        assert [decision.seq for decision in found] == list(range(1, 10_001))
        assert reader.lost == 0
        recovered = sum(reader.recovered(decision) for decision in found)
        assert 100 < recovered < 10_000


def test_a_decision_that_lay_unread_is_old_although_it_has_just_been_read(feed: Feed, journal: MemoryJournal) -> None:
    with Subscriber(feed.addresses["decisions"]) as reader:
        attached(feed, reader)
        publish(feed, journal, a_decision(1))
        time.sleep(0.3)
        decision = reader.poll(1000)
        assert decision is not None
        assert reader.age_ms(decision) > 320


def test_from_another_computer_age_counts_from_arrival(publisher: zmq.Socket[bytes]) -> None:
    with Subscriber(endpoint(publisher)) as reader:
        hear(publisher)
        say(publisher, a_decision(1, boot_id="another", mono_ns=5))
        decision = reader.poll(2000)
        assert decision is not None
        assert 20 <= reader.age_ms(decision) < 500
        assert reader.age_ms(a_decision(99)) == math.inf, "never seen"


# --- silence and restarts


def test_a_loop_that_hangs_is_noticed_and_also_that_it_goes_on(feed: Feed) -> None:
    feed.status(state=State.READY, online=True, deadline_ms=100)
    with Subscriber(feed.addresses["decisions"]) as reader:
        attached(feed, reader)
        feed.tick()
        hung_s = time.monotonic()
        wait_until(lambda: reader.poll(5) is None and not reader.alive, "silence")
        noticed_ms = (time.monotonic() - hung_s) * 1000
        assert reader.heartbeat is not None
        assert noticed_ms < reader.heartbeat.quiet_ms + ALIVE_MS + 100, "100 ms for a slow machine"
        feed.tick()
        wait_until(lambda: _poll(feed, reader) is None and reader.alive, "life")


def test_a_heartbeat_that_lay_unread_does_not_make_the_feed_alive(publisher: zmq.Socket[bytes]) -> None:
    beat = Heartbeat(
        run="run-1",
        station=STATION,
        seq_last=0,
        state=State.READY,
        online=True,
        loop_count=1,
        quiet_ms=250,
        mono_ns=time.monotonic_ns(),
        boot_id=a_decision(1).boot_id,
    )
    with Subscriber(endpoint(publisher)) as reader:
        hear(publisher)
        say(publisher, beat)
        time.sleep(ALIVE_MS / 1000)
        assert reader.poll(50) is None
        assert reader.heartbeat == beat
        assert not reader.alive


def test_after_a_regular_restart_the_end_of_the_old_run_comes_first(tmp_path: Path) -> None:
    address, snapshot = (f"tcp://127.0.0.1:{port}" for port in (free_port(), free_port()))
    first, second = MemoryJournal("run-1"), MemoryJournal("run-2")
    with Subscriber(address) as reader:
        with open_feed(tmp_path, first, decisions=address, snapshot=snapshot) as feed:
            attached(feed, reader)
            publish(feed, first, a_decision(1))
            assert seqs(reader) == [1]
            first.rows.append(a_decision(2))  # in the journal, but never sent
        second.rows = [*first.rows]
        with open_feed(tmp_path, second, decisions=address) as feed:  # and the snapshot socket has moved
            publish(feed, second, a_decision(1, run="run-2"))
            found: list[Decision] = []
            while len(found) < 2:
                feed.tick()
                found += [decision for decision in [reader.poll(100)] if decision]
        assert [(decision.run, decision.seq) for decision in found] == [("run-1", 2), ("run-2", 1)]
        assert (reader.run, reader.lost) == ("run-2", 0)


def test_a_station_that_is_killed_and_started_again_is_followed(tmp_path: Path) -> None:
    address, snapshot = (f"tcp://127.0.0.1:{port}" for port in (free_port(), free_port()))
    with Subscriber(address, history=True) as reader:
        with _station(address, snapshot, tmp_path, "first", 50):
            first = _decisions_of(reader, "first", 50)
            wait_until(lambda: reader.poll(20) is None and reader.alive, "a heartbeat")
        killed_s = time.monotonic()
        wait_until(lambda: reader.poll(5) is None and not reader.alive, "silence")
        assert (time.monotonic() - killed_s) * 1000 < ALIVE_MS + 100, "100 ms for a slow machine"
        with _station(address, snapshot, tmp_path, "second", 30):
            second = _decisions_of(reader, "second", 30)
        assert [decision.seq for decision in first] == list(range(1, 51))
        assert [decision.seq for decision in second] == list(range(1, 31)), "from its first, though it began without us"
        assert (reader.run, reader.lost) == ("second", 0)


@contextmanager
def _station(address: str, snapshot: str, folder: Path, run: str, count: int) -> Iterator[None]:
    """A station in a process of its own, which is killed in the end."""
    command = [sys.executable, feeds.__file__, address, snapshot, str(folder), run, str(count)]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.kill()


def _decisions_of(reader: Subscriber, run: str, last: int) -> list[Decision]:
    found: list[Decision] = []
    while not found or found[-1].seq < last:
        decision = reader.poll(10_000)
        assert decision is not None
        assert decision.run == run
        found.append(decision)
    return found


# --- what a gateway box needs


def test_reading_the_feed_needs_neither_numpy_nor_opencv() -> None:
    code = (
        "import sys, sad_runtime.messages, sad_runtime.subscriber, sad_runtime.cli.tail; "
        "print(sorted({'numpy', 'cv2', 'torch', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_poll_ends_in_time_however_much_is_said(tmp_path: Path) -> None:
    address, over = f"ipc://{tmp_path}/decisions", threading.Event()
    event = encode(Event(run="r", station="line1", code="noise", level="info", text="x"))

    def flood() -> None:
        with zmq.Context() as context, context.socket(zmq.PUB) as socket:
            socket.linger = 0
            socket.bind(address)
            while not over.is_set():
                socket.send_multipart([b"event.line1", event])

    flooding = threading.Thread(target=flood)
    flooding.start()
    heard: list[Event] = []
    try:
        with Subscriber(address, on_event=heard.append) as feed:
            wait_until(lambda: feed.poll(10) is None and len(heard) > 1000, "the flood is heard")
            longest_s = 0.0
            for _ in range(20):
                begun_s = time.monotonic()
                feed.poll(10)
                longest_s = max(longest_s, time.monotonic() - begun_s)
    finally:
        over.set()
        flooding.join()
    assert longest_s < 0.5


def test_a_poll_can_be_woken(tmp_path: Path) -> None:
    wake = os.eventfd(0)
    try:
        with Subscriber(f"ipc://{tmp_path}/nobody") as feed:
            os.eventfd_write(wake, 1)
            begun_s = time.monotonic()
            assert feed.poll(5000, wake) is None
            assert time.monotonic() - begun_s < 1.0
    finally:
        os.close(wake)
