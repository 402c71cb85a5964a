"""What no PLC may learn late, at whatever pace it is written to."""

from __future__ import annotations

from sad_runtime.plc.status import Bit, Status


def takes_back(old: Status | None, new: Status) -> bool:
    """Whether a part that `old` would have let go may not go by `new`: to be written at once."""
    if old is None:
        return False
    return bool(old.bits & ~new.bits & Bit.PASS or new.bits & ~old.bits & Bit.FEED_STALE)
