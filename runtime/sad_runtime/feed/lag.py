"""How much longer than usual a message was under way, from a computer whose clock is another one. Pure.

Clocks of two computers say nothing of each other, but the difference between receipt and sending is smallest for a
message that nothing held up. What a message has beyond that, it lay somewhere: in a network that stood still, or unread
because the reader hung. Clocks drift (a minute apart by 1 to 3 ms), so only the last minute or two count.
"""

from __future__ import annotations

WINDOW_NS = 60_000_000_000


class Lag:
    """Of one sender."""

    def __init__(self) -> None:
        self._least: int | None = None
        self._least_before: int | None = None
        self._since_ns = 0

    def saw(self, sent_ns: int, received_ns: int) -> int:
        """By the sender's clock and by the reader's. Returns the excess, ns, 0 for the first message."""
        difference = received_ns - sent_ns
        if self._least is None or received_ns - self._since_ns > WINDOW_NS:
            self._least_before, self._least, self._since_ns = self._least, difference, received_ns
        self._least = min(self._least, difference)
        known = [least for least in (self._least, self._least_before) if least is not None]
        return difference - min(known)
