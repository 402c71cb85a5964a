"""Commands read from a PLC's memory again and again, where a bit may have stood for long before it was seen."""

from __future__ import annotations

from dataclasses import replace

from sad_runtime.plc.status import KNOWN_CONTROL, CommandBlock, Control

UNSEEN_S = 0.25
EDGES = int(KNOWN_CONTROL & ~Control.ENABLE)
"""A plain number, as are all below: ~ of a Control has no bits but the known ones."""


class PolledCommands:
    """A bit that is set after nobody looked for longer than `unseen_s` (no connection, a PLC that hung) is of unknown
    age, also one that was set before: it may have fallen and risen meanwhile, for a part that is past the camera by
    now. It is held back until it has fallen.
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
            self._held = EDGES
        self._held &= int(block.control)
        self._seen_s = now_s
        shown = replace(block, control=int(block.control) & ~self._held)
        if shown == self._told:
            return None
        self._told = shown
        return shown
