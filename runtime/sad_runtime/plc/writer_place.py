"""Who writes to a station now: a PLC keeps its place as long as it says anything, and nobody writes beside it."""

from __future__ import annotations

SILENT_S = 5.0
"""A writer that said nothing for so long has lost its place."""


class WriterPlace:
    """One station's one place for a writer. It is held by who somebody is (an address, a certificate), by the
    connection through which it wrote last.
    """

    def __init__(self) -> None:
        self.connection: object = None
        self._who: object = None
        self._heard_s = 0.0

    def free_for(self, who: object, now_s: float) -> bool:
        """False: another one has it."""
        return self._who in (None, who) or now_s - self._heard_s >= SILENT_S

    def take(self, who: object, connection: object, now_s: float) -> bool:
        if not self.free_for(who, now_s):
            return False
        self._who, self.connection, self._heard_s = who, connection, now_s
        return True

    def heard(self, who: object, now_s: float) -> None:
        """Any request of its holder, reading too."""
        if self._who == who:
            self._heard_s = now_s

    def left(self, connection: object) -> None:
        if self.connection is connection:
            self._who = self.connection = None
