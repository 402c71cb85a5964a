"""Which fault, and when: `freeze@120s`, `dark@300s+10s`, several with commas between.

A time without an end goes on for ever. Times count from the start of the command, in every process alike
(CLOCK_MONOTONIC).
"""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass

from sad_runtime.errors import UsageError

CAMERA_FAULTS = {
    "freeze": "the same picture again and again, under new numbers",
    "dark": "the light is off",
    "bright": "over-exposed",
    "blur": "out of focus",
    "shift": "the camera was pushed: pictures move by a tenth of their width",
    "partial": "transfers break off: lower half missing, and known to be",
    "torn": "lower half missing, and nobody says so",
    "unplug": "the camera is gone",
    "hang": "the driver never comes back",
    "swap": "another camera answers, by its serial number",
    "drop": "every third picture is lost on the way",
}
MODEL_FAULTS = {
    "slow": "inference takes 1.5 s longer",
    "nan": "the score is not a number",
    "crash": "inference raises",
    "gpu-lost": "the GPU is gone for good",
}
DISK_FAULTS = {"disk-full": "journal and pictures find no room", "disk-slow": "every write takes half a second"}
FAULTS = CAMERA_FAULTS | MODEL_FAULTS | DISK_FAULTS
WRITTEN = re.compile(r"(?P<kind>[a-z-]+)@(?P<at>\d+(\.\d+)?)s?(\+(?P<lasts>\d+(\.\d+)?)s?)?")


@dataclass(frozen=True)
class Fault:
    kind: str
    at_s: float
    lasts_s: float | None = None


def faults_from(text: str) -> list[Fault]:
    """Raises UsageError for what is no fault, naming the nearest one."""
    return [_fault_from(part.strip()) for part in text.split(",") if part.strip()]


def _fault_from(text: str) -> Fault:
    match = WRITTEN.fullmatch(text)
    kind = match["kind"] if match else text.partition("@")[0]
    if kind not in FAULTS:
        near = difflib.get_close_matches(kind, FAULTS, n=1, cutoff=0.4)
        raise UsageError(
            f"--inject {text}: no fault '{kind}'"
            + (f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(FAULTS)}")
        )
    if match is None:
        raise UsageError(f"--inject {text}: write {kind}@30s, or {kind}@30s+5s for one that ends after 5 s")
    return Fault(kind, float(match["at"]), None if match["lasts"] is None else float(match["lasts"]))


class Schedule:
    """Which faults are on now."""

    def __init__(self, text: str = "", began_ns: int = 0) -> None:
        """Raises UsageError for what is no fault. `began_ns`: time.monotonic_ns at second 0."""
        self.text, self.began_ns = text, began_ns
        self._faults = faults_from(text)

    def any_of(self, kinds: Iterable[str]) -> bool:
        """Whether one of `kinds` is planned at all."""
        return any(fault.kind in kinds for fault in self._faults)

    def active(self, kind: str) -> bool:
        now_s = (time.monotonic_ns() - self.began_ns) / 1e9
        return any(
            fault.kind == kind and now_s >= fault.at_s and (fault.lasts_s is None or now_s < fault.at_s + fault.lasts_s)
            for fault in self._faults
        )
