"""The status block as bytes of an S7 data block, and in which order they are written: pure values.

Big-endian with the high word first, as the CPU itself stores WORD, DWORD and REAL: register n of the map is byte 2n.

RESULT_SEQ and RESULT_SEQ_COPY are equal only while what lies between them belongs to that result, and the ring fits
to it. A request of an S7 CPU holds 205 bytes at worst, some CPUs take over no more than 32 bytes at a time, and
most do so in the middle of the program. A new result therefore goes out as three requests, each after the answer to the
one before (`requests_for`):

1. RESULT_SEQ_COPY becomes a number that is neither the old nor the new RESULT_SEQ, and the ring follows it;
2. everything in front of RESULT_SEQ_COPY, with the new RESULT_SEQ;
3. RESULT_SEQ_COPY becomes the new RESULT_SEQ.

What changes while the same result is shown (heartbeat, a deadline that passed, an ACK) goes out as one request: STATUS
with all its bits is one word. The program copies the first 128 bytes at one place of its cycle (UMOVE_BLK, BLKMOV) and
works on the copy only where both numbers agree. In the commands it writes CONTROL last, so that whoever sees a TRIGGER
sees its PART_ID too.
"""

from __future__ import annotations

import struct
from typing import Final

from sad_runtime.plc.register_map import FIELDS, RING_AT, STATUS_SIZE, status_registers
from sad_runtime.plc.status import Status

AT: Final = {field.name: 2 * field.at for field in FIELDS}
SEQ: Final = slice(AT["RESULT_SEQ"], AT["RESULT_SEQ"] + 4)
COPY: Final = slice(AT["RESULT_SEQ_COPY"], 2 * RING_AT)
BLOCK: Final = 2 * STATUS_SIZE
LARGEST: Final = BLOCK - COPY.start
"""Bytes of the longest request."""
Request = tuple[int, bytes]
"""(first byte in the data block, what is written there)."""


def block_of(status: Status) -> bytes:
    """The 256 bytes."""
    return struct.pack(f">{STATUS_SIZE}H", *status_registers(status))


def requests_for(block: bytes, shown: bytes, surely: bool = False) -> list[Request]:
    """What makes a data block that holds `shown` hold `block`, in this order. `surely`: `shown` was written by
    somebody else, for whom an equal RESULT_SEQ may be another result."""
    if not surely and block[SEQ] == shown[SEQ] and block[COPY.start :] == shown[COPY.start :]:
        return [(0, block[: COPY.stop])]
    return [
        (COPY.start, _neither(block[SEQ], shown[SEQ]) + block[COPY.stop :]),
        (0, block[: COPY.start]),
        (COPY.start, block[COPY]),
    ]


def _neither(one: bytes, other: bytes) -> bytes:
    """A number that both are not."""
    marks = (number.to_bytes(4, "big") for number in (0xFFFF_FFFF, 0xFFFF_FFFE, 0xFFFF_FFFD))
    return next(mark for mark in marks if mark not in (one, other))
