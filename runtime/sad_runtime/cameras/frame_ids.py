"""The number that a camera gives each picture, as a count that does not wrap.

GigE Vision 1 numbers pictures with 16 bits and leaves out 0: 65535 is followed by 1. Read as plain 16 bits, that is a
lost picture every 22 minutes at 50 a second; a gap is therefore taken modulo 65535. USB3 Vision, and GigE Vision 2
with extended ids, use 64 bits and may begin at 0.
"""

from __future__ import annotations

RING = 65535
"""How many numbers there are in 16 bits without 0."""


class FrameCount:
    """Counts from 0 at the first picture; a hole in the count is a hole in the camera's own numbers.

    A number that stands still is the same picture again and gives the same count. A step back, or one of more than
    half the ring, is a camera that began to count anew: how many it lost cannot be known, and the count goes on by one.
    """

    def __init__(self, *, sixteen_bits: bool) -> None:
        self._ring = RING if sixteen_bits else None
        self._last_id: int | None = None
        self._count = -1

    def of(self, frame_id: int | None, skipped: int = 0) -> int:
        """`frame_id`: None where the camera did not number this one; `skipped` then says how many it dropped before."""
        if frame_id is None:
            step = 1 + max(0, skipped)
            self._last_id = None if self._last_id is None else self._last_id + step
            return self._advanced(step)
        if frame_id > RING:
            self._ring = None  # more than 16 bits after all
        last, self._last_id = self._last_id, frame_id
        if last is None:
            return self._advanced(1)
        return self._advanced(self._step(last, frame_id))

    def _step(self, last: int, this: int) -> int:
        if self._ring is None:
            return this - last if this >= last else 1
        step = (this - last) % self._ring
        return step if step <= self._ring // 2 else 1

    def _advanced(self, by: int) -> int:
        self._count += by
        return self._count
