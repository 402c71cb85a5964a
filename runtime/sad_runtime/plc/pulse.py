"""Signs of life: HEARTBEAT and RUN_TAG for the PLC, and PLC_HEARTBEAT from it. Pure."""

from __future__ import annotations

import hashlib

BEAT_NS = 100_000_000
U16 = 0xFFFF


class Pulse:
    """The HEARTBEAT word: +1 every 100 ms while `beat` is called."""

    def __init__(self, now_ns: int) -> None:
        self.word = 0
        self._counted_ns = now_ns

    def begin(self, now_ns: int) -> None:
        """At once, after a silence."""
        self._counted_ns = now_ns - BEAT_NS

    def beat(self, now_ns: int) -> None:
        if now_ns - self._counted_ns >= BEAT_NS:
            self.word = (self.word + 1) & U16
            self._counted_ns = max(self._counted_ns + BEAT_NS, now_ns - BEAT_NS)


class PlcPulse:
    """Whether PLC_HEARTBEAT moves."""

    def __init__(self, silent_ns: int, now_ns: int) -> None:
        self._silent_ns, self._moved_ns = silent_ns, now_ns

    def moved(self, now_ns: int) -> None:
        self._moved_ns = now_ns

    def is_silent(self, now_ns: int) -> bool:
        return now_ns - self._moved_ns > self._silent_ns


def run_tag(run: str, identity: str) -> int:
    """u32, not 0; another one after a restart of the station (`run`) or of the gateway (`identity`)."""
    digest = hashlib.sha256(f"{run} {identity}".encode()).digest()
    return int.from_bytes(digest[:4], "big") or 1
