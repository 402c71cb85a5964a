"""The words a line is told: verdicts, reasons, station states. Free of numpy and OpenCV, so a gateway can use it."""

from __future__ import annotations

from enum import Enum


class Verdict(str, Enum):
    """One per part. PASS must be proved; whatever is not a complete, fresh, in-spec inspection is INVALID."""

    PASS = "PASS"
    FAIL = "FAIL"
    INVALID = "INVALID"


class Reason(str, Enum):
    """Why a verdict is what it is. `code` is the number that PLC registers carry (DESIGN 4.10)."""

    OK = "ok"
    SCORE = "score"
    NO_IMAGE = "no_image"
    INCOMPLETE = "incomplete"
    BLACK = "black"
    SATURATED = "saturated"
    BLURRED = "blurred"
    FROZEN = "frozen"
    MOVED = "moved"
    MISMATCH = "mismatch"
    SCENE = "scene"
    INFERENCE_ERROR = "inference_error"
    LATE = "late"
    QUEUE_FULL = "queue_full"
    NOT_ONLINE = "not_online"

    @property
    def code(self) -> int:
        return _CODES[self]


_CODES = {
    Reason.OK: 0,
    Reason.SCORE: 1,
    Reason.NO_IMAGE: 10,
    Reason.INCOMPLETE: 11,
    Reason.BLACK: 12,
    Reason.SATURATED: 13,
    Reason.BLURRED: 14,
    Reason.FROZEN: 15,
    Reason.MOVED: 16,
    Reason.MISMATCH: 17,
    Reason.SCENE: 18,
    Reason.INFERENCE_ERROR: 20,
    Reason.LATE: 21,
    Reason.QUEUE_FULL: 22,
    Reason.NOT_ONLINE: 30,
}


class State(str, Enum):
    """Station states in the names of OPC UA Machine Vision (OPC 40100-1)."""

    PREOPERATIONAL = "Preoperational"
    HALTED = "Halted"
    INITIALIZED = "Initialized"
    READY = "Ready"
    SINGLE_EXECUTION = "SingleExecution"
    CONTINUOUS_EXECUTION = "ContinuousExecution"
    ERROR = "Error"
