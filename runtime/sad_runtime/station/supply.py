"""Where parts come from, and each one's picture: by free run, by a clock, by command, or by the camera's own trigger.

Used by the station's loop. What a lost camera means is told in camera_care.py, which picture is whose in pairing.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from sad_runtime.cameras.base import EndOfStream, Frame
from sad_runtime.errors import CameraError
from sad_runtime.station.camera_care import CameraCare
from sad_runtime.station.config import TriggerConfig, TriggerMode
from sad_runtime.station.hardware import HardwareParts
from sad_runtime.station.intake import Intake, Waiting
from sad_runtime.station.pairing import Pairing
from sad_runtime.station.part import Part, Stage
from sad_runtime.station.standing import Standing
from sad_runtime.station.ticking import TICK_S
from sad_runtime.station.triggers import TriggerQueue
from sad_runtime.verdict import Reason, State

ANNOUNCED_WITHIN_MS = 200
RESYNC_S = 1.0


class Supply:
    """`next_part` until `ended`. The loop begins each stretch of work with `begin`."""

    intake: Intake
    """Put in by the station: parts that end here are refused there."""

    def __init__(
        self,
        trigger: TriggerConfig,
        care: CameraCare,
        standing: Standing,
        *,
        deadline_ms: Callable[[], int],
        saw_frame: Callable[[Frame], None],
        tell: Callable[..., None],
    ) -> None:
        """`deadline_ms`: of the recipe in force. `saw_frame`: told of every frame that came."""
        self.ended = False
        """The source has regularly come to its end."""
        self._trigger, self._care, self._standing = trigger, care, standing
        self._deadline_ms, self._saw_frame, self._tell = deadline_ms, saw_frame, tell
        self._queue = TriggerQueue(trigger.queue)
        early_ms, late_ms = trigger.announce_within_ms, trigger.picture_within_ms or ANNOUNCED_WITHIN_MS
        announced = trigger.announced
        self._pairing = (
            Pairing(trigger.queue, announce_within_ms=early_ms, picture_within_ms=late_ms) if announced else None
        )
        self._hardware = HardwareParts(self._pairing, trigger.announce_within_ms, deadline_ms)
        self._resync, self._in_step = threading.Event(), threading.Event()
        self._since_ns, self._told_from_ns = 0, 0

    @property
    def waiting(self) -> Waiting:
        """Where triggers wait for their picture."""
        return self._queue if self._pairing is None else self._pairing

    def begin(self, told_from_ns: int | None = None, *, reopened: bool = False) -> None:
        """Into the state of an idle or a running line; pictures taken before this moment do not count.

        In free run those taken since `told_from_ns` are answered all the same, as not online.
        """
        self._since_ns = time.monotonic_ns()
        self._hardware.begin(reopened=reopened)
        self._told_from_ns = self._since_ns if told_from_ns is None else told_from_ns
        if self._pairing is not None and self._pairing.out_of_step:
            self._standing.fault = Reason.MISMATCH
            self._standing.enter(State.ERROR)
            return
        idle = self._trigger.mode is TriggerMode.SOFTWARE
        self._standing.enter(State.READY if idle else State.CONTINUOUS_EXECUTION)

    def next_part(self) -> Part | None:
        """With its picture; None when there is none by now, or when it was answered without one."""
        if self._resync.is_set():
            self._into_step()
        if self._trigger.mode is TriggerMode.FREE:
            return self._free_part()
        if self._trigger.mode is TriggerMode.HARDWARE:
            return self._hardware_part()
        return self._triggered_part()

    def resync(self) -> None:
        """From the command thread: what waits is refused, and from now on parts and pictures are counted anew.

        Returns once the loop has done it; while the line does not run, it is done when it runs again.
        """
        self._tell("resync", "info", "resync by command: what waited is refused, parts and pictures are counted anew")
        self.intake.refuse_waiting(Reason.NOT_ONLINE)
        self._in_step.clear()
        self._resync.set()
        if not self._standing.paused:
            self._in_step.wait(RESYNC_S)

    def lost(self, why: str, waiting: Part | None = None) -> None:
        """The camera is. Returns when it is back, or when the station is to stop."""
        if self._care.lost(why, waiting, self.intake):
            self.begin(reopened=True)

    def _free_part(self) -> Part | None:
        """The next picture as a part. It starts at its capture."""
        frame = self._grab(TICK_S)
        if frame is None or frame.mono_ns < self._told_from_ns:
            return None
        part = Part(frame.mono_ns, self._deadline_ms(), frame=frame, stage=Stage.INSPECTING)
        if frame.mono_ns < self._since_ns:
            self.intake.refuse(part, Reason.NOT_ONLINE)
            return None
        part.latency_ms = {"wait": part.age_ms(), "grab": frame.grab_ms}
        self.intake.watch(part)
        return part

    def _triggered_part(self) -> Part | None:
        part = self._queue.take(TICK_S)
        if part is None:
            if self._care.camera.live:
                self._grab(0.0)  # so that a camera which went away is noticed before the next part comes
            return None
        if self._trigger.mode is TriggerMode.SOFTWARE:
            self._standing.enter(State.SINGLE_EXECUTION)
        part.latency_ms["wait"] = part.age_ms()
        part.stage = Stage.GRABBING
        fired = self._care.sight.fires
        if fired and not self._fired(part):
            return None
        while not part.answered:
            self._standing.tick()
            frame = self._grab(TICK_S, part)
            if self.ended:
                self.intake.refuse(part, Reason.NO_IMAGE)
            elif self._standing.stop.is_set() and part.age_ms() > self._deadline_ms():
                self.intake.refuse(part, Reason.NOT_ONLINE)  # a trigger may have brought a deadline of an hour
            elif frame is not None and self._is_too_late(frame, part):
                self.intake.refuse(part, Reason.LATE)
            elif frame is not None and frame.mono_ns >= part.started_ns:
                part.frame, part.stage = frame, Stage.INSPECTING
                part.latency_ms["grab"] = part.age_ms() - part.latency_ms["wait"]
                return part
        if fired and self._standing.online and not self.ended:
            # What was fired may still come, and be taken for the next part's; opening the camera anew empties it.
            self.lost(f"camera {self._care.camera.uri}: fired, and no picture came by the deadline")
        return None

    def _is_too_late(self, frame: Frame, part: Part) -> bool:
        """The part has moved on since its trigger, and the picture is of the next one."""
        within_ms = self._trigger.picture_within_ms
        if within_ms is None or self._trigger.mode is not TriggerMode.SOFTWARE:
            return False
        return frame.mono_ns - part.started_ns > within_ms * 1_000_000

    def _hardware_part(self) -> Part | None:
        pairing = self._pairing
        if pairing is None:
            return self._own_hardware_part()
        part = self._hardware.next_part(self._grab_since, self.intake)
        if pairing.out_of_step and self._standing.state is not State.ERROR:
            self._standing.fault = Reason.MISMATCH
            self._standing.enter(State.ERROR)
            why = f"parts and pictures are out of step: {pairing.out_of_step}. Clear the line, then send resync"
            self._tell("out_of_step", "error", why)
            self.intake.refuse_waiting(Reason.MISMATCH)
        return part

    def _own_hardware_part(self) -> Part | None:
        part = self._hardware.next_part(self._grab, self.intake)
        if part is not None and part.started_ns < self._since_ns:
            self.intake.refuse(part, Reason.NOT_ONLINE)
            return None
        return part

    def _into_step(self) -> None:
        self._resync.clear()
        if self._pairing is not None:
            self.intake.refuse_waiting(Reason.NOT_ONLINE)
            self._pairing.resync()
            self.begin()
        self._in_step.set()

    def _fired(self, part: Part) -> bool:
        """False where the camera refused, and is opened again."""
        try:
            self._care.camera.trigger()
        except CameraError as error:
            self.lost(str(error), part)
            return False
        return True

    def _grab_since(self, timeout_s: float) -> Frame | None:
        """A picture of before is dropped."""
        frame = self._grab(timeout_s)
        if frame is not None and self._pairing is not None:
            self._pairing.saw(frame)
        return None if frame is None or frame.mono_ns < self._since_ns else frame

    def _grab(self, timeout_s: float, waiting: Part | None = None) -> Frame | None:
        try:
            frame = self._care.sight.grab(timeout_s)
        except EndOfStream:
            self.ended = True
            return None
        except CameraError as error:
            self.lost(str(error), waiting)
            return None
        if frame is not None:
            self._saw_frame(frame)
        return frame
