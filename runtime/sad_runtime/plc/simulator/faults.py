"""What can go wrong on the PLC's side, on request: `--fault 'cable@10s+3s,no-ack@20s+2s'`.

Spoils what lies between the program and the wire; the program itself stays as it is, and must live with it.
"""

from __future__ import annotations

import difflib
from dataclasses import replace

from sad_runtime.errors import UsageError
from sad_runtime.faults.schedule import WRITTEN, Fault
from sad_runtime.plc.status import CommandBlock, Control

PLC_FAULTS = {
    "plc-stop": "the PLC goes to STOP: no scan, its heartbeat stands still, the gate rejects; then to RUN again",
    "cable": "the network cable is pulled",
    "no-ack": "results are read, but not acknowledged",
    "double-trigger": "TRIGGER bounces: each second scan it is taken back",
    "same-id": "each part is triggered under the name of the one before",
    "garbage": "somebody writes random numbers into the command block",
}


def plc_faults_from(text: str) -> list[Fault]:
    """Raises UsageError for what is no fault, naming the nearest one."""
    return [_fault_from(part.strip()) for part in text.split(",") if part.strip()]


def _fault_from(text: str) -> Fault:
    match = WRITTEN.fullmatch(text)
    kind = match["kind"] if match else text.partition("@")[0]
    if kind not in PLC_FAULTS:
        near = difflib.get_close_matches(kind, PLC_FAULTS, n=1, cutoff=0.4)
        hint = f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(PLC_FAULTS)}"
        raise UsageError(f"--fault {text}: no fault '{kind}'{hint}")
    if match is None:
        raise UsageError(f"--fault {text}: write {kind}@10s+3s, or {kind}@10s for one that does not end")
    return Fault(kind, float(match["at"]), None if match["lasts"] is None else float(match["lasts"]))


class PlcFaults:
    """Which faults are on, and what they make of a command block."""

    def __init__(self, faults: list[Fault]) -> None:
        self._faults = faults
        self._on: set[str] = set()
        self._sent = CommandBlock()
        self._last = (0, 0)
        """PART_ID, TRIGGER_ID of the TRIGGER before the one that the program sets now."""
        self._now = (0, 0)

    def at(self, seconds: float) -> frozenset[str]:
        """Those that are on `seconds` after the start."""
        self._on = {
            fault.kind
            for fault in self._faults
            if seconds >= fault.at_s and (fault.lasts_s is None or seconds < fault.at_s + fault.lasts_s)
        }
        return frozenset(self._on)

    def spoilt(self, command: CommandBlock) -> CommandBlock:
        """`command` as it goes over the wire now."""
        if (command.part_id, command.trigger_id) != self._now:
            self._last, self._now = self._now, (command.part_id, command.trigger_id)
        sent = command
        if "no-ack" in self._on:
            sent = replace(sent, ack_seq=self._sent.ack_seq)
        if "same-id" in self._on:
            sent = replace(sent, part_id=self._last[0], trigger_id=self._last[1])
        if "double-trigger" in self._on and self._sent.control & Control.TRIGGER:
            sent = replace(sent, control=sent.control & ~Control.TRIGGER)
        self._sent = sent
        return sent
