"""Pictures shared between two processes: equal slots in one piece of anonymous memory (memfd).

It has no name, so nothing is left behind by whoever is killed, and a file descriptor carries it across. Who may write
which slot is agreed by messages (link.py), not here. Pages are only taken when a slot is first written.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ALIGN = 4096


@dataclass(frozen=True)
class Shape:
    """What a ring can hold; `slot_bytes` a multiple of a page."""

    slots: int
    slot_bytes: int


def shape_for(slots: int, picture_bytes: int) -> Shape:
    return Shape(slots, -(-max(1, picture_bytes) // ALIGN) * ALIGN)


class Ring:
    """Closed by `close`; the memory goes when the last picture over it is gone."""

    def __init__(self, fd: int, shape: Shape, *, writable: bool) -> None:
        """Takes `fd` over. Raises OSError when there is no memory."""
        self.fd, self.shape = fd, shape
        self._memory = mmap.mmap(
            fd, shape.slots * shape.slot_bytes, prot=mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        )

    @classmethod
    def made(cls, shape: Shape) -> Ring:
        fd = os.memfd_create("sad pictures", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, shape.slots * shape.slot_bytes)
            return cls(fd, shape, writable=True)
        except OSError:
            os.close(fd)
            raise

    def write(self, slot: int, picture: NDArray[np.uint8]) -> None:
        self.view(slot, picture.size).reshape(picture.shape)[...] = picture

    def view(self, slot: int, count: int) -> NDArray[np.uint8]:
        """(count,): what lies in a slot, not copied. It keeps the memory, not the slot: see Grabbed for that."""
        return np.frombuffer(self._memory, np.uint8, count, slot * self.shape.slot_bytes)

    def close(self) -> None:
        """Pictures over it stay readable."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
