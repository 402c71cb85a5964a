"""Lost decisions fetched back from a real snapshot socket, without the gate waiting for any of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from feed_keys import KeyFolder, encrypted_feed
from feeds import MemoryJournal, a_decision, open_feed, wait_until
from sad_runtime.feed.curve_keys import ClientKeys
from sad_runtime.feed.ordering import Gap
from sad_runtime.feed.publisher import Feed
from sad_runtime.messages import Decision
from sad_runtime.plc.record.recovery import AT_ONCE, GapFetcher

NOWHERE = "tcp://127.0.0.1:1"


class Told:
    """What a fetcher told, and who asked."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.lost: list[Gap] = []

    @property
    def seqs(self) -> list[int]:
        return [decision.seq for decision in self.decisions]


@contextmanager
def fetching(
    address: Callable[[], str | None], timeout_s: float = 5.0, keys: ClientKeys | None = None
) -> Iterator[tuple[GapFetcher, Told]]:
    told = Told()
    fetcher = GapFetcher("line1", address, keys, told.decisions.append, told.lost.append, timeout_s=timeout_s)
    fetcher.start()
    try:
        yield fetcher, told
    finally:
        fetcher.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("plc recovery")]


def a_journal(count: int, run: str = "run-1", *, first: int = 1) -> MemoryJournal:
    journal = MemoryJournal(run)
    journal.rows = [a_decision(seq, run) for seq in range(first, count + 1)]
    return journal


def snapshot_of(feed: Feed) -> Callable[[], str]:
    return lambda: feed.addresses["snapshot"]


def test_a_gap_is_fetched_whole_in_order_a_few_at_a_time(tmp_path: Path) -> None:
    journal = a_journal(1000)
    with open_feed(tmp_path, journal) as feed, fetching(snapshot_of(feed)) as (fetcher, told):
        fetcher.fetch(Gap("run-1", 101, 900))
        wait_until(lambda: fetcher.fetched == 800, "fetching")
    assert told.seqs == list(range(101, 901))
    assert (told.lost, fetcher.lost) == ([], 0)
    assert max(request.to_seq - request.from_seq + 1 for request in journal.requests) == AT_ONCE


def test_several_gaps_of_several_runs_come_in_the_order_asked_for(tmp_path: Path) -> None:
    journal = a_journal(10, "run-2")
    journal.rows = [*a_journal(10).rows, *journal.rows]
    with open_feed(tmp_path, journal) as feed, fetching(snapshot_of(feed)) as (fetcher, told):
        fetcher.fetch(Gap("run-1", 9, 10))
        fetcher.fetch(Gap("run-2", 1, 2))
        fetcher.fetch(Gap("run-2", 5, 5))
        wait_until(lambda: fetcher.fetched == 5, "fetching")
    assert [(one.run, one.seq) for one in told.decisions] == [
        ("run-1", 9),
        ("run-1", 10),
        ("run-2", 1),
        ("run-2", 2),
        ("run-2", 5),
    ]


def test_what_the_station_does_not_have_either_is_lost_as_one_gap(tmp_path: Path) -> None:
    journal = a_journal(600, first=301)
    with open_feed(tmp_path, journal) as feed, fetching(snapshot_of(feed)) as (fetcher, told):
        fetcher.fetch(Gap("run-1", 1, 700))
        wait_until(lambda: fetcher.fetched + fetcher.lost == 700, "all of it")
    assert told.seqs == list(range(301, 601))
    assert told.lost == [Gap("run-1", 1, 300), Gap("run-1", 601, 700)]


def test_a_station_that_does_not_answer_is_given_up_and_the_next_gap_tried(tmp_path: Path) -> None:
    silent = zmq.Context()
    router = silent.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    where = [f"tcp://127.0.0.1:{port}"]
    journal = a_journal(10)
    try:
        with open_feed(tmp_path, journal) as feed, fetching(lambda: where[0], 0.2) as (fetcher, told):
            began_s = time.monotonic()
            fetcher.fetch(Gap("run-1", 1, 10_000))
            assert time.monotonic() - began_s < 0.1, "the gate does not wait"
            wait_until(lambda: bool(told.lost), "giving up")
            assert time.monotonic() - began_s < 3.0, "once for all of it"
            where[0] = feed.addresses["snapshot"]
            fetcher.fetch(Gap("run-1", 4, 5))
            wait_until(lambda: fetcher.fetched == 2, "fetching")
    finally:
        router.close(linger=0)
        silent.term()
    assert told.lost == [Gap("run-1", 1, 10_000)]
    assert told.seqs == [4, 5]


def test_an_address_that_comes_later_is_used_when_it_comes(tmp_path: Path) -> None:
    where: list[str | None] = [None]
    with open_feed(tmp_path, a_journal(10)) as feed, fetching(lambda: where[0], 10.0) as (fetcher, told):
        fetcher.fetch(Gap("run-1", 1, 3))
        time.sleep(0.15)
        assert told.decisions == []
        where[0] = feed.addresses["snapshot"]
        wait_until(lambda: fetcher.fetched == 3, "fetching")


def test_from_an_encrypted_station_only_with_keys(tmp_path: Path) -> None:
    keys = KeyFolder(tmp_path / "keys")
    known = keys.reader("gateway")
    with encrypted_feed(tmp_path, keys, a_journal(10)) as feed:
        with fetching(snapshot_of(feed), keys=known) as (fetcher, told):
            fetcher.fetch(Gap("run-1", 1, 3))
            wait_until(lambda: fetcher.fetched == 3, "fetching")
        with fetching(snapshot_of(feed), 0.3) as (fetcher, told):
            fetcher.fetch(Gap("run-1", 1, 3))
            wait_until(lambda: fetcher.lost == 3, "giving up")
            assert told.decisions == []


def test_bytes_that_are_no_answer_are_no_decision(tmp_path: Path) -> None:
    rude = zmq.Context()
    router = rude.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")
    try:
        with fetching(lambda: f"tcp://127.0.0.1:{port}", 5.0) as (fetcher, told):
            fetcher.fetch(Gap("run-1", 1, 3))
            sender, *_ = router.recv_multipart()
            router.send_multipart([sender, b"\xff\x00 rubbish"])
            wait_until(lambda: bool(told.lost), "giving up")
    finally:
        router.close(linger=0)
        rude.term()
    assert (told.lost, told.decisions) == ([Gap("run-1", 1, 3)], [])


def test_closing_takes_no_time_and_counts_what_was_not_fetched() -> None:
    with fetching(lambda: NOWHERE, 60.0) as (fetcher, told):
        fetcher.fetch(Gap("run-1", 1, 5))
        fetcher.fetch(Gap("run-1", 11, 15))
        time.sleep(0.05)
        began_s = time.monotonic()
        fetcher.close()
        assert time.monotonic() - began_s < 1.0
        fetcher.fetch(Gap("run-1", 21, 21))
    assert told.lost == [Gap("run-1", 1, 5), Gap("run-1", 11, 15), Gap("run-1", 21, 21)]
    assert fetcher.lost == 11


def test_a_record_that_fails_ends_the_fetching_and_all_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(decision: Decision) -> None:
        raise RuntimeError("scripted")

    lost: list[Gap] = []
    with open_feed(tmp_path, a_journal(10)) as feed:
        fetcher = GapFetcher("line1", snapshot_of(feed), None, fail, lost.append)
        fetcher.start()
        fetcher.fetch(Gap("run-1", 1, 2))
        wait_until(lambda: "not fetched back any more" in caplog.text, "the log")
        fetcher.fetch(Gap("run-1", 5, 6))
        fetcher.close()
    assert lost == [Gap("run-1", 1, 2), Gap("run-1", 5, 6)]
