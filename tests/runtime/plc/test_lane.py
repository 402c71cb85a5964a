"""One station's way through the gateway, over real sockets; the PLC is a list that writes down what it is shown."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from feeds import MemoryJournal, a_decision, open_feed, publish, wait_until
from sad_runtime.feed.publisher import Feed
from sad_runtime.messages import Command, CommandReply
from sad_runtime.plc.account import Note
from sad_runtime.plc.base import OnCommand, Plc
from sad_runtime.plc.lane import Hooks, Lane, LaneSettings
from sad_runtime.plc.status import STOPPED, Bit, CommandBlock, Control, Fault, Status
from sad_runtime.verdict import State, Verdict

STATION = "line1"


class NotedPlc(Plc):
    """`breaks`: what `write` raises for the status of a result."""

    def __init__(self, breaks: Exception | None = None) -> None:
        self.shown: list[Status] = []
        self._breaks = breaks

    def connect(self, on_command: OnCommand) -> None:
        pass

    def write(self, station: str, status: Status) -> None:
        assert station == STATION
        if self._breaks is not None and status.result is not None:
            raise self._breaks
        self.shown.append(status)

    def close(self) -> None:
        pass

    def counters(self) -> dict[str, int]:
        return {}


@dataclass
class Stand:
    feed: Feed
    journal: MemoryJournal
    lane: Lane
    plc: NotedPlc
    commands: list[Command] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    _beating: threading.Event = field(default_factory=threading.Event)
    seq: int = 0

    def publish(self, **changes: Any) -> None:
        self.seq += 1
        publish(self.feed, self.journal, a_decision(self.seq, self.journal.run, **changes))

    def until(self, bits: Bit) -> Status:
        wait_until(lambda: self.lane.status.bits & bits == bits, str(bits))
        return self.lane.status


@contextmanager
def under_way(tmp_path: Path, plc: NotedPlc | None = None, reply: CommandReply | None = None) -> Iterator[Stand]:
    """A station that is online and beats by itself, and a lane that hears it."""
    commands: list[Command] = []

    def obey(command: Command) -> CommandReply:
        commands.append(command)
        return reply or CommandReply(id=command.id, ok=True)

    plc, notes, journal = plc or NotedPlc(), [], MemoryJournal()
    decisions, stop = f"ipc://{tmp_path}/decisions", threading.Event()
    with open_feed(tmp_path, journal, decisions=decisions, on_command=obey) as feed:
        feed.status(state=State.READY, online=True, recipe=1, model_digest="ab" * 32, deadline_ms=1000)

        def tick() -> None:
            while not stop.wait(0.02):
                feed.tick()

        ticker = threading.Thread(target=tick)
        ticker.start()
        settings = LaneSettings(STATION, decisions, f"ipc://{tmp_path}/commands.ipc")
        hooks = Hooks(note=lambda station, note: notes.append(note))
        try:
            with Lane(settings, [plc], "gateway-1", hooks) as lane:
                stand = Stand(feed, journal, lane, plc, commands, notes)
                stand.until(Bit.ONLINE)
                yield stand
        finally:
            stop.set()
            ticker.join()


def test_a_decision_is_shown_to_every_way_and_nothing_is_shown_twice(tmp_path: Path) -> None:
    with under_way(tmp_path) as stand:
        stand.publish(part_id=5)
        status = stand.until(Bit.RESULT_VALID | Bit.PASS)
        assert status.result is not None
        assert status.result.part_id == 5
        wait_until(lambda: stand.plc.shown[-1].result is not None, "the PLC is shown the result")
        assert all(one != other for one, other in zip(stand.plc.shown, stand.plc.shown[1:], strict=False))


def test_the_heartbeat_that_plcs_watch_moves_ten_times_a_second(tmp_path: Path) -> None:
    with under_way(tmp_path) as stand:
        first, began_s = stand.lane.status.heartbeat, time.monotonic()
        time.sleep(1.0)
        moved = stand.lane.status.heartbeat - first
        assert moved == pytest.approx(10 * (time.monotonic() - began_s), abs=2)


def test_a_command_of_the_plc_reaches_the_station_and_its_answer_the_plc(tmp_path: Path) -> None:
    with under_way(tmp_path) as stand:
        stand.lane.commanded(CommandBlock())
        stand.lane.commanded(CommandBlock(control=Control.ENABLE))
        stand.until(Bit.TRIGGER_READY)
        stand.lane.commanded(CommandBlock(control=Control.ENABLE | Control.TRIGGER, trigger_id=7, part_id=1001))
        stand.until(Bit.TRIGGER_ACK | Bit.BUSY)
        wait_until(lambda: bool(stand.commands), "the station hears of the trigger")
        assert (stand.commands[0].op, stand.commands[0].trigger_id, stand.commands[0].part_id) == ("trigger", 7, 1001)
        stand.publish(trigger_id=7, part_id=1001, encoder=0, verdict=Verdict.FAIL)
        status = stand.until(Bit.RESULT_VALID | Bit.FAIL)
        assert not status.bits & Bit.BUSY
        assert status.result is not None
        stand.lane.commanded(CommandBlock(control=Control.ENABLE, ack_seq=status.result.seq))
        wait_until(lambda: stand.commands[-1].op == "ack", "the station hears of the ACK")
        assert stand.commands[-1].seq == 1
        assert [note.kind for note in stand.notes] == ["fault", "plc", "trigger", "result", "acknowledged"]


def test_a_station_that_ends_is_stale_and_nothing_it_said_is_valid_any_more(tmp_path: Path) -> None:
    with under_way(tmp_path) as stand:
        stand.publish(deadline_ms=60_000)
        stand.until(Bit.PASS)
        stand.feed.__exit__(None, None, None)
        status = stand.until(Bit.FEED_STALE | Bit.INVALID)
        assert not status.bits & (Bit.PASS | Bit.RESULT_VALID | Bit.ONLINE)
        assert status.ring[0].verdict is Verdict.INVALID


def test_what_fails_inside_ends_the_lane_in_the_safe_state(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    plc = NotedPlc(breaks=RuntimeError("no way"))
    with under_way(tmp_path, plc) as stand:
        stand.publish()
        wait_until(lambda: stand.lane.failure is not None, "the lane fails")
        assert stand.lane.failure == "station line1: no way"
        wait_until(lambda: stand.plc.shown[-1] == STOPPED, "nothing is valid any more")
        assert not any(status.bits & Bit.PASS for status in stand.plc.shown)
    assert "the gateway failed" in caplog.text


def test_a_station_of_another_schema_is_a_fault_and_never_a_verdict(tmp_path: Path) -> None:
    plc, address = NotedPlc(), f"ipc://{tmp_path}/decisions"
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.linger = 0
        socket.bind(address)
        with Lane(LaneSettings(STATION, address, None), [plc], "g", Hooks()) as lane:

            def told() -> bool:
                body = {"v": 2, "run": "r", "station": STATION, "seq": 1, "verdict": "PASS"}
                socket.send_multipart([b"decision.line1", msgpack.packb(body)])
                return lane.status.fault is Fault.SCHEMA_UNKNOWN

            wait_until(told, "the fault is shown")
            assert lane.failure is None
    assert not any(status.bits & (Bit.PASS | Bit.RESULT_VALID) for status in plc.shown)


def test_rubbish_on_the_feed_is_counted_and_changes_nothing(tmp_path: Path) -> None:
    plc, address = NotedPlc(), f"ipc://{tmp_path}/decisions"
    with zmq.Context() as context, context.socket(zmq.PUB) as socket:
        socket.linger = 0
        socket.bind(address)
        with Lane(LaneSettings(STATION, address, None), [plc], "g", Hooks()) as lane:

            def told() -> bool:
                socket.send_multipart([b"decision.line1", b"\xc1\x00rubbish"])
                socket.send_multipart([b"heartbeat.line1", msgpack.packb({"v": 1, "run": 5})])
                return lane.counters()["refused_messages"] > 10

            wait_until(told, "rubbish is counted")
            assert lane.failure is None
    assert {status.bits for status in plc.shown} <= {Bit.FEED_STALE | Bit.INVALID | Bit.FAULT}


def test_a_trigger_of_unknown_age_is_missed_after_the_gateway_stood_still(tmp_path: Path) -> None:
    """As after SIGSTOP: what the PLC wrote meanwhile comes in only now."""
    with under_way(tmp_path) as stand:
        stand.lane.commanded(CommandBlock(control=Control.ENABLE))
        stand.until(Bit.TRIGGER_READY)
        stand.lane._deaf_until_s = time.monotonic() + 5.0
        stand.lane.commanded(CommandBlock(control=Control.ENABLE | Control.TRIGGER, trigger_id=7, part_id=1001))
        status = stand.until(Bit.MISSED_TRIGGER | Bit.INVALID)
        assert status.result is not None
        assert status.result.part_id == 1001
        assert not stand.commands


def test_a_turn_that_took_too_long_makes_the_lane_deaf_for_old_triggers(tmp_path: Path) -> None:
    with under_way(tmp_path) as stand:
        wait_until(lambda: not stand.lane._is_deaf(), "the lane hears")
        stand.lane._turned_s -= 1.0
        wait_until(stand.lane._is_deaf, "the lane is deaf")
        wait_until(lambda: not stand.lane._is_deaf(), "the lane hears again")
