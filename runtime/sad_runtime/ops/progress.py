"""The loop's sign of life, for whoever must notice that it stands still: the metrics and the service manager.

A station hands out its feed with this around it, so that one tick of the loop serves the heartbeat and them alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sad_runtime.feed.publisher import Feed


class Progress:
    """What the loop last said of itself. `listeners` are called in the loop's thread at each tick; they never wait."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self.listeners: list[Callable[[], None]] = []
        self.status_listeners: list[Callable[[str, int], None]] = []
        """Called with the state and the deadline in ms whenever the station enters a state."""
        self.state, self.online = "", False
        self._clock_ns = clock_ns
        self._ticked_ns = clock_ns()

    @property
    def age_s(self) -> float:
        return (self._clock_ns() - self._ticked_ns) / 1e9

    def tick(self) -> None:
        self._ticked_ns = self._clock_ns()
        for listener in self.listeners:
            listener()

    def enter(self, state: str, online: bool, deadline_ms: int) -> None:
        self.state, self.online = state, online
        for listener in self.status_listeners:
            listener(state, deadline_ms)


class FollowedFeed(Feed):
    """The feed; what the loop tells it, `progress` hears too."""

    def __init__(self, *given: Any, progress: Progress, **named: Any) -> None:
        super().__init__(*given, **named)
        self._progress = progress

    def tick(self) -> None:
        super().tick()
        self._progress.tick()

    def status(self, **said: Any) -> None:
        super().status(**said)
        self._progress.enter(said["state"].value, said["online"], said.get("deadline_ms", 1000))
