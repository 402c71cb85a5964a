"""Parts of `trigger: hardware`: the line triggers the camera, and every picture is a part, in order.

Without announcements each picture is a part by itself, and each hole in the camera's numbers one that was lost. With
them, a `trigger` command tells of each part, and pairing.py finds its picture.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sad_runtime.cameras.base import Frame
from sad_runtime.station.intake import Intake
from sad_runtime.station.pairing import Pairing
from sad_runtime.station.part import Part, Stage
from sad_runtime.station.ticking import TICK_S
from sad_runtime.verdict import Reason

MOST_LOST = 1000
"""A larger hole is a camera that counts anew, not so many parts."""
Grab = Callable[[float], Frame | None]


class HardwareParts:
    """Used by the station's loop."""

    def __init__(self, pairing: Pairing | None, announce_within_ms: int, deadline_ms: Callable[[], int]) -> None:
        """`pairing`: None where nothing announces parts. `deadline_ms`: of the recipe in force."""
        self.pairing = pairing
        self._within_ns = announce_within_ms * 1_000_000
        self._deadline_ms = deadline_ms
        self._last_id: int | None = None
        self._waiting: Frame | None = None

    def next_part(self, grab: Grab, intake: Intake) -> Part | None:
        """The next part with its picture; None when there is none by now."""
        frame, self._waiting = self._waiting or grab(TICK_S), None
        if self.pairing is None:
            return None if frame is None else self._own_part(frame, intake)
        if frame is None:
            self.pairing.look()
            return None
        part = self.pairing.pair(frame)
        if part is not None:
            part.frame, part.stage = frame, Stage.INSPECTING
            part.latency_ms["grab"] = part.age_ms()
            return part
        self._without_part(self.pairing, frame, intake)
        return None

    def begin(self, *, reopened: bool) -> None:
        """Pictures of before do not count, nor do numbers where the camera was opened again."""
        self._waiting = None
        if reopened:
            self._last_id = None
            if self.pairing is not None:
                self.pairing.begin_anew()

    def _own_part(self, frame: Frame, intake: Intake) -> Part:
        lost = 0 if self._last_id is None else frame.frame_id - self._last_id - 1
        self._last_id = frame.frame_id
        for _ in range(lost if lost <= MOST_LOST else 0):
            intake.refuse(Part(frame.mono_ns, self._deadline_ms()), Reason.NO_IMAGE)
        part = Part(frame.mono_ns, self._deadline_ms(), frame=frame, stage=Stage.INSPECTING)
        part.latency_ms = {"wait": part.age_ms(), "grab": frame.grab_ms}
        intake.watch(part)
        return part

    def _without_part(self, pairing: Pairing, frame: Frame, intake: Intake) -> None:
        """Its announcement may be on the way. Once it is too late for that, something passed that nobody knows of."""
        if not pairing.out_of_step and time.monotonic_ns() - frame.mono_ns < self._within_ns:
            self._waiting = frame
            time.sleep(0.001)
            return
        pairing.lose(f"picture {frame.frame_id} came, and no part was announced for it")
        part = Part(frame.mono_ns, self._deadline_ms(), frame=frame)
        intake.refuse(part, Reason.MISMATCH)
