"""The publishing side, over real sockets: what is bound, said, answered, refused, and left behind."""

from __future__ import annotations

import os
import socket as system_socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from feeds import FREE, STATION, MemoryJournal, a_decision, agree, open_feed, publish, wait_until
from sad_runtime.decide import Thresholds
from sad_runtime.errors import ConfigError, SadError, UsageError
from sad_runtime.feed.heartbeat import Identity, Pulse
from sad_runtime.feed.publisher import Feed, FeedConfig
from sad_runtime.manifest import Roi
from sad_runtime.messages import (
    SNAPSHOT_PAGE,
    Command,
    CommandReply,
    Decision,
    Event,
    Heartbeat,
    Heatmap,
    Hello,
    Message,
    SnapshotReply,
    SnapshotRequest,
    decode,
    decode_published,
    encode,
)
from sad_runtime.schema import parse
from sad_runtime.verdict import State

Socket = zmq.Socket[bytes]
THRESHOLDS = Thresholds(score=4.0, pixel=4.0, heatmap_low=1.0)


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def feed(tmp_path: Path, journal: MemoryJournal) -> Iterator[Feed]:
    with open_feed(tmp_path, journal) as feed:
        yield feed


@contextmanager
def client(kind: int, address: str, *topics: bytes) -> Iterator[Socket]:
    context: zmq.Context[Socket] = zmq.Context()
    with context, context.socket(kind) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 5000)
        socket.connect(address)
        for topic in topics:
            socket.subscribe(topic)
        yield socket


def receive(socket: Socket) -> Message:
    topic, data = socket.recv_multipart()
    return decode_published(topic, data)


def all_within(socket: Socket, seconds: float) -> list[Message]:
    messages, until_s = [], time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        if socket.poll(int(left_s * 1000)):
            messages.append(receive(socket))
    return messages


def asked(socket: Socket, request: bytes) -> CommandReply:
    socket.send(request)
    return decode(CommandReply, socket.recv())


# --- addresses


@pytest.mark.parametrize("address", ["tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://192.168.1.5:5555", "tcp://eth0:5555"])
def test_plain_text_off_this_computer_is_refused(address: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"station\.yaml.*decisions\.0.*plain text.*CURVE"):
        parse(FeedConfig, {"decisions": [address]}, "station.yaml")
    unchecked = FeedConfig().model_copy(update={"snapshot": [address]})  # as a command-line flag might do
    with pytest.raises(ConfigError, match="CURVE"):
        Feed(unchecked, station="s", run="r", boot_id="b", ipc_folder=tmp_path, replay=_nothing, on_command=agree)


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:99999", "tcp://127.0.0.1", "5555", "udp://127.0.0.1:5", "ipc://", "ipc://here", ""]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError):
        FeedConfig(heatmaps=address)


def test_at_least_one_decisions_address_is_needed() -> None:
    with pytest.raises(ValidationError):
        FeedConfig(decisions=[])


def test_a_socket_path_longer_than_the_system_allows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"system allows 107.*shorter folder"):
        _feed(tmp_path / ("x" * 100), FeedConfig())


def test_a_port_in_use_is_named_and_nothing_stays_bound(feed: Feed, tmp_path: Path) -> None:
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    config = FeedConfig(decisions=[FREE], heatmaps=FREE, snapshot=feed.addresses["snapshot"])
    with (
        pytest.raises(UsageError, match=f"{feed.addresses['snapshot']}: already in use") as refused,
        _feed(tmp_path / "other", config),
    ):
        pass
    assert refused.value.exit_code == 1
    assert threading.active_count() == threads
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= files, "closing every socket")  # noqa: PTH208


def test_a_second_feed_cannot_take_over_an_ipc_socket(feed: Feed, tmp_path: Path) -> None:
    config = FeedConfig(decisions=[FREE], heatmaps=FREE, snapshot=FREE)
    with pytest.raises(UsageError, match=r"commands\.ipc: already in use"), _feed(tmp_path, config):
        pass
    with client(zmq.REQ, feed.addresses["commands"]) as line:
        assert asked(line, encode(Command(id=1, op="pause"))).ok


def test_an_ipc_socket_left_by_a_killed_process_is_no_obstacle(tmp_path: Path, journal: MemoryJournal) -> None:
    with system_socket.socket(system_socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "commands.ipc"))
    with open_feed(tmp_path, journal) as feed, client(zmq.REQ, feed.addresses["commands"]) as line:
        assert asked(line, encode(Command(id=1, op="pause"))).ok


def test_decisions_can_be_bound_to_several_addresses(tmp_path: Path) -> None:
    ipc = f"ipc://{tmp_path}/decisions.ipc"
    with (
        _feed(tmp_path, FeedConfig(decisions=[FREE, ipc], heatmaps=FREE, snapshot=FREE)) as feed,
        client(zmq.SUB, feed.addresses["decisions"], b"hello") as over_tcp,
        client(zmq.SUB, ipc, b"hello") as over_ipc,
    ):
        assert receive(over_tcp) == receive(over_ipc)


def test_closing_leaves_no_thread_and_no_file(tmp_path: Path, journal: MemoryJournal) -> None:
    before = set(threading.enumerate())
    with open_feed(tmp_path, journal) as feed:
        assert (tmp_path / "commands.ipc").exists()
        assert {thread.name for thread in set(threading.enumerate()) - before} == {
            "feed-heartbeat",
            "feed-heatmaps",
            "feed-snapshot",
            "feed-commands",
            "feed-door",
        }
        feed.tick()
    assert set(threading.enumerate()) == before
    assert not (tmp_path / "commands.ipc").exists()


# --- decisions, hello, heartbeat


def test_a_new_subscriber_gets_a_hello_that_tells_the_other_addresses(feed: Feed) -> None:
    feed.status(state=State.READY, online=True)
    with client(zmq.SUB, feed.addresses["decisions"], b"hello") as reader:
        expected = Hello(
            run="run-1",
            station=STATION,
            state=State.READY,
            snapshot=feed.addresses["snapshot"],
            heatmaps=feed.addresses["heatmaps"],
        )
        assert receive(reader) == expected
        with client(zmq.SUB, feed.addresses["decisions"], b"") as late:
            assert receive(late) == expected
        assert receive(reader) == expected, "everybody hears it again, which must not matter"


def test_a_subscriber_to_decisions_only_hears_decisions_only(feed: Feed, journal: MemoryJournal) -> None:
    with client(zmq.SUB, feed.addresses["decisions"], b"decision.") as reader:
        wait_until(lambda: feed.decision_subscribers() == 1, "the subscription")
        publish(feed, journal, a_decision(1))
        assert [type(message) for message in all_within(reader, 0.3)] == [Decision]


def test_heartbeats_tell_of_the_loop_ten_times_a_second(feed: Feed, journal: MemoryJournal) -> None:
    feed.status(state=State.CONTINUOUS_EXECUTION, online=True, recipe=3, model_digest="ab", deadline_ms=400)
    feed.saw_frame(time.monotonic_ns() - 50_000_000)
    publish(feed, journal, a_decision(1))
    with client(zmq.SUB, feed.addresses["decisions"], f"heartbeat.{STATION}".encode()) as reader:
        beats = []
        until_s = time.monotonic() + 1.0
        while time.monotonic() < until_s:
            feed.tick()
            if reader.poll(20):
                beats.append(receive(reader))
    assert 8 <= len(beats) <= 12
    first, last = beats[0], beats[-1]
    assert isinstance(first, Heartbeat)
    assert isinstance(last, Heartbeat)
    assert (last.seq_last, last.state, last.online, last.recipe) == (1, State.CONTINUOUS_EXECUTION, True, 3)
    assert (last.model_digest, last.deadline_ms, last.quiet_ms) == ("ab", 400, 400)
    assert last.loop_count > first.loop_count
    assert last.cam_age_ms is not None
    assert last.cam_age_ms > 50


def test_a_loop_that_hangs_silences_the_heartbeat_until_it_goes_on(feed: Feed) -> None:
    feed.status(state=State.READY, online=True, deadline_ms=100)
    feed.tick()
    hung_s = time.monotonic()
    with client(zmq.SUB, feed.addresses["decisions"], b"heartbeat.") as reader:
        while reader.poll(300):
            receive(reader)
        assert time.monotonic() - hung_s < 0.25 + 0.1 + 0.3 + 0.25, "quiet_ms, a period, the wait above, a slow machine"
        feed.tick()
        assert isinstance(receive(reader), Heartbeat)


def test_the_pulse_stands_still_with_the_loop() -> None:
    now_ns = 0
    pulse = Pulse(Identity("line1", "run", "boot"), clock_ns=lambda: now_ns)
    assert pulse.status.quiet_ms == 1000
    now_ns = 1_000_000_000
    assert pulse.beat() is not None
    now_ns += 1
    assert pulse.beat() is None
    pulse.tick()
    beat = pulse.beat()
    assert beat is not None
    assert (beat.loop_count, beat.cam_age_ms, beat.state) == (1, None, State.PREOPERATIONAL)


def test_a_heartbeat_never_tells_of_a_decision_that_was_not_sent_before_it(feed: Feed, journal: MemoryJournal) -> None:
    with client(zmq.SUB, feed.addresses["decisions"], b"decision.", b"heartbeat.") as reader:
        wait_until(lambda: feed.decision_subscribers() == 1, "the subscription")
        for seq in range(1, 400):
            publish(feed, journal, a_decision(seq))
            time.sleep(0.001)
        seen = 0
        for message in all_within(reader, 0.3):
            if isinstance(message, Decision):
                seen = message.seq
            elif isinstance(message, Heartbeat):
                assert message.seq_last <= seen


def test_events_from_many_threads_and_decisions_all_arrive_whole(feed: Feed, journal: MemoryJournal) -> None:
    def report(name: int) -> None:
        for number in range(100):
            feed.publish(Event(run="run-1", station=STATION, code=f"c{name}", level="info", text=str(number)))

    with client(zmq.SUB, feed.addresses["decisions"], b"decision.", b"event.") as reader:
        wait_until(lambda: feed.decision_subscribers() == 1, "the subscription")
        threads = [threading.Thread(target=report, args=(name,)) for name in range(4)]
        for thread in threads:
            thread.start()
        for seq in range(1, 101):
            publish(feed, journal, a_decision(seq))
        for thread in threads:
            thread.join()
        messages = [receive(reader) for _ in range(500)]
    assert [message.seq for message in messages if isinstance(message, Decision)] == list(range(1, 101))
    for name in range(4):
        texts = [message.text for message in messages if isinstance(message, Event) and message.code == f"c{name}"]
        assert texts == [str(number) for number in range(100)]


def test_every_subscription_to_decisions_is_counted_also_equal_ones_and_their_end(feed: Feed) -> None:
    address = feed.addresses["decisions"]
    with client(zmq.SUB, address, b"decision."), client(zmq.SUB, address, b"decision."):
        with client(zmq.SUB, address, b""), client(zmq.SUB, address, b"hello", b"decision.line10"):
            wait_until(lambda: feed.decision_subscribers() == 3, "three subscriptions")
        wait_until(lambda: feed.decision_subscribers() == 2, "the end of one")
    wait_until(lambda: feed.decision_subscribers() == 0, "the end of all")


def test_junk_on_the_decisions_socket_harms_nobody(feed: Feed) -> None:
    with client(zmq.XSUB, feed.addresses["decisions"]) as stranger:
        for junk in (b"\2nonsense", b"", b"\0never-subscribed", b"\0decision.", b"\1" + bytes(3000)):
            stranger.send(junk)
        with client(zmq.SUB, feed.addresses["decisions"], b"hello", b"decision.") as reader:
            assert isinstance(receive(reader), Hello)
            wait_until(lambda: feed.decision_subscribers() == 1, "an honest count")


def test_the_last_decision_still_arrives_when_the_feed_closes_at_once(tmp_path: Path, journal: MemoryJournal) -> None:
    with open_feed(tmp_path, journal) as feed:
        reader = client(zmq.SUB, feed.addresses["decisions"], b"decision.")
        socket = reader.__enter__()
        wait_until(lambda: feed.decision_subscribers() == 1, "the subscription")
        for seq in range(1, 501):
            publish(feed, journal, a_decision(seq))
    assert [message.seq for message in all_within(socket, 0.3) if isinstance(message, Decision)][-1] == 500
    reader.__exit__(None, None, None)


def test_closing_in_a_hurry_waits_for_no_reader(tmp_path: Path, journal: MemoryJournal) -> None:
    with open_feed(tmp_path, journal) as feed, client(zmq.SUB, feed.addresses["decisions"]) as reader:
        reader.subscribe(b"decision.")
        wait_until(lambda: feed.decision_subscribers() == 1, "the subscription")
        for seq in range(1, 3000):
            feed.publish(a_decision(seq, model_digest="ab" * 2000))
        feed.linger_ms = 0
        start_s = time.monotonic()
        feed.__exit__(None, None, None)
        assert time.monotonic() - start_s < 1.0


# --- heatmaps


def test_a_heatmap_arrives_with_what_is_needed_to_read_it(feed: Feed) -> None:
    heatmap = np.linspace(0, 8, 64 * 48, dtype=np.float32).reshape(64, 48)
    with client(zmq.SUB, feed.addresses["heatmaps"], b"heatmap.") as reader:
        _offer_until_seen(feed, reader, heatmap, Roi(x=1, y=2, width=3, height=4))
        topic, data, picture = reader.recv_multipart()
    header = decode(Heatmap, data)
    assert (topic, header.station, header.shape, header.roi) == (b"heatmap.line1", STATION, (64, 48), (1, 2, 3, 4))
    level = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_UNCHANGED)
    assert level is not None
    values = header.offset + header.scale * level.astype(np.float32)
    inside = (heatmap > 1.5) & (heatmap < 6.5)
    assert np.abs(values - heatmap)[inside].max() < 0.2
    assert header.threshold == 4.0


def test_a_heatmap_that_nobody_subscribes_to_is_not_kept(feed: Feed) -> None:
    feed.offer_heatmap(1, np.zeros((8, 8), np.float32), THRESHOLDS, None)
    with client(zmq.SUB, feed.addresses["heatmaps"], b"heatmap.") as reader:
        assert not reader.poll(400)


def test_of_heatmaps_offered_faster_than_they_can_be_sent_the_latest_wins(feed: Feed) -> None:
    large = np.zeros((1024, 1024), np.float32)
    with client(zmq.SUB, feed.addresses["heatmaps"], b"heatmap.") as reader:
        _offer_until_seen(feed, reader, large, None)
        for seq in range(1, 51):
            feed.offer_heatmap(seq, large, THRESHOLDS, None)
        seqs = []
        while reader.poll(500):
            seqs.append(decode(Heatmap, reader.recv_multipart()[1]).seq)
    assert seqs[-1] == 50
    assert len(seqs) < 50


def test_the_heatmap_sent_is_the_one_offered_even_if_its_array_is_used_again(feed: Feed) -> None:
    heatmap = np.full((32, 32), 8, np.float32)
    with client(zmq.SUB, feed.addresses["heatmaps"], b"heatmap.") as reader:
        _offer_until_seen(feed, reader, heatmap, None)
        reader.recv_multipart()
        feed.offer_heatmap(2, heatmap, THRESHOLDS, None)
        heatmap[:] = 0
        level = cv2.imdecode(np.frombuffer(reader.recv_multipart()[2], np.uint8), cv2.IMREAD_UNCHANGED)
    assert level is not None
    assert level.min() == 255


def test_a_heatmap_that_cannot_be_encoded_does_not_end_the_heatmaps(
    feed: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    with client(zmq.SUB, feed.addresses["heatmaps"], b"heatmap.") as reader:
        _offer_until_seen(feed, reader, np.zeros((8, 8), np.float32), None)
        reader.recv_multipart()
        feed.offer_heatmap(7, np.zeros((8,), np.float32), THRESHOLDS, None)
        wait_until(lambda: "decision 7 cannot be encoded" in caplog.text, "a line in the log")
        feed.offer_heatmap(8, np.zeros((8, 8), np.float32), THRESHOLDS, None)
        assert decode(Heatmap, reader.recv_multipart()[1]).seq == 8


# --- snapshot


@pytest.mark.parametrize("kind", [zmq.REQ, zmq.DEALER])
def test_a_range_is_served_in_pages_to_both_kinds_of_clients(kind: int, feed: Feed, journal: MemoryJournal) -> None:
    journal.rows = [a_decision(seq) for seq in range(1, 2501)]
    found, next_seq = [], 1
    with client(kind, feed.addresses["snapshot"]) as reader:
        while next_seq:
            reader.send(encode(SnapshotRequest(station=STATION, from_seq=next_seq, to_seq=2400)))
            page = decode(SnapshotReply, reader.recv())
            assert len(page.items) <= SNAPSHOT_PAGE
            assert (page.error, page.first_seq, page.last_seq) == (None, 1, 2500)
            found += page.items
            next_seq = page.next_seq or 0
    assert found == journal.rows[:2400]


def test_a_journal_that_gives_more_than_a_page_is_cut(tmp_path: Path) -> None:
    class Generous(MemoryJournal):
        def replay(self, request: SnapshotRequest) -> SnapshotReply:
            return SnapshotReply(items=self.rows)

    journal = Generous()
    journal.rows = [a_decision(seq) for seq in range(1, 2000)]
    with open_feed(tmp_path, journal) as feed, client(zmq.REQ, feed.addresses["snapshot"]) as reader:
        reader.send(encode(SnapshotRequest(station=STATION, from_seq=1, to_seq=2000)))
        page = decode(SnapshotReply, reader.recv())
    assert (len(page.items), page.next_seq) == (1024, 1025)


def test_a_request_to_another_station_is_refused(feed: Feed, journal: MemoryJournal) -> None:
    with client(zmq.REQ, feed.addresses["snapshot"]) as reader:
        reader.send(encode(SnapshotRequest(station="line2", from_seq=1, to_seq=2)))
        assert decode(SnapshotReply, reader.recv()).error == "this is station line1"
    assert journal.requests == []


def test_a_journal_that_fails_gives_an_error_and_the_next_request_is_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(MemoryJournal):
        def replay(self, request: SnapshotRequest) -> SnapshotReply:
            if request.from_seq == 1:
                raise OSError("disk gone")
            if request.from_seq == 2:
                raise SadError("the journal is being moved")
            return super().replay(request)

    with open_feed(tmp_path, Failing()) as feed, client(zmq.REQ, feed.addresses["snapshot"]) as reader:
        errors = []
        for seq in (1, 2, 3):
            reader.send(encode(SnapshotRequest(station=STATION, from_seq=seq, to_seq=9)))
            errors.append(decode(SnapshotReply, reader.recv()).error)
    assert errors == [
        "the station failed to read its journal; see its log",
        "the journal is being moved",
        None,
    ]
    assert "disk gone" in caplog.text


# --- commands


def test_a_command_reaches_the_station_and_its_reply_the_sender(tmp_path: Path, journal: MemoryJournal) -> None:
    taken: list[Command] = []

    def on_command(command: Command) -> CommandReply:
        taken.append(command)
        return CommandReply(id=command.id, ok=False, error="not online")

    command = Command(id=7, op="trigger", trigger_id=1, part_id=2, encoder=3, deadline_ms=4)
    with (
        open_feed(tmp_path, journal, on_command=on_command) as feed,
        client(zmq.DEALER, feed.addresses["commands"]) as line,
    ):
        assert asked(line, encode(command)) == CommandReply(id=7, ok=False, error="not online")
    assert taken == [command]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SadError("no recipe 9 here"), "no recipe 9 here"),
        (ZeroDivisionError(), "the station failed to do it; see its log"),
    ],
)
def test_a_command_that_fails_gives_an_error_and_the_next_one_is_served(
    error: Exception, told: str, tmp_path: Path, journal: MemoryJournal
) -> None:
    def on_command(command: Command) -> CommandReply:
        if command.op == "recipe":
            raise error
        return agree(command)

    with (
        open_feed(tmp_path, journal, on_command=on_command) as feed,
        client(zmq.REQ, feed.addresses["commands"]) as line,
    ):
        assert asked(line, encode(Command(id=8, op="recipe", recipe=9))) == CommandReply(id=8, ok=False, error=told)
        assert asked(line, encode(Command(id=9, op="pause"))).ok


def test_a_refused_command_gets_its_id_back_where_that_can_be_read(feed: Feed) -> None:
    with client(zmq.REQ, feed.addresses["commands"]) as line:
        reply = asked(line, msgpack.packb({"v": 1, "id": 77, "op": "explode"}))
        assert (reply.id, reply.ok) == (77, False)
        assert asked(line, msgpack.packb({"v": 2, "id": 78, "op": "pause"})).error is not None
        assert asked(line, b"\xff junk").id == 0


def test_a_long_snapshot_does_not_delay_a_command(tmp_path: Path) -> None:
    going = threading.Event()

    class Slow(MemoryJournal):
        def replay(self, request: SnapshotRequest) -> SnapshotReply:
            assert going.wait(5)
            return SnapshotReply()

    with (
        open_feed(tmp_path, Slow()) as feed,
        client(zmq.DEALER, feed.addresses["snapshot"]) as reader,
        client(zmq.REQ, feed.addresses["commands"]) as line,
    ):
        reader.send(encode(SnapshotRequest(station=STATION, from_seq=1, to_seq=9)))
        assert asked(line, encode(Command(id=1, op="pause"))).ok
        going.set()
        reader.recv()


def test_wrong_frames_are_dropped_and_counted(feed: Feed, caplog: pytest.LogCaptureFixture) -> None:
    with client(zmq.DEALER, feed.addresses["commands"]) as line:
        line.send_multipart([b"a", b"b"])
        line.send_multipart([b"", b"", encode(Command(id=1, op="pause"))])
        line.send_multipart([b"x"] * 50)
        assert asked(line, encode(Command(id=2, op="pause"))).id == 2
    assert "request dropped" in caplog.text


def test_a_message_beyond_the_limit_ends_that_connection_only(feed: Feed) -> None:
    for name, size in (("commands", 70_000), ("snapshot", 5_000)):
        with client(zmq.DEALER, feed.addresses[name]) as stranger:
            stranger.send(bytes(size))
            assert not stranger.poll(100)
    with client(zmq.REQ, feed.addresses["commands"]) as line:
        assert asked(line, encode(Command(id=2, op="pause"))).ok
    with client(zmq.REQ, feed.addresses["snapshot"]) as reader:
        reader.send(encode(SnapshotRequest(station=STATION, from_seq=1, to_seq=9)))
        assert decode(SnapshotReply, reader.recv()).error is None


def test_raw_junk_on_a_tcp_port_is_survived(feed: Feed) -> None:
    for name in ("decisions", "heatmaps", "snapshot"):
        port = int(feed.addresses[name].rpartition(":")[2])
        for junk in (b"GET / HTTP/1.1\r\n\r\n", bytes(200), os.urandom(2000), b"\x01\x00\x05junk!" * 20):
            with system_socket.create_connection(("127.0.0.1", port)) as stranger:
                stranger.sendall(junk)
    with client(zmq.REQ, feed.addresses["snapshot"]) as reader:
        reader.send(encode(SnapshotRequest(station=STATION, from_seq=1, to_seq=9)))
        assert decode(SnapshotReply, reader.recv()).error is None


FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FIELDS = st.sampled_from([*Command.model_fields, *SnapshotRequest.model_fields])
VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.just(1)


@FUZZ
@given(frames=st.lists(st.binary(max_size=200), min_size=1, max_size=4))
def test_random_frames_never_stop_the_service(feed: Feed, frames: list[bytes]) -> None:
    _still_serves_after(feed, lambda line: line.send_multipart(frames))


@FUZZ
@given(values=st.dictionaries(FIELDS, VALUES))
def test_random_maps_never_stop_the_service(feed: Feed, values: dict[str, Any]) -> None:
    _still_serves_after(feed, lambda line: line.send(msgpack.packb({"v": 1, **values})))


def _still_serves_after(feed: Feed, send: Callable[[Socket], object]) -> None:
    with (
        client(zmq.DEALER, feed.addresses["commands"]) as line,
        client(zmq.DEALER, feed.addresses["snapshot"]) as reader,
    ):
        send(line)
        send(reader)
        line.send(encode(Command(id=2**40, op="pause")))
        while decode(CommandReply, line.recv_multipart()[-1]) != CommandReply(id=2**40, ok=True):
            pass
        reader.send(encode(SnapshotRequest(station=STATION, from_seq=1, to_seq=9)))
        while decode(SnapshotReply, reader.recv_multipart()[-1]).error is not None:
            pass


def _offer_until_seen(feed: Feed, reader: Socket, heatmap: np.ndarray, roi: Roi | None) -> None:
    """Until the socket has noticed its subscriber."""

    def seen() -> bool:
        feed.offer_heatmap(0, heatmap, THRESHOLDS, roi)
        return bool(reader.poll(50))

    wait_until(seen, "a heatmap")
    while reader.poll(300) and decode(Heatmap, reader.recv_multipart()[1]).seq == 0:
        pass
    feed.offer_heatmap(1, heatmap, THRESHOLDS, roi)


def _nothing(request: SnapshotRequest) -> SnapshotReply:
    return SnapshotReply()


def _feed(folder: Path, config: FeedConfig) -> Feed:
    return Feed(config, station=STATION, run="run-1", boot_id="b", ipc_folder=folder, replay=_nothing, on_command=agree)
