"""Commands read from a PLC's memory again and again, where a bit may have stood for long before it was seen."""

from __future__ import annotations

from dataclasses import replace

from sad_runtime.plc.status import KNOWN_CONTROL, CommandBlock, Control

UNSEEN_S = 0.25
EDGES = int(KNOWN_CONTROL & ~Control.ENABLE)
"""A plain number, as are all below: ~ of a Control has no bits but the known ones."""


class PolledCommands:
    """A bit that rose while nobody looked for longer than `unseen_s` (no connection, a PLC that hung) is of unknown
    age: the part it was meant for may be past the camera. It is held back until it has fallen.
    """

    def __init__(self, unseen_s: float = UNSEEN_S) -> None:
        self._unseen_s = unseen_s
        self._told: CommandBlock | None = None
        self._seen_s = 0.0
        self._held = 0

    def changed(self, block: CommandBlock, now_s: float) -> CommandBlock | None:
        """`block` was just read: what the gate is to be told; None: nothing new. The very first one goes as it is, the
        gate takes it as what later ones are compared with.
        """
        if self._told is not None and now_s - self._seen_s > self._unseen_s:
            self._held |= int(block.control) & ~int(self._told.control) & EDGES
        self._held &= int(block.control)
        self._seen_s = now_s
        shown = replace(block, control=int(block.control) & ~self._held)
        if shown == self._told:
            return None
        self._told = shown
        return shown
