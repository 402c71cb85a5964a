"""What a grabber is started for: written by the station, read by the new process."""

from __future__ import annotations

from sad_runtime.cameras.base import Setting
from sad_runtime.schema import Strict

HUNG = 9
"""Exit code of a grabber that was asked to close while its driver held it."""


class GrabberOrder(Strict):
    uri: str
    settings: dict[str, Setting] = {}
    slots: int
    link: int
    """File descriptor of the child's end."""
    parent: int
    """Process id: a grabber without its station ends."""
    inject: str = ""
    """Faults to stage (faults/schedule.py), counted from `began_ns` on CLOCK_MONOTONIC."""
    began_ns: int = 0
