"""What a PLC is shown, and what it may say: plain values, the same for every protocol.

A Status is made anew for each change and never altered, so that whatever a protocol reads of it belongs together.
`register_map.py` lays both out in registers; names are the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum, IntFlag

from sad_runtime.verdict import Reason, Verdict

MAP_VERSION = 0x0100
RING = 8
"""So many results are shown back, and so many may wait unread."""


class Bit(IntFlag):
    """STATUS: bit n is word bit n, and discrete input n."""

    ONLINE = 1 << 0
    TRIGGER_READY = 1 << 1
    TRIGGER_ACK = 1 << 2
    BUSY = 1 << 3
    RESULT_VALID = 1 << 4
    PASS = 1 << 5
    FAIL = 1 << 6
    INVALID = 1 << 7
    FAULT = 1 << 8
    WARN = 1 << 9
    RESULT_OVERRUN = 1 << 10
    MISSED_TRIGGER = 1 << 11
    RECIPE_OK = 1 << 12
    SIMULATED = 1 << 13
    FEED_STALE = 1 << 14
    CMD_DONE = 1 << 15


BIT_TEXT: dict[Bit, str] = {
    Bit.ONLINE: "a part that comes now will be inspected",
    Bit.TRIGGER_READY: "a TRIGGER given now will be put to the station",
    Bit.TRIGGER_ACK: "the station has taken the TRIGGER; falls when TRIGGER falls",
    Bit.BUSY: "a triggered part has no result yet",
    Bit.RESULT_VALID: "the result block holds a result that was not acknowledged",
    Bit.PASS: "let this part go; only ever set with RESULT_VALID, never with FAIL or INVALID",
    Bit.FAIL: "a defect was found",
    Bit.INVALID: "nothing can be said of this part, or of any (FEED_STALE): reject",
    Bit.FAULT: "FAULT_CODE says what",
    Bit.WARN: "WARN_BITS say what",
    Bit.RESULT_OVERRUN: "results were dropped unread; stays until CLEAR_FAULT",
    Bit.MISSED_TRIGGER: "a TRIGGER was not taken (TRIGGER_READY 0, a name still in use, too old); until CLEAR_FAULT",
    Bit.RECIPE_OK: "the recipe that the PLC asked for last is in force; while it is not, nothing passes",
    Bit.SIMULATED: "the last result came from a stand-in or with staged faults: not of a real part",
    Bit.FEED_STALE: "nothing was heard from the station for 330 ms: nothing here is valid",
    Bit.CMD_DONE: "LOAD_RECIPE or RESYNC is through; falls when their bits fall",
}


class Fault(IntEnum):
    """FAULT_CODE. Where several hold, the one that stands first in PRIORITY is shown."""

    NONE = 0
    CAMERA_LOST = 1
    CAMERA_TIMEOUT = 2
    IMAGE_UNUSABLE = 3
    TRIGGER_MISMATCH = 4
    GPU_LOST = 10
    MODEL_UNUSABLE = 12
    TOO_SLOW = 13
    RECORDS_FAIL = 21
    FEED_STALE = 30
    RESTARTED = 31
    SCHEMA_UNKNOWN = 32
    PLC_LOST = 40
    BAD_COMMAND = 41
    INTERNAL = 90


FAULT_TEXT: dict[Fault, str] = {
    Fault.NONE: "none",
    Fault.CAMERA_LOST: "the camera went away, or was refused when it came back",
    Fault.CAMERA_TIMEOUT: "three parts in a row got no picture",
    Fault.IMAGE_UNUSABLE: "three parts in a row got a picture that cannot be judged (dark, blurred, moved ...)",
    Fault.TRIGGER_MISMATCH: "parts and pictures may be off by one; all INVALID until RESYNC",
    Fault.GPU_LOST: "the GPU is gone; the station restarts",
    Fault.MODEL_UNUSABLE: "the model or its engine was refused",
    Fault.TOO_SLOW: "three parts in a row were judged too late",
    Fault.RECORDS_FAIL: "the station cannot write its journal",
    Fault.FEED_STALE: "nothing was heard from the station for 330 ms",
    Fault.RESTARTED: "the station was started anew; stays until CLEAR_FAULT",
    Fault.SCHEMA_UNKNOWN: "the station speaks a schema that this gateway does not know",
    Fault.PLC_LOST: "PLC_HEARTBEAT stood still; no trigger is taken until it moves",
    Fault.BAD_COMMAND: "a command made no sense or was refused; stays until CLEAR_FAULT",
    Fault.INTERNAL: "the gateway failed and stops",
}

PRIORITY: tuple[Fault, ...] = (
    Fault.INTERNAL,
    Fault.SCHEMA_UNKNOWN,
    Fault.FEED_STALE,
    Fault.GPU_LOST,
    Fault.CAMERA_LOST,
    Fault.MODEL_UNUSABLE,
    Fault.TRIGGER_MISMATCH,
    Fault.PLC_LOST,
    Fault.RECORDS_FAIL,
    Fault.CAMERA_TIMEOUT,
    Fault.IMAGE_UNUSABLE,
    Fault.TOO_SLOW,
    Fault.BAD_COMMAND,
    Fault.RESTARTED,
)


class Warn(IntFlag):
    """WARN_BITS."""

    UNREAD = 1 << 0
    REVIEW = 1 << 1
    DEGRADED = 1 << 2
    UNRECORDED = 1 << 3
    LOST = 1 << 4
    FOREIGN = 1 << 5
    NO_ANSWER = 1 << 6
    OWN_RECORD = 1 << 7


NO_WARNING = Warn(0)
WARN_TEXT: dict[Warn, str] = {
    Warn.UNREAD: "a result has waited for its ACK for more than a second",
    Warn.REVIEW: "the last score lay between the two thresholds",
    Warn.DEGRADED: "the station judges on its CPU meanwhile",
    Warn.UNRECORDED: "the last decision is not in the station's journal",
    Warn.LOST: "decisions were lost between station and gateway, their parts were INVALID; until CLEAR_FAULT",
    Warn.FOREIGN: "somebody else triggers this station, those parts were not shown here; until CLEAR_FAULT",
    Warn.NO_ANSWER: "the station's command socket does not answer",
    Warn.OWN_RECORD: "the gateway cannot write its own record",
}


class Control(IntFlag):
    """CONTROL: ENABLE is a level, all others act on their rising edge."""

    ENABLE = 1 << 0
    TRIGGER = 1 << 1
    RESULT_ACK = 1 << 2
    CLEAR_FAULT = 1 << 3
    LOAD_RECIPE = 1 << 4
    RESET_COUNTERS = 1 << 5
    RESYNC = 1 << 6


CONTROL_TEXT: dict[Control, str] = {
    Control.ENABLE: "the PLC takes part: it may trigger, and results wait for its ACK. 0: the newest result is shown",
    Control.TRIGGER: "inspect the part PART_ID, TRIGGER_ID (written before, or in the same request)",
    Control.RESULT_ACK: "the result shown was read (or write ACK_SEQ)",
    Control.CLEAR_FAULT: "clears what stays until it is cleared, where its cause is gone",
    Control.LOAD_RECIPE: "change over to RECIPE_REQUEST",
    Control.RESET_COUNTERS: "COUNTERS start from 0",
    Control.RESYNC: "the line is clear: parts and pictures are counted anew",
}
KNOWN_CONTROL = sum(Control)

VERDICT_CODE: dict[Verdict | None, int] = {None: 0, Verdict.PASS: 1, Verdict.FAIL: 2, Verdict.INVALID: 3}


@dataclass(frozen=True)
class Result:
    """What became of one part, as this gateway shows it."""

    seq: int
    """RESULT_SEQ: u32, +1 with each result from a number that each start draws anew; 0 is left out."""
    verdict: Verdict
    reason: Reason
    part_id: int = 0
    trigger_id: int = 0
    encoder: int = 0
    score: float | None = None
    threshold: float | None = None
    regions: tuple[tuple[int, int, int, int, float], ...] = ()
    """x, y, width, height in model pixels, and the highest heatmap value in it; highest first."""
    latency_ms: float = 0.0
    """From the picture's capture (the trigger) to publishing, as the station says."""
    age_ms: float = 0.0
    """Since the trigger, when it was shown first."""
    captured_ns: int = 0
    """Wall clock, ns since 1970 UTC; 0 where there was no picture."""
    recipe: int = 0
    model_digest: str = ""
    run: str = ""
    """Of the station; with feed_seq the decision's identity."""
    feed_seq: int | None = None
    """None: the gateway gave this result itself, for want of a decision."""
    simulated: bool = False
    made_ns: int = 0
    """CLOCK_MONOTONIC when it was made."""
    until_ns: int = 0
    """CLOCK_MONOTONIC when it is too old to act on."""

    def spoilt(self, reason: Reason) -> Result:
        """The same part, now INVALID."""
        return replace(self, verdict=Verdict.INVALID, reason=reason)


@dataclass(frozen=True)
class Counters:
    """Since this gateway's start, or RESET_COUNTERS."""

    total: int = 0
    passed: int = 0
    failed: int = 0
    invalid: int = 0
    missed_trigger: int = 0
    lost: int = 0
    """Decisions that never reached this gateway in time to act on."""


@dataclass(frozen=True)
class Status:
    bits: Bit = Bit.FEED_STALE | Bit.INVALID | Bit.FAULT
    heartbeat: int = 0
    """u16, +1 every 100 ms while the station's own heartbeat is fresh."""
    fault: Fault = Fault.FEED_STALE
    warn: Warn = NO_WARNING
    run_tag: int = 0
    """u32, another one after a restart of the station or of the gateway; 0 before the station was heard."""
    result: Result | None = None
    """The result that is shown; it stays readable after its ACK, but RESULT_VALID and the verdict bits are 0 then."""
    ring: tuple[Result, ...] = ()
    """The last results, newest first, at most RING."""
    queue: int = 0
    """Results that wait for their ACK, the one shown among them."""
    recipe: int = 0
    """In force at the station."""
    model_digest: str = ""
    counters: Counters = field(default_factory=Counters)
    state: str = ""
    """Of the station, in the words of OPC 40100-1 (verdict.State); empty before it was heard."""
    run: str = ""

    @property
    def shown_verdict(self) -> Verdict | None:
        """What the verdict bits say; None where there is no result to act on."""
        if self.bits & Bit.INVALID:
            return Verdict.INVALID
        if not self.bits & Bit.RESULT_VALID:
            return None
        return Verdict.PASS if self.bits & Bit.PASS else Verdict.FAIL


@dataclass(frozen=True)
class CommandBlock:
    """What the PLC wrote last, as a whole."""

    control: int = 0
    plc_heartbeat: int = 0
    part_id: int = 0
    trigger_id: int = 0
    recipe_request: int = 0
    ack_seq: int = 0
    deadline_ms: int = 0
    encoder: int = 0


STOPPED = Status(bits=Bit.INVALID | Bit.FAULT, fault=Fault.INTERNAL)
"""Shown by a gateway that failed: nothing is valid, and the heartbeat stands still."""


class Unsafe(Exception):
    """A status that must never be shown. The gateway stops in the safe state."""


def check(status: Status) -> Status:
    """`status`, if no PLC can misread it. Raises Unsafe: the last guard between a bug and the gate."""
    bits, result = status.bits, status.result
    verdicts = [bit for bit in (Bit.PASS, Bit.FAIL, Bit.INVALID) if bits & bit]
    if bits & Bit.PASS:
        if verdicts != [Bit.PASS] or not bits & Bit.RESULT_VALID:
            raise Unsafe("PASS beside another verdict, or without a result")
        if bits & Bit.FEED_STALE:
            raise Unsafe("PASS while the station is not heard")
        if result is None or result.verdict is not Verdict.PASS or result.feed_seq is None:
            raise Unsafe("PASS that no decision of the station stands behind")
        if result.run != status.run:
            raise Unsafe("PASS of another run of the station")
    if bits & Bit.RESULT_VALID and len(verdicts) != 1:
        raise Unsafe("a result without exactly one verdict")
    if not bits & Bit.RESULT_VALID and bits & Bit.FAIL:
        raise Unsafe("FAIL without a result")
    return status
