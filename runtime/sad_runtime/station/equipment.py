"""What a station has besides its loop, opened in the order in which it must stand: lock, journal, pictures, feed.

The lock comes first, so that a second runtime touches nothing; the feed before any model, so that readers see a
heartbeat while it loads. Everything closes in reverse.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType

from sad_runtime.faults.disk import FaultyDisk
from sad_runtime.identity import boot_id, new_run
from sad_runtime.journal.journal import Journal
from sad_runtime.journal.kept import KeptPictures
from sad_runtime.journal.replay import Replay
from sad_runtime.messages import Command, CommandReply, Decision
from sad_runtime.ops.latency_telling import LatencyTelling
from sad_runtime.ops.measures import Measures
from sad_runtime.ops.metrics import StationCollector, Watched
from sad_runtime.ops.metrics_server import MetricsServer
from sad_runtime.ops.progress import FollowedFeed, Progress
from sad_runtime.station.answers import Answers
from sad_runtime.station.config import StationConfig
from sad_runtime.station.happenings import Happenings
from sad_runtime.station.lock import StationLock
from sad_runtime.station.state_folder import StateFolder
from sad_runtime.station.tally import Tally

log = logging.getLogger("sad.station")


class Equipment:
    """Opened by `with`. Raises AlreadyRunning, or UsageError for an address in use."""

    def __init__(
        self, config: StationConfig, folder: StateFolder, on_command: Callable[[Command], CommandReply]
    ) -> None:
        station, run, boot = config.station, new_run(), boot_id()
        self.station, self.run = station, run
        self.tally = Tally()
        self.measures, self.progress = Measures(), Progress()
        self.happenings = Happenings(station, run)
        self.happenings.listen(self.measures.told)
        self.journal = Journal(folder.journal, config.journal, self.happenings)
        self.pictures = KeptPictures(folder.pictures, config.pictures, self.happenings)
        self.feed = FollowedFeed(
            config.feed,
            station=station,
            run=run,
            boot_id=boot,
            ipc_folder=folder.folder,
            replay=Replay(folder.journal, station=station, run=run),
            on_command=on_command,
            progress=self.progress,
        )
        self.answers = Answers(
            station=station,
            run=run,
            boot_id=boot,
            journal=self.journal,
            publish=self._publish,
            require_records=config.journal.require_records,
        )
        self.watched = Watched(station, run, self.measures, self.progress, lambda: self.answers.judge)
        """What the metrics show; a part of the station may put its own gauges and totals there."""
        self.watched.gauges["subscribers"] = ("Readers of the decisions.", self.feed.decision_subscribers)
        self.watched.totals["pictures_lost"] = ("Pictures that were not kept.", lambda: self.pictures.lost)
        self.metrics_address = config.metrics.address
        """Once opened: what was really bound."""
        self._lock = StationLock(folder.lock, station)
        self._opened = ExitStack()

    def __enter__(self) -> Equipment:
        with ExitStack() as opening:
            opening.enter_context(self._lock)
            opening.enter_context(self.journal)
            opening.enter_context(self.pictures)
            opening.enter_context(self.feed)
            self.happenings.attach(self.feed.publish)
            opening.callback(self.happenings.detach)
            opening.enter_context(LatencyTelling(self.measures, self.happenings))
            if self.metrics_address is not None:
                server = opening.enter_context(MetricsServer(self.metrics_address, StationCollector(self.watched)))
                self.metrics_address = server.address
            self._opened = opening.pop_all()
        for name, address in self.feed.addresses.items():
            log.info("%s at %s", name, address)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def stage(self, disk: FaultyDisk) -> None:
        self.journal.before_write, self.pictures.before_write = disk.before_row, disk.before_picture

    def _publish(self, decision: Decision) -> None:
        self.feed.publish(decision)
        self.tally.count(decision)
        self.measures.saw(decision)
