"""Where the station stands: its state, whether it is online, the loop's progress; all told by the heartbeat."""

from __future__ import annotations

import threading
import time

from sad_runtime.feed.publisher import Feed
from sad_runtime.station.recipes import Recipe
from sad_runtime.station.ticking import TICK_S
from sad_runtime.verdict import Reason, State

ONLINE = (State.READY, State.SINGLE_EXECUTION, State.CONTINUOUS_EXECUTION)


class Standing:
    """The loop enters states; any thread may ask, pause and resume."""

    def __init__(self, feed: Feed, stop: threading.Event, recipe: Recipe) -> None:
        self.state = State.PREOPERATIONAL
        self.fault = Reason.NO_IMAGE
        """Why parts are refused in state Error."""
        self.paused = False
        self.stop = stop
        self.recipe = recipe
        self._feed = feed

    @property
    def online(self) -> bool:
        """True while a part that comes now will be inspected."""
        return self.state in ONLINE and not self.paused and not self.stop.is_set()

    def enter(self, state: State) -> None:
        self.state = state
        self._feed.status(
            state=state,
            online=self.online,
            recipe=self.recipe.id,
            model_digest=self.recipe.digest,
            deadline_ms=self.recipe.deadline_ms,
        )

    def tick(self) -> None:
        """The loop is alive."""
        self._feed.tick()

    def idle(self, seconds: float) -> bool:
        """Waits, ticking. False, and at once, when the station is to stop."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self.tick()
            if self.stop.wait(min(TICK_S, left_s)):
                return False
        return not self.stop.is_set()
