"""What is wrong, for FAULT_CODE and WARN_BITS: what holds now, and what stays until it is cleared. Pure."""

from __future__ import annotations

from sad_runtime.messages import Decision, Event
from sad_runtime.plc.status import PRIORITY, Fault, Warn
from sad_runtime.verdict import Reason, State, Verdict

IN_A_ROW = 3
STAY = (Fault.RESTARTED, Fault.BAD_COMMAND)
"""Until CLEAR_FAULT; TRIGGER_MISMATCH stays until RESYNC."""
WARNINGS_STAY = Warn.LOST | Warn.FOREIGN
BEGINS = {
    "camera_lost": Fault.CAMERA_LOST,
    "camera_refused": Fault.CAMERA_LOST,
    "out_of_step": Fault.TRIGGER_MISMATCH,
    "device_lost": Fault.GPU_LOST,
    "engine_refused": Fault.MODEL_UNUSABLE,
    "build_failed": Fault.MODEL_UNUSABLE,
    "journal_refuses": Fault.RECORDS_FAIL,
}
"""Events that begin a fault."""
ENDS = {
    "camera_back": Fault.CAMERA_LOST,
    "camera_open": Fault.CAMERA_LOST,
    "engine_loaded": Fault.MODEL_UNUSABLE,
    "journal_recovered": Fault.RECORDS_FAIL,
    "resync": Fault.TRIGGER_MISMATCH,
}
OFFLINE_ONLY = (Fault.CAMERA_LOST, Fault.MODEL_UNUSABLE, Fault.GPU_LOST)
"""Cannot hold while the station inspects: then their end was missed."""
STREAKS = {
    Fault.CAMERA_TIMEOUT: (Reason.NO_IMAGE,),
    Fault.IMAGE_UNUSABLE: (
        Reason.INCOMPLETE,
        Reason.BLACK,
        Reason.SATURATED,
        Reason.BLURRED,
        Reason.FROZEN,
        Reason.MOVED,
        Reason.SCENE,
    ),
    Fault.TOO_SLOW: (Reason.LATE,),
}


class Faults:
    def __init__(self) -> None:
        self._hold: set[Fault] = {Fault.FEED_STALE}
        self._warn = Warn(0)
        self._streak: tuple[Fault | None, int] = (None, 0)
        self._online = False
        self._error = False
        self._mismatch_here = False
        """The gateway itself saw that parts and names are out of step; the station does not know."""

    @property
    def code(self) -> Fault:
        """State Error without a known cause is the camera's: the gateway was not there when it began."""
        unknown = self._error and not self._hold.intersection((*OFFLINE_ONLY, Fault.TRIGGER_MISMATCH))
        hold = self._hold | {Fault.CAMERA_LOST} if unknown else self._hold
        return next((fault for fault in PRIORITY if fault in hold), Fault.NONE)

    @property
    def warnings(self) -> Warn:
        return self._warn

    def __contains__(self, fault: Fault) -> bool:
        return fault in self._hold

    def set(self, fault: Fault, holds: bool = True) -> None:
        (self._hold.add if holds else self._hold.discard)(fault)

    def warn(self, bit: Warn, holds: bool = True) -> None:
        self._warn = self._warn | bit if holds else self._warn & ~bit

    def clear(self) -> None:
        """What stays until somebody clears it."""
        self._hold.difference_update(STAY)
        self._warn &= ~WARNINGS_STAY

    def saw_event(self, event: Event) -> None:
        if event.code in BEGINS:
            self.set(BEGINS[event.code])
        elif event.code in ENDS:
            self.set(ENDS[event.code], False)
            self._mismatch_here &= event.code != "resync"

    def saw_state(self, state: State, online: bool) -> None:
        """As the heartbeat tells it; also for a gateway that was not there when the fault began."""
        self._online, self._error = online, state is State.ERROR
        self._hold.discard(Fault.SCHEMA_UNKNOWN)
        if online:
            self._hold.difference_update(OFFLINE_ONLY)
            self.set(Fault.TRIGGER_MISMATCH, self._mismatch_here)

    def mismatch(self) -> None:
        """Until `in_step`."""
        self._mismatch_here = True
        self.set(Fault.TRIGGER_MISMATCH)

    def in_step(self) -> None:
        """The line is clear, parts and pictures are counted anew."""
        self._mismatch_here = False
        self.set(Fault.TRIGGER_MISMATCH, False)

    def saw_decision(self, decision: Decision) -> None:
        if decision.reason is Reason.MISMATCH and not self._online:
            self.set(Fault.TRIGGER_MISMATCH)
        self.warn(Warn.REVIEW, "review" in decision.flags)
        self.warn(Warn.DEGRADED, "degraded" in decision.flags)
        self.warn(Warn.UNRECORDED, "unrecorded" in decision.flags)
        self._saw_reason(decision.verdict, decision.reason)

    def restarted(self) -> None:
        """The station began anew: what was wrong with the old one is over."""
        self._hold.difference_update(
            {*OFFLINE_ONLY, *STREAKS, Fault.TRIGGER_MISMATCH, Fault.RECORDS_FAIL, Fault.SCHEMA_UNKNOWN}
        )
        self._mismatch_here = False
        self._streak = (None, 0)

    def _saw_reason(self, verdict: Verdict, reason: Reason) -> None:
        kind = next((fault for fault, reasons in STREAKS.items() if reason in reasons), None)
        same, count = self._streak
        self._streak = (kind, count + 1 if kind is not None and kind is same else 1)
        if verdict is not Verdict.INVALID:
            self._hold.difference_update(STREAKS)
        elif kind is not None and self._streak[1] >= IN_A_ROW:
            self._hold.difference_update(STREAKS)
            self._hold.add(kind)
