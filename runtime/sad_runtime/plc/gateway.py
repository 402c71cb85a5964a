"""All stations of one gateway: a lane each, every way to a PLC, a record each. Watches that all of them work.

Whatever breaks inside stops the whole gateway in the safe state (nothing valid, heartbeat standing still); a supervisor
starts it again. What breaks outside (a PLC, a broker, a station) does not.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType

from sad_runtime.feed.ordering import Gap
from sad_runtime.identity import new_run
from sad_runtime.messages import Decision
from sad_runtime.ops.metrics_server import MetricsServer
from sad_runtime.ops.sd_notify import SdNotify
from sad_runtime.plc.account import Note
from sad_runtime.plc.config import PlcConfig
from sad_runtime.plc.lane import Hooks, Lane, LaneSettings
from sad_runtime.plc.metrics import GatewayCollector
from sad_runtime.plc.record.record import Entry, Record
from sad_runtime.plc.record.recovery import GapFetcher
from sad_runtime.plc.status import STOPPED, CommandBlock
from sad_runtime.plc.table import Way, ways_from
from sad_runtime.station.lock import StationLock
from sad_runtime.station.state_folder import StateFolder

log = logging.getLogger("sad.plc")
LOOK_S = 0.1
SHOWN_S = 0.3
"""For the ways to take the last status to their PLCs, before they are closed."""
STUCK_S = 0.8
"""A lane that makes no turn for so long hangs; less than systemd's watchdog waits, so that the safe state is shown."""
QUIET_S = 60.0


@dataclass(frozen=True)
class GatewayStation:
    settings: LaneSettings
    config: PlcConfig
    folder: StateFolder


class Gateway:
    """Opened by `with`: takes the locks, opens records and ways, then the lanes. `run` returns the exit code."""

    def __init__(self, stations: Sequence[GatewayStation], state: Path, metrics: str | None) -> None:
        """Raises UsageError, before anything is opened."""
        self.stations = list(stations)
        self.identity = new_run()
        self.ways: list[Way] = ways_from({one.settings.station: one.config for one in stations}, state)
        self.lanes: dict[str, Lane] = {}
        self.failure: str | None = None
        self._metrics = metrics
        self._records: dict[str, Record] = {}
        self._fetchers: dict[str, GapFetcher] = {}
        self._commanders = {one.settings.station: _commander(one.config) for one in stations}
        self._told_s: dict[tuple[str, str], float] = {}
        self._open = ExitStack()

    def __enter__(self) -> Gateway:
        with ExitStack() as opened:
            for station in self.stations:
                station.folder.make()
                name = station.settings.station
                opened.enter_context(StationLock(station.folder.plc_lock, f"{name}'s gateway"))
                self._records[name] = opened.enter_context(Record(station.folder.plc_record, station.config.keep_rows))
            for way in self.ways:
                opened.callback(way.plc.close)
                way.plc.connect(partial(self._commanded, way.kind))
            for station in self.stations:
                self._open_lane(station, opened)
            if self._metrics is not None:
                collector = GatewayCollector(
                    list(self.lanes.values()), {way.name: way.plc for way in self.ways}, self._records
                )
                opened.enter_context(MetricsServer(self._metrics, collector, key="plc.metrics"))
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def run(self, stop: threading.Event, service: SdNotify) -> int:
        """Until `stop`, or until something inside failed."""
        moved = {name: (-1, time.monotonic()) for name in self.lanes}
        looked_s = time.monotonic()
        while not stop.wait(LOOK_S):
            now_s = time.monotonic()
            if now_s - looked_s > STUCK_S / 2:  # this thread was stopped itself, so the lanes were too
                moved = {name: (turns, now_s) for name, (turns, _) in moved.items()}
            looked_s = now_s
            for name, lane in self.lanes.items():
                if lane.counts.turns != moved[name][0]:
                    moved[name] = (lane.counts.turns, now_s)
            stuck = [name for name, (_, since_s) in moved.items() if now_s - since_s > STUCK_S]
            self.failure = self._failed() or (f"station {stuck[0]}: its lane hangs" if stuck else None)
            if not stuck:
                service.beat()
            if self.failure is not None:
                log.critical("%s; the gateway stops, nothing is valid any more", self.failure)
                self._show_stopped()
                return 1
        service.stopping()
        return 0

    def _open_lane(self, station: GatewayStation, opened: ExitStack) -> None:
        name = station.settings.station
        ways = [way.plc for way in self.ways if name in way.stations]
        hooks = Hooks(self._note, self._gap, lambda name: self._records[name].failing)
        lane = Lane(station.settings, ways, self.identity, hooks)
        fetcher = GapFetcher(
            name,
            lambda: lane.snapshot,
            station.settings.keys,
            lambda decision: self._recovered(name, decision),
            lambda gap: self._lost(name, gap),
        )
        fetcher.start()
        opened.callback(fetcher.close)
        self.lanes[name], self._fetchers[name] = lane, fetcher
        self._records[name].put(Entry("restart", name, f"the gateway started, {self.identity}"))
        opened.enter_context(lane)

    def _commanded(self, kind: str, station: str, block: CommandBlock) -> None:
        """Only one way gives orders; the others may have command blocks that nobody minds."""
        lane, commander = self.lanes.get(station), self._commanders[station]
        if lane is not None and kind == commander:
            lane.commanded(block)
        elif time.monotonic() - self._told_s.get((kind, station), -QUIET_S) >= QUIET_S:
            self._told_s[kind, station] = time.monotonic()
            log.warning(
                "station %s: commands by %s are not minded; %s gives orders", station, kind, commander or "nobody"
            )

    def _failed(self) -> str | None:
        failures = [lane.failure for lane in self.lanes.values()]
        failures += [f"{way.name}: {way.plc.failure}" for way in self.ways if way.plc.failure]
        return next((text for text in failures if text), None)

    def _show_stopped(self) -> None:
        for lane in self.lanes.values():
            lane.stop()
        for way in self.ways:
            for station in way.stations:
                way.plc.write(station, STOPPED)
        time.sleep(SHOWN_S)

    def _note(self, station: str, note: Note) -> None:
        part, trigger = note.part_id, note.trigger_id
        self._records[station].put(Entry(note.kind, station, note.text, note.result, part_id=part, trigger_id=trigger))

    def _gap(self, station: str, gap: Gap) -> None:
        self._fetchers[station].fetch(gap)

    def _recovered(self, station: str, decision: Decision) -> None:
        text = f"run {decision.run} seq {decision.seq}: {decision.verdict.value} {decision.reason.value}"
        part, trigger = decision.part_id, decision.trigger_id
        self._records[station].put(Entry("recovered", station, text, part_id=part, trigger_id=trigger))

    def _lost(self, station: str, gap: Gap) -> None:
        text = f"run {gap.run}: {gap.from_seq} to {gap.to_seq} cannot be fetched back"
        self._records[station].put(Entry("lost", station, text))


def _commander(config: PlcConfig) -> str | None:
    """Without a way named there is the Modbus server."""
    return config.commander if config.ways or config.commands == "none" else "modbus"
