"""A buffer of an industrial camera as a Frame: numbered without false gaps, timed, and incomplete where it is.

Where packets are missing, the buffer still holds an older part. Such a frame comes without a picture, so that nobody
looks at a mixture of two parts; and its id is not believed, for it may be the older one's (Aravis 0.8.26 with a lost
leader). It counts as the one after the frame before.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sad_runtime.cameras.base import Frame
from sad_runtime.cameras.camera_clock import CameraClock
from sad_runtime.cameras.frame_ids import FrameCount
from sad_runtime.errors import CameraError
from sad_runtime.preprocess import Picture


class Arrivals:
    """Of one open camera. `sixteen_bits`: its frame ids are those of GigE Vision 1."""

    def __init__(self, *, sixteen_bits: bool) -> None:
        self._count = FrameCount(sixteen_bits=sixteen_bits)
        self._clock = CameraClock()

    def frame(
        self,
        read: Callable[[], Picture],
        *,
        frame_id: int | None,
        stamp_ns: int,
        missing: str = "",
        skipped: int = 0,
    ) -> Frame:
        """`read` is called for the picture; `missing` says why there is none. A buffer that cannot be read is one."""
        arrived_ns, wall_ns = time.monotonic_ns(), time.time_ns()
        number = self._count.of(None if missing else frame_id, skipped)
        picture: Picture | None = None
        if not missing:
            try:
                picture = read()
            except CameraError as error:
                missing = str(error)
        taken_ns = arrived_ns if missing else self._clock.taken_ns(stamp_ns, arrived_ns)
        return Frame(
            picture=picture,
            frame_id=number,
            captured_ns=wall_ns - (arrived_ns - taken_ns),
            mono_ns=taken_ns,
            complete=not missing,
            source=f"incomplete: {missing}" if missing else "",
            grab_ms=(time.monotonic_ns() - arrived_ns) / 1e6,
        )
