"""One line of the gateway's record, and as a row of its file."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field
from typing import Final

from sad_runtime.plc.record.file import Values
from sad_runtime.plc.status import Result

KINDS: Final[dict[str, str]] = {
    "result": "a result was shown, or queued behind others",
    "spoilt": "a shown result turned INVALID",
    "late": "a decision came too late to act on",
    "lost": "decisions never came",
    "recovered": "a decision that was fetched back for this record only; nobody acted on it",
    "foreign": "a decision on a part that somebody else triggered",
    "acknowledged": "the PLC has read a result",
    "trigger": "a trigger was taken",
    "missed": "a trigger was not taken",
    "order": "the PLC ordered something else: a recipe, a resync ...",
    "fault": "something went wrong, or well again",
    "cleared": "the PLC cleared the faults",
    "restart": "the gateway or the station was started",
    "plc": "a PLC came, went or was refused",
}
"""What an entry may be about."""


@dataclass(frozen=True)
class Entry:
    """One line of the record."""

    kind: str
    """One of KINDS."""
    station: str
    text: str
    result: Result | None = None
    wall_ns: int = field(default_factory=time.time_ns)
    """Since 1970 UTC, for people."""
    mono_ns: int = field(default_factory=time.monotonic_ns)
    """CLOCK_MONOTONIC: how long things took, within one boot."""
    part_id: int | None = None
    """Where there is no result that says it."""
    trigger_id: int | None = None


def row_from(entry: Entry) -> Values:
    """As file.COLUMNS. Raises TypeError, ValueError or OverflowError for what no file can hold."""
    result = entry.result
    numbers = (
        entry.wall_ns,
        entry.mono_ns,
        None if result is None else result.seq,
        entry.part_id if result is None else result.part_id,
        entry.trigger_id if result is None else result.trigger_id,
    )
    for number in numbers:
        if number is not None and not -(2**63) <= number < 2**63:
            raise OverflowError(f"{number} has more than 64 bits")
    wall_ns, mono_ns, seq, part_id, trigger_id = numbers
    return (
        wall_ns,
        mono_ns,
        entry.kind,
        _writable(entry.station),
        _writable(entry.text),
        seq,
        None if result is None else result.verdict.value,
        None if result is None else result.reason.value,
        part_id,
        trigger_id,
        None if result is None else _json(result),
    )


def _writable(text: str) -> str:
    """Strangers' names may hold halves of characters."""
    return text.encode("utf-8", "backslashreplace").decode()


def _json(result: Result) -> str:
    """All of it; what is no number is null, as JSON has no other word for it."""
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in asdict(result).items()
    }
    return json.dumps(finite, separators=(",", ":"))
