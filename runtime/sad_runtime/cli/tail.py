"""`sad-tail`: prints a station's feed, one decision a line, for people or (`--json`) for scripts."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sad_runtime.cli.command import command_parser, run_command
from sad_runtime.cli.feed_keys import add_key_options, keys_from
from sad_runtime.errors import UsageError
from sad_runtime.feed.ordering import Gap
from sad_runtime.messages import Decision, Event
from sad_runtime.subscriber import Subscriber
from sad_runtime.verdict import Verdict

DEFAULT_FEED = "tcp://127.0.0.1:5555"
LOOK_MS = 100.0
"""How often silence is looked for."""
COLOURS = {Verdict.PASS: "32", Verdict.FAIL: "31;1", Verdict.INVALID: "33;1"}
EXAMPLES = """\
  sad-tail                                  what the station on this computer decides, as it happens
  sad-tail --history --count 100            the first hundred decisions since the station started
  sad-tail --json | jq 'select(.verdict != "PASS")'
  sad-tail --feed tcp://127.0.0.1:5565      the second station of this computer
  sad-tail --feed tcp://10.0.0.5:5555 --server-key line1.key --key office.key_secret"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(
        "sad-tail", "Prints the decisions of a station, one a line, until you press Ctrl-C.", EXAMPLES
    )
    parser.add_argument("--feed", metavar="ADDR", default=DEFAULT_FEED, help=f"the feed's address ({DEFAULT_FEED})")
    parser.add_argument("--station", metavar="NAME", help="only this station (the first one that speaks)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line; all else goes to stderr")
    parser.add_argument("--count", metavar="N", type=_count, help="end after N decisions")
    parser.add_argument("--history", action="store_true", help="start at the first decision since the station started")
    parser.add_argument("--events", action="store_true", help="also print events, like a camera that went away")
    parser.add_argument("--timeout", metavar="S", type=_seconds, help="end when no decision came for S seconds")
    parser.add_argument("--snapshot", metavar="ADDR", help="where to fetch lost decisions (what the station tells)")
    add_key_options(parser)
    return run_command(parser, _tail, argv)


def _tail(arguments: argparse.Namespace) -> int:
    tail = Tail(as_json=arguments.json)
    subscriber = Subscriber(
        arguments.feed,
        station=arguments.station,
        history=arguments.history,
        snapshot=arguments.snapshot,
        keys=keys_from(arguments),
        on_gap=tail.gap,
        on_event=tail.event if arguments.events else None,
    )
    with subscriber as feed:
        try:
            _follow(feed, tail, arguments.count, arguments.timeout)
        finally:
            tail.summary(feed.lost)
        if tail.total == 0:
            print(f"sad-tail: {_nothing(feed, arguments)}", file=sys.stderr)
            return 1
    return 0


def _follow(feed: Subscriber, tail: Tail, count: int | None, timeout_s: float | None) -> None:
    """Until `count` decisions came, or none for `timeout_s`."""
    latest_s = time.monotonic()
    while count is None or tail.total < count:
        decision = feed.poll(LOOK_MS)
        if decision is None and feed.refusal is not None:
            raise UsageError(feed.refusal)
        tail.look(feed)
        if decision is not None:
            tail.decision(decision, recovered=feed.recovered(decision))
            latest_s = time.monotonic()
        elif timeout_s is not None and time.monotonic() - latest_s >= timeout_s:
            return


class Tail:
    """Writes what it is told, and keeps the counts for the summary."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json
        self._colour = sys.stdout.isatty()
        self._verdicts: Counter[Verdict] = Counter()
        self._alive: bool | None = None

    @property
    def total(self) -> int:
        return self._verdicts.total()

    def decision(self, decision: Decision, *, recovered: bool) -> None:
        self._verdicts[decision.verdict] += 1
        text = decision.model_dump_json() if self._json else line_of(decision, recovered, colour=self._colour)
        print(text, flush=True)

    def event(self, event: Event) -> None:
        self._note(f"{event.level}: {event.text} ({event.code})")

    def gap(self, gap: Gap) -> None:
        self._note(f"{gap.count} decisions are lost, {gap.from_seq} to {gap.to_seq}")

    def look(self, feed: Subscriber) -> None:
        """Says so when the feed falls silent, and when it comes back."""
        if feed.heartbeat is None or feed.alive == self._alive:
            return
        if self._alive is not None or not feed.alive:
            self._note("the feed is back" if feed.alive else "the feed is silent: the station hangs or has ended")
        self._alive = feed.alive

    def summary(self, lost: int) -> None:
        counts = ", ".join(f"{self._verdicts[verdict]} {verdict.value}" for verdict in Verdict)
        print(f"{self.total} decisions: {counts}; {lost} lost", file=sys.stderr)

    def _note(self, text: str) -> None:
        print(f"{datetime.now():%H:%M:%S}      -- {text}", file=sys.stderr if self._json else sys.stdout, flush=True)


def line_of(decision: Decision, recovered: bool, *, colour: bool) -> str:
    """`12:31:05.123  #42  part 1001  FAIL  score  4.812 / 4.000  p 0.0012  23.4 ms  review`"""
    seen_s = decision.captured_ns / 1e9 if decision.captured_ns is not None else None
    when = datetime.fromtimestamp(seen_s).strftime("%H:%M:%S.%f")[:-3] if seen_s is not None else "--:--:--.---"
    verdict = f"{decision.verdict.value:<7}"
    parts = [
        when,
        f"#{decision.seq:<6}",
        _identity(decision),
        f"\x1b[{COLOURS[decision.verdict]}m{verdict}\x1b[0m" if colour else verdict,
        f"{decision.reason.value:<15}",
        f"{_number(decision.score, '.4g'):>8} / {_number(decision.threshold, '.4g'):<8}",
        f"p {_number(decision.p_value, '.4f'):<6}",
        f"{decision.age_ms:6.1f} ms",
        " ".join([*decision.flags, *(["recovered"] if recovered else [])]),
    ]
    return "  ".join(part for part in parts if part)


def _identity(decision: Decision) -> str:
    """The name that the line knows the part by, as far as it has one."""
    names = (("part", decision.part_id), ("trigger", decision.trigger_id))
    return " ".join(f"{name} {number}" for name, number in names if number is not None)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _nothing(feed: Subscriber, arguments: argparse.Namespace) -> str:
    if feed.heartbeat is not None:
        state, online = feed.heartbeat.state.value, "online" if feed.heartbeat.online else "not online"
        return (
            f"station {feed.station} is there ({state}, {online}), but no part was judged. "
            "Is the line running, and does the trigger arrive?  --history shows earlier decisions"
        )
    who = f"station {arguments.station}" if arguments.station else "a station"
    return (
        f"nothing was heard from {who} at {arguments.feed}. Start it with sad-runtime, or give the address that it "
        "printed at its start: sad-tail --feed ADDR"
    )


def _count(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of decisions; write for example 100")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a time in seconds; write for example 10")
    return value
