"""The one small base of every way to a PLC; table.py has the kinds.

A server waits for the PLC, a client goes to it; both are opened with `connect`, told every change with `write`, and
hand what the PLC says to `command`. A PLC that is not there is waited for, never an error of the gateway.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from sad_runtime.plc.status import CommandBlock, Status

OnCommand = Callable[[str, CommandBlock], None]
"""(station, block): what the PLC wrote, each time it wrote. Returns within microseconds; any thread may call."""


class Plc(ABC):
    """One way to one or several PLCs, for the stations it was made for."""

    @abstractmethod
    def connect(self, on_command: OnCommand) -> None:
        """Raises UsageError for what can never work here (address in use, bad certificate), MissingExtra without the
        library. Returns before any PLC is there.
        """

    @abstractmethod
    def write(self, station: str, status: Status) -> None:
        """Shows `status` as soon as it can, as a whole or not at all. Returns at once, whatever the PLC does; called in
        order, by one thread a station, at most some hundred times a second.
        """

    @abstractmethod
    def close(self) -> None:
        """Shows nothing more and lets go. Returns within two seconds. May be called twice."""

    @abstractmethod
    def counters(self) -> dict[str, int]:
        """What happened since `connect`, by name, for metrics and reports: `refused_peers`, `bad_requests` ..."""

    @property
    def failure(self) -> str | None:
        """Why this can never work again (its thread died); the gateway stops in the safe state. None while well."""
        return None
