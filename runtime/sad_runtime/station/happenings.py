"""What happens at a station besides verdicts: told to the log at once, and to the feed as events once it is up."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Literal

from sad_runtime.messages import Event

log = logging.getLogger("sad.station")
Level = Literal["info", "warning", "error"]
LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class Happenings:
    """Any thread may tell. What is told before `attach` is kept for the feed."""

    def __init__(self, station: str, run: str) -> None:
        self._station = station
        self._run = run
        self._lock = threading.Lock()
        self._early: list[Event] = []
        self._publish: Callable[[Event], None] | None = None
        self._listeners: list[Callable[[Event], None]] = []

    def listen(self, listener: Callable[[Event], None]) -> None:
        """Called with every event, in the thread that tells it; never waits. Before anything is told."""
        self._listeners.append(listener)

    def attach(self, publish: Callable[[Event], None]) -> None:
        with self._lock:
            self._publish = publish
            early, self._early = self._early, []
        for event in early:
            publish(event)

    def detach(self) -> None:
        """Before the feed closes; from now on only the log is told."""
        with self._lock:
            self._publish = _nobody

    def tell(self, code: str, level: Level, text: str, **data: Any) -> None:
        """`code` is for programs (`camera_lost`), `text` for people, `data` plain values."""
        named = {"station": self._station, "run": self._run, "code": code}
        log.log(LEVELS[level], "%s: %s", code, text, extra=named)
        event = Event(run=self._run, station=self._station, code=code, level=level, text=text, data=data)
        for listener in self._listeners:
            listener(event)
        with self._lock:
            publish = self._publish
            if publish is None:
                self._early.append(event)
        if publish is not None:
            publish(event)


def _nobody(event: Event) -> None:
    """Where events go when the feed is closed."""
