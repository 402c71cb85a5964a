"""The feed off this computer: who gets in, who does not, who is told, and what happens when a key goes."""

from __future__ import annotations

import logging
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from feed_keys import KeyFolder, encrypted_feed
from feeds import FREE, STATION, MemoryJournal, a_decision, publish, wait_until
from sad_runtime.cli.tail import main as tail
from sad_runtime.decide import Thresholds
from sad_runtime.errors import ConfigError, UsageError
from sad_runtime.feed import door as door_module
from sad_runtime.feed.address import as_reached
from sad_runtime.feed.allowed import AllowList
from sad_runtime.feed.config import FeedConfig
from sad_runtime.feed.curve_keys import ClientKeys
from sad_runtime.feed.door import Door
from sad_runtime.feed.protection import check_keys
from sad_runtime.feed.publisher import Feed
from sad_runtime.feed.refusals import BURST, Refusals
from sad_runtime.messages import Command, CommandReply, SnapshotReply, SnapshotRequest, decode, encode
from sad_runtime.schema import parse
from sad_runtime.subscriber import Subscriber

Socket = zmq.Socket[bytes]


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal()


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / "keys")


@pytest.fixture
def feed(tmp_path: Path, keys: KeyFolder, journal: MemoryJournal) -> Iterator[Feed]:
    with encrypted_feed(tmp_path, keys, journal) as feed:
        yield feed


@contextmanager
def client(kind: int, address: str, keys: ClientKeys | None, *topics: bytes) -> Iterator[Socket]:
    context: zmq.Context[Socket] = zmq.Context()
    with context, context.socket(kind) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RCVTIMEO, 5000)
        if keys is not None:
            keys.apply(socket)
        socket.connect(address)
        for topic in topics:
            socket.subscribe(topic)
        yield socket


def poll_until(reader: Subscriber, true: Any, what: str) -> None:
    def looked() -> bool:
        reader.poll(20)
        return bool(true())

    wait_until(looked, what)


# --- who gets in


def test_a_reader_on_the_list_uses_all_four_sockets(
    feed: Feed, keys: KeyFolder, journal: MemoryJournal, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    gateway = keys.reader("gateway")
    wait_until(lambda: "gateway" in caplog.text, "the list to be read again")
    with Subscriber(feed.addresses["decisions"], keys=gateway) as reader:
        poll_until(reader, lambda: reader.heartbeat, "a heartbeat")
        publish(feed, journal, a_decision(1))
        assert reader.poll(5000) == journal.rows[0]
        assert (reader.refusal, reader.heatmaps) == (None, feed.addresses["heatmaps"])
    with client(zmq.REQ, feed.addresses["commands"], gateway) as line:
        line.send(encode(Command(id=1, op="pause")))
        assert decode(CommandReply, line.recv()).ok
    with client(zmq.REQ, feed.addresses["snapshot"], gateway) as line:
        line.send(encode(SnapshotRequest(station=STATION, from_seq=1, to_seq=9)))
        assert decode(SnapshotReply, line.recv()).items == journal.rows
    thresholds, picture = Thresholds(score=4.0, pixel=4.0, heatmap_low=1.0), np.zeros((8, 8), np.float32)
    with client(zmq.SUB, feed.addresses["heatmaps"], gateway, b"") as eyes:

        def seen() -> bool:
            feed.offer_heatmap(1, picture, thresholds, None)
            return bool(eyes.poll(50))

        wait_until(seen, "a heatmap")
    assert f"{gateway.own.public} connected to the decisions socket from 127.0.0.1" in caplog.text


@pytest.mark.parametrize("socket", ["decisions", "heatmaps", "snapshot", "commands"])
@pytest.mark.parametrize("stranger", ["not on the list", "plain text", "wrong station key"])
def test_nobody_else_gets_a_byte_or_is_heard(
    socket: str, stranger: str, tmp_path: Path, keys: KeyFolder, journal: MemoryJournal
) -> None:
    listed, unlisted = keys.reader("listed"), keys.reader("unlisted", listed=False)
    other = KeyFolder(tmp_path / "other").reader("listed").server
    theirs = {
        "not on the list": unlisted,
        "plain text": None,
        "wrong station key": ClientKeys(other, listed.own),
    }[stranger]
    kind = zmq.SUB if socket in ("decisions", "heatmaps") else zmq.DEALER
    with encrypted_feed(tmp_path, keys, journal) as feed, client(kind, feed.addresses[socket], theirs) as line:
        if kind == zmq.SUB:
            line.subscribe(b"")
        else:
            line.send(encode(Command(id=1, op="pause")), zmq.NOBLOCK)
        kinds = {"not on the list": {"key"}, "plain text": {"plain", "unfinished"}, "wrong station key": {"server_key"}}
        wait_until(lambda: bool(kinds[stranger] & set(feed.refused())), "a refusal to be counted")
        for seq in range(1, 4):
            publish(feed, journal, a_decision(seq))
        assert not line.poll(100)
        assert feed.decision_subscribers() == 0


def test_the_log_says_who_was_refused_and_why_in_plain_words(
    feed: Feed, keys: KeyFolder, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = keys.reader("stranger", listed=False)
    with client(zmq.SUB, feed.addresses["decisions"], stranger), client(zmq.SUB, feed.addresses["heatmaps"], None):
        wait_until(lambda: "decisions socket" in caplog.text and "heatmaps socket" in caplog.text, "both lines")
    fingerprint = stranger.own.public.fingerprint
    assert (
        f"127.0.0.1 refused on the decisions socket: its key is not on the list (fingerprint {fingerprint})"
        in caplog.text
    )
    assert "refused on the heatmaps socket: it " in caplog.text
    assert "plain" in caplog.text


def test_a_socket_file_on_this_computer_stays_open_without_keys(
    tmp_path: Path, keys: KeyFolder, journal: MemoryJournal
) -> None:
    here = {"decisions": [FREE, f"ipc://{tmp_path}/d.ipc"], "snapshot": [f"ipc://{tmp_path}/s.ipc", FREE]}
    listed = keys.reader("listed")
    with encrypted_feed(tmp_path, keys, journal, **here) as feed:
        journal.rows = [a_decision(1), a_decision(2)]
        assert feed.addresses["snapshot"].startswith("tcp://"), "told to those who are elsewhere"
        for address, snapshot, own in (
            (f"ipc://{tmp_path}/d.ipc", f"ipc://{tmp_path}/s.ipc", None),
            (feed.addresses["decisions"], None, listed),
            (f"ipc://{tmp_path}/d.ipc", None, listed),
        ):
            with Subscriber(address, snapshot=snapshot, keys=own, history=True) as reader:
                feed.publish(journal.rows[1])
                assert [reader.poll(5000), reader.poll(5000)] == journal.rows
    assert not (tmp_path / "d.ipc").exists()


def test_a_dead_doorkeeper_lets_nobody_in(
    tmp_path: Path, keys: KeyFolder, journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(self: Door, stop: threading.Event) -> None:
        return None

    listed = keys.reader("listed")
    monkeypatch.setattr(Door, "serve", dead)
    with (
        encrypted_feed(tmp_path, keys, journal) as feed,
        client(zmq.SUB, feed.addresses["decisions"], listed, b"") as line,
    ):
        until_s = time.monotonic() + 1.5  # a handshake is given 1 s
        while time.monotonic() < until_s:
            assert not line.poll(50)
        assert feed.decision_subscribers() == 0


def test_a_question_that_is_not_exactly_right_is_answered_with_no(keys: KeyFolder) -> None:
    listed = keys.reader("listed").own.public.raw
    door = Door(zmq.Context.instance(), None, lambda: None)
    door._allowed = AllowList([keys.readers])
    right = [b"r", b"", b"1.0", b"1", b"sad.decisions", b"10.0.0.7", b"", b"CURVE", listed]
    assert door._let_in(right) is not None
    for index, wrong in ((2, b"2.0"), (4, b"other"), (4, b""), (7, b"NULL"), (8, bytes(32)), (8, b"")):
        assert door._let_in([*right[:index], wrong, *right[index + 1 :]]) is None
    assert door._let_in(right[:8]) is None
    assert door._let_in([*right, b"more"]) is None


# --- a key comes, a key goes


def test_a_key_put_on_the_list_lets_its_reader_in_while_it_waits(
    feed: Feed, keys: KeyFolder, journal: MemoryJournal
) -> None:
    late = keys.reader("late", listed=False)
    with Subscriber(feed.addresses["decisions"], keys=late) as reader:
        poll_until(reader, lambda: reader.refusal, "a refusal")
        assert "did not accept this key, late (" in str(reader.refusal)
        keys.allow("late")
        poll_until(reader, lambda: reader.heartbeat, "a heartbeat")
        assert reader.refusal is None


def test_a_key_taken_off_the_list_ends_its_connection_and_the_others_miss_nothing(
    tmp_path: Path, keys: KeyFolder, journal: MemoryJournal, caplog: pytest.LogCaptureFixture
) -> None:
    stays, goes = keys.reader("stays"), keys.reader("goes")
    ipc = f"ipc://{tmp_path}/d.ipc"
    with encrypted_feed(tmp_path, keys, journal, decisions=[FREE, ipc]) as feed:
        address = feed.addresses["decisions"]
        with (
            Subscriber(address, keys=stays) as staying,
            Subscriber(address, keys=goes) as going,
            client(zmq.SUB, ipc, None, b"decision.") as local,
        ):
            for reader in (staying, going):
                poll_until(reader, lambda reader=reader: reader.heartbeat, "a heartbeat")
            keys.revoke("goes")
            seen: list[int] = []

            def published() -> bool:
                publish(feed, journal, a_decision(len(journal.rows) + 1))
                seen.extend(decision.seq for decision in staying.decisions(0.005))
                with suppress(StopIteration):
                    going.poll(0)
                return going.refusal is not None

            wait_until(published, "the end of a connection")
            cut_off_at = len(journal.rows)
            for _ in range(50):
                published()
            seen += [decision.seq for decision in staying.decisions(1.0)]
            assert seen == list(range(1, len(journal.rows) + 1))
            assert staying.lost == 0
            kept = 0
            while local.poll(100):
                local.recv_multipart()
                kept += 1
            assert kept == len(journal.rows), "a socket file is not cut off"
            for _ in range(20):
                late = going.poll(20)
                assert late is None or late.seq <= cut_off_at
    assert "goes (" in caplog.text
    assert "off the allow-list; its connections end" in caplog.text


def test_every_address_of_a_socket_is_cut_off(tmp_path: Path, keys: KeyFolder, journal: MemoryJournal) -> None:
    goes = keys.reader("goes")
    with encrypted_feed(tmp_path, keys, journal, decisions=[FREE, FREE]) as feed:
        one, two = feed._decisions.binding.endpoints
        assert one != two
        with Subscriber(one, keys=goes) as first, Subscriber(two, keys=goes) as second:
            for reader in (first, second):
                poll_until(reader, lambda reader=reader: reader.heartbeat, "a heartbeat")
            keys.revoke("goes")
            for reader in (first, second):
                poll_until(reader, lambda reader=reader: reader.refusal, "the end of its connection")


def test_what_cannot_be_read_any_more_lets_nobody_in(keys: KeyFolder, caplog: pytest.LogCaptureFixture) -> None:
    one, two = keys.reader("one").own.public, keys.reader("two").own.public
    allowed = AllowList([keys.readers])
    assert allowed.refresh() is None
    assert (allowed.name_of(one.raw), allowed.name_of(two.raw)) == (str(one), str(two))
    (keys.readers / "one.key").write_text("torn")
    change = allowed.refresh()
    assert change is not None
    assert [key.name for key in change.removed] == ["one"]
    assert "lets nobody in" in caplog.text
    shutil.rmtree(keys.readers)
    assert allowed.refresh() is not None
    assert allowed.keys == {}


def test_rewriting_the_same_key_is_no_change(keys: KeyFolder) -> None:
    keys.reader("one")
    allowed = AllowList([keys.readers])
    keys.allow("one")
    (keys.readers / "renamed.key").write_bytes((keys.readers / "one.key").read_bytes())
    (keys.readers / "one.key").unlink()
    assert allowed.refresh() is None, "the key is still there, under another name"


# --- what a reader is told


def test_each_mistake_of_a_reader_is_told_in_words(
    feed: Feed, tmp_path: Path, keys: KeyFolder, journal: MemoryJournal
) -> None:
    listed = keys.reader("listed")
    other = KeyFolder(tmp_path / "other").reader("listed").server
    with encrypted_feed(tmp_path / "plain", None, journal) as plain:
        for address, own, said in (
            (feed.addresses["decisions"], keys.reader("nobody", listed=False), "did not accept this key, nobody"),
            (feed.addresses["decisions"], None, "keys"),
            (feed.addresses["decisions"], ClientKeys(other, listed.own), "really this station's key"),
            (plain.addresses["decisions"], listed, "(plain text|breaks off the handshake)"),
        ):
            with Subscriber(address, keys=own) as reader:
                poll_until(reader, lambda reader=reader: reader.refusal, "a refusal")
                assert reader.refusal is not None
                assert re.search(said, reader.refusal)


def test_sad_tail_ends_with_the_reason(feed: Feed, keys: KeyFolder, capsys: pytest.CaptureFixture[str]) -> None:
    keys.reader("stranger", listed=False)
    address = ["--feed", feed.addresses["decisions"]]
    own = ["--server-key", str(keys.public), "--key", str(keys.folder / "stranger.key_secret")]
    assert tail([*address, *own]) == 2
    assert "did not accept this key, stranger (" in capsys.readouterr().err
    assert tail(address) == 2
    assert "--server-key STATION.key --key MINE.key_secret" in capsys.readouterr().err
    assert tail([*address, *own[:2]]) == 2
    assert "--server-key needs --key too" in capsys.readouterr().err


def test_sad_tail_reads_with_its_key(
    feed: Feed, keys: KeyFolder, journal: MemoryJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    keys.reader("office")
    own = ["--server-key", str(keys.public), "--key", str(keys.folder / "office.key_secret")]
    journal.rows = [a_decision(1), a_decision(2)]
    feed.publish(journal.rows[1])
    time.sleep(2.2)  # the list is read once a second
    assert tail(["--feed", feed.addresses["decisions"], *own, "--history", "--count", "2"]) == 0
    assert "2 decisions: 2 PASS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("told", "reached", "found"),
    [
        ("tcp://0.0.0.0:5557", "tcp://10.0.0.5:5555", "tcp://10.0.0.5:5557"),
        ("tcp://*:5557", "tcp://line1.plant:5555", "tcp://line1.plant:5557"),
        ("tcp://127.0.0.1:5557", "tcp://10.0.0.5:5555", "tcp://10.0.0.5:5557"),
        ("tcp://0.0.0.0:5557", "tcp://127.0.0.1:5555", "tcp://127.0.0.1:5557"),
        ("tcp://0.0.0.0:5557", "ipc:///run/sad/d.ipc", "tcp://127.0.0.1:5557"),
        ("tcp://192.168.7.1:5557", "tcp://10.0.0.5:5555", "tcp://192.168.7.1:5557"),
        ("ipc:///run/sad/s.ipc", "tcp://10.0.0.5:5555", "ipc:///run/sad/s.ipc"),
        (None, "tcp://10.0.0.5:5555", None),
    ],
)
def test_a_reader_elsewhere_finds_the_other_sockets_at_the_host_it_reached(
    told: str | None, reached: str, found: str | None
) -> None:
    assert as_reached(told, reached) == found


# --- the configuration


WORLD = "tcp://0.0.0.0:5555"


def test_with_keys_the_feed_may_be_bound_to_the_network(keys: KeyFolder) -> None:
    values = {"decisions": [WORLD], "snapshot": WORLD, "heatmaps": [WORLD], "commands": WORLD}
    parse(FeedConfig, values | {"security": keys.security()}, "test")


def test_plain_text_goes_to_the_network_only_when_asked_for_by_name_and_commands_never() -> None:
    asked = {"security": {"plain_text": True}}
    parse(FeedConfig, {"decisions": [WORLD], "snapshot": WORLD, "heatmaps": WORLD} | asked, "test")
    for values in ({"commands": WORLD}, {"commands": [WORLD]}):
        with pytest.raises(ConfigError, match=r"commands\.0.*trigger and pause the line.*CURVE"):
            parse(FeedConfig, values | asked, "test")
    with pytest.raises(ConfigError, match=r"snapshot\.1.*plain_text: true"):
        parse(FeedConfig, {"snapshot": [FREE, WORLD]}, "test")


def test_plain_text_and_keys_together_say_nothing(keys: KeyFolder) -> None:
    with pytest.raises(ConfigError, match="leave one out"):
        parse(FeedConfig, {"security": keys.security() | {"plain_text": True}}, "test")


def test_plain_text_in_the_network_is_warned_of_at_the_start(
    tmp_path: Path, journal: MemoryJournal, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sad_runtime.feed.protection.is_on_this_computer", lambda address: False)  # binds 127.0.0.1
    commands = {"commands": f"ipc://{tmp_path}/c.ipc"}
    with pytest.raises(ConfigError, match="plain text stays"), encrypted_feed(tmp_path, None, journal, **commands):
        pass
    monkeypatch.setattr("sad_runtime.feed.protection.is_on_this_computer", lambda address: address.startswith("ipc"))
    asked = {"security": {"plain_text": True}}
    with encrypted_feed(tmp_path, None, journal, **commands, **asked):
        assert caplog.text.count("PLAIN TEXT") == 3


@pytest.mark.parametrize(
    ("key", "allow", "said"),
    [
        ("missing.key_secret", ["readers"], "cannot be read"),
        ("station.key", ["readers"], "this is a public key"),
        ("station.key_secret", ["nowhere"], "no such file or folder"),
        ("station.key_secret", ["station.key_secret"], "holds a secret key"),
        ("station.key_secret", ["station.key"], "own key is on its allow-list"),
    ],
)
def test_keys_that_cannot_be_used_stop_the_start(key: str, allow: list[str], said: str, keys: KeyFolder) -> None:
    curve = {"key": str(keys.folder / key), "allow": [str(keys.folder / place) for place in allow]}
    config = parse(FeedConfig, {"security": {"curve": curve}}, "test")
    with pytest.raises(UsageError, match=said):
        check_keys(config)


def test_an_empty_list_is_refused_and_an_empty_folder_warned_of(
    keys: KeyFolder, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ConfigError, match=r"curve\.allow"):
        parse(FeedConfig, {"security": {"curve": {"key": "k", "allow": []}}}, "test")
    AllowList([keys.readers])
    assert "nobody may connect yet" in caplog.text


# --- refusals, and the end


def test_refusals_are_all_counted_and_seldom_told(caplog: pytest.LogCaptureFixture) -> None:
    now_s = 0.0
    refusals = Refusals(lambda: now_s)
    for _ in range(1000):
        refusals.note("decisions", "10.0.0.7", "key", "its key is not on the list")
    assert len(caplog.records) == 1
    for peer in range(1000):
        refusals.note("decisions", f"10.0.1.{peer}", "plain", "it speaks plain text")
    assert len(caplog.records) == BURST
    now_s = 61.0
    refusals.note("decisions", "10.0.0.7", "key", "its key is not on the list")
    assert "991 more refusals" in caplog.records[-2].message
    assert "10.0.0.7 refused on the decisions socket: its key is not on the list" in caplog.records[-1].message
    assert refusals.counts() == {"key": 1001, "plain": 1000}


def test_closing_with_readers_connected_and_strangers_knocking_takes_no_time(
    tmp_path: Path, keys: KeyFolder, journal: MemoryJournal
) -> None:
    listed, unlisted = keys.reader("listed"), keys.reader("unlisted", listed=False)
    before = set(threading.enumerate())
    with encrypted_feed(tmp_path, keys, journal) as feed:
        address = feed.addresses["decisions"]
        with Subscriber(address, keys=listed) as reader, Subscriber(address, keys=unlisted) as stranger:
            poll_until(reader, lambda: reader.heartbeat, "a heartbeat")
            poll_until(stranger, lambda: stranger.refusal, "a refusal")
            start_s = time.monotonic()
            feed.__exit__(None, None, None)
            assert time.monotonic() - start_s < 1.5
    assert set(threading.enumerate()) == before


def test_a_port_taken_while_everybody_is_away_is_said_and_taken_back(
    tmp_path: Path, keys: KeyFolder, journal: MemoryJournal, caplog: pytest.LogCaptureFixture
) -> None:
    listed = keys.reader("listed")
    keys.reader("goes")
    with encrypted_feed(tmp_path, keys, journal) as feed:
        binding = feed._decisions.binding
        with feed._decisions._lock:  # the heartbeat thread waits here
            binding._socket.unbind(binding.endpoints[0])
            binding._down.append(binding.endpoints[0])
            with zmq.Context() as context, context.socket(zmq.PUB) as squatter:
                wait_until(lambda: _bound(squatter, binding.endpoints[0]), "the port to be free")
                binding.pursue()
                assert "nobody can connect for now" in caplog.text
        with Subscriber(feed.addresses["decisions"], keys=listed) as reader:
            poll_until(reader, lambda: reader.heartbeat, "a heartbeat")


def test_the_doorkeeper_reads_the_list_every_second() -> None:
    assert door_module.LOOK_EVERY_S <= 1.0, "docs/feed.md promises two seconds"


def _bound(socket: Socket, endpoint: str) -> bool:
    try:
        socket.bind(endpoint)
    except zmq.ZMQError:
        return False
    return True


def test_what_a_peer_sent_before_its_key_was_taken_off_is_not_carried_out(
    tmp_path: Path, keys: KeyFolder, journal: MemoryJournal
) -> None:
    """While a long command is carried out, its next ones lie in the queue."""
    begun, go_on = threading.Event(), threading.Event()
    carried_out: list[str] = []

    def slow(command: Command) -> CommandReply:
        carried_out.append(command.op)
        begun.set()
        go_on.wait(10)
        return CommandReply(id=command.id, ok=True)

    goes = keys.reader("goes")
    with encrypted_feed(tmp_path, keys, journal) as feed:
        feed._on_command = slow
        with client(zmq.DEALER, feed.addresses["commands"], goes) as dealer:
            dealer.send(encode(Command(id=1, op="pause")))
            assert begun.wait(5)
            dealer.send(encode(Command(id=2, op="resume")))
            keys.revoke("goes")
            allowed = feed._protection.allowed
            assert allowed is not None
            wait_until(lambda: not any("goes" in name for name in allowed.names()), "the list without it")
            go_on.set()
            wait_until(lambda: feed._requests.dropped > 0, "the command dropped")
    assert carried_out == ["pause"]
