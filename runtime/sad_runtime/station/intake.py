"""Takes triggers in: into the queue and under the watchdog when the station is online, else INVALID at once."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from sad_runtime.station.part import Finding, Part, invalid, overdue
from sad_runtime.station.standing import Standing
from sad_runtime.station.watchdog import Watchdog
from sad_runtime.verdict import Reason, State


class Waiting(Protocol):
    """Where parts wait for their picture: a queue (triggers.py), or in step with the camera (pairing.py)."""

    def put(self, part: Part) -> bool: ...

    def __len__(self) -> int: ...

    def empty(self) -> list[Part]: ...


class Intake:
    """Opened by `with`. Any thread may hand parts in; every one of them gets an answer."""

    def __init__(self, standing: Standing, waiting: Waiting, answer: Callable[[Part, Finding], None]) -> None:
        self._standing = standing
        self._waiting = waiting
        self._answer = answer
        self._watchdog = Watchdog(lambda part: answer(part, overdue(part)))

    def __enter__(self) -> Intake:
        self._watchdog.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse_waiting(Reason.NOT_ONLINE)
        self._watchdog.stop()

    def hand_in(self, part: Part) -> Reason | None:
        """None when the part was taken in; else it has been answered INVALID for this reason."""
        reason = self._no_entry()
        if reason is not None:
            self.refuse(part, reason)
            return reason
        self._watchdog.watch(part)
        if not self._waiting.put(part):
            self.refuse(part, Reason.QUEUE_FULL)
            return Reason.QUEUE_FULL
        if self._no_entry() is not None:  # went offline in between; the loop may not look into the queue again
            self.refuse_waiting(Reason.NOT_ONLINE)
        return None

    @property
    def depth(self) -> int:
        """How many triggers wait."""
        return len(self._waiting)

    def watch(self, part: Part) -> None:
        """For a part that did not come by the queue."""
        self._watchdog.watch(part)

    def refuse(self, part: Part, reason: Reason) -> None:
        self._answer(part, invalid(reason))

    def refuse_waiting(self, reason: Reason) -> None:
        for part in self._waiting.empty():
            self.refuse(part, reason)

    def _no_entry(self) -> Reason | None:
        if self._standing.online:
            return None
        return self._standing.fault if self._standing.state is State.ERROR else Reason.NOT_ONLINE
