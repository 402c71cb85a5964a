"""A feed for tests: decisions, a journal in memory, free ports; and (as a script) a station that can be killed.

    python tests/feeds.py DECISIONS SNAPSHOT FOLDER RUN COUNT

binds there, publishes COUNT decisions a few ms apart, says so, and goes on beating until it is killed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sad_runtime.feed.publisher import Feed, FeedConfig
from sad_runtime.identity import boot_id
from sad_runtime.messages import SNAPSHOT_PAGE, Command, CommandReply, Decision, SnapshotReply, SnapshotRequest
from sad_runtime.verdict import Reason, Verdict

FREE = "tcp://127.0.0.1:*"
STATION = "line1"
PATIENCE_S = 10.0


def a_decision(seq: int, run: str = "run-1", **changes: Any) -> Decision:
    values: dict[str, Any] = {
        "run": run,
        "station": STATION,
        "seq": seq,
        "part_id": 1000 + seq,
        "mono_ns": time.monotonic_ns(),
        "boot_id": boot_id(),
        "verdict": Verdict.PASS,
        "reason": Reason.OK,
        "score": 1.5,
        "threshold": 4.0,
        "age_ms": 20.0,
    }
    return Decision(**(values | changes))


class MemoryJournal:
    """Replays from a list, a page at a time, like a station's journal."""

    def __init__(self, run: str = "run-1") -> None:
        self.run = run
        self.rows: list[Decision] = []
        self.requests: list[SnapshotRequest] = []

    def replay(self, request: SnapshotRequest) -> SnapshotReply:
        self.requests.append(request)
        rows = [row for row in self.rows if row.run == (request.run or self.run)]
        if not rows:
            return SnapshotReply()
        found = [row for row in rows if request.from_seq <= row.seq <= request.to_seq]
        more = len(found) > SNAPSHOT_PAGE
        return SnapshotReply(
            items=found[:SNAPSHOT_PAGE],
            next_seq=found[SNAPSHOT_PAGE].seq if more else None,
            first_seq=rows[0].seq,
            last_seq=rows[-1].seq,
        )


def agree(command: Command) -> CommandReply:
    return CommandReply(id=command.id, ok=True)


@contextmanager
def open_feed(
    folder: Path,
    journal: MemoryJournal,
    *,
    decisions: str = FREE,
    snapshot: str = FREE,
    on_command: Callable[[Command], CommandReply] = agree,
) -> Iterator[Feed]:
    config = FeedConfig(decisions=[decisions], heatmaps=FREE, snapshot=snapshot)
    with Feed(
        config,
        station=STATION,
        run=journal.run,
        boot_id=boot_id(),
        ipc_folder=folder,
        replay=journal.replay,
        on_command=on_command,
    ) as feed:
        yield feed


def publish(feed: Feed, journal: MemoryJournal, decision: Decision) -> None:
    """As a station does: first the journal, then the feed."""
    journal.rows.append(decision)
    feed.publish(decision)
    feed.tick()


def wait_until(true: Callable[[], bool], what: str) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < until_s, f"{what} did not happen in {PATIENCE_S} s"
        time.sleep(0.005)


def main() -> None:
    decisions, snapshot, folder, run, count = sys.argv[1:]
    journal = MemoryJournal(run)
    with open_feed(Path(folder), journal, decisions=decisions, snapshot=snapshot) as feed:
        for seq in range(1, int(count) + 1):
            publish(feed, journal, a_decision(seq, run))
            time.sleep(0.002)
        print("published", flush=True)
        while True:
            feed.tick()
            time.sleep(0.05)


if __name__ == "__main__":
    main()
