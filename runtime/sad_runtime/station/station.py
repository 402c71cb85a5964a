"""A station: from frame to verdict, part after part.

    run      opens the camera and the model, proves it on its golden pictures, says Ready, and turns until the end
    turn     a trigger or a picture makes a part; it gets a picture; the picture is inspected; the part is answered
    finish   what still waits is refused, `stopping` is told

This is the loop, in the thread that opened the station. Beside it run the watchdog (watchdog.py), which answers a part
whose deadline comes before its verdict, and the command thread (orders.py). All answers go through the one place that
numbers, records and publishes (answers.py). Nothing but a complete, fresh inspection ever becomes a PASS.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType

from sad_runtime.cameras.base import Camera, EndOfStream, Frame, Setting
from sad_runtime.errors import BackendError, CameraError, DataError, DeviceLost
from sad_runtime.faults.disk import FaultyDisk
from sad_runtime.faults.schedule import DISK_FAULTS, Schedule
from sad_runtime.scene.guard import SceneFault
from sad_runtime.station.answers import Judge
from sad_runtime.station.change_over import ChangeOver
from sad_runtime.station.config import StationConfig, TriggerMode
from sad_runtime.station.equipment import Equipment
from sad_runtime.station.hardware import HardwareParts
from sad_runtime.station.intake import Intake
from sad_runtime.station.orders import Orders
from sad_runtime.station.pairing import Pairing
from sad_runtime.station.part import Finding, Part, Stage, invalid
from sad_runtime.station.recipes import Recipe, check_picture
from sad_runtime.station.scene_care import SceneCare
from sad_runtime.station.sight import Sight
from sad_runtime.station.standing import Standing
from sad_runtime.station.state_folder import StateFolder
from sad_runtime.station.ticking import TICK_S, ticking
from sad_runtime.station.triggers import Clock, TriggerQueue
from sad_runtime.station.versions import Versions
from sad_runtime.verdict import Reason, State

log = logging.getLogger("sad.station")
AUDIENCE_S = 1.0


class Station:
    """Opened by `with`, then `run` once. Setting `stop` ends the run after the part in hand."""

    def __init__(
        self,
        config: StationConfig,
        recipe: Recipe,
        camera: Camera,
        folder: StateFolder,
        *,
        stop: threading.Event,
        limit: int = 0,
        faults: Schedule | None = None,
        camera_with: Callable[[Mapping[str, Setting]], Camera] | None = None,
    ) -> None:
        """`limit`: end after so many parts; 0 goes on. `faults`: to stage; those of the camera are in it already.

        `camera_with`: makes `camera` with the settings of another recipe; without, it stays as it is.
        """
        self.equipment = Equipment(config, folder, Orders(self))
        if faults is not None and faults.any_of(DISK_FAULTS):
            self.equipment.stage(FaultyDisk(faults))
        self.feed, self.tally = self.equipment.feed, self.equipment.tally
        self.trigger = config.trigger
        self.standing = Standing(self.feed, stop, recipe)
        trigger = config.trigger
        self._queue = TriggerQueue(trigger.queue)
        pairing = Pairing(trigger.queue) if trigger.announced else None
        self._hardware = HardwareParts(pairing, trigger.announce_within_ms, lambda: self.changes.recipe.deadline_ms)
        self.intake = Intake(self.standing, pairing or self._queue, self._answer)
        self.changes = ChangeOver(
            recipe,
            config,
            folder.thresholds,
            stop=stop,
            faults=faults,
            versions=Versions(folder, config.pictures.leave_free_mb),
            prepare=self._prepare_camera,
        )
        self._tell = self.equipment.happenings.tell
        self._scene = SceneCare(config.scene, self._tell)
        seen = config.camera
        self._sight = Sight(camera, seen.silent_after_s, seen.expect, settings=recipe.camera, camera_with=camera_with)
        self._resync = threading.Event()
        self._name, self._limit = config.station, limit
        self._staged = config.inject
        self._ticks = itertools.count(1)
        self._since_ns, self._told_from_ns = 0, 0
        self._ended = False
        self._last_trouble: Reason | None = None
        self._opened = ExitStack()

    def __enter__(self) -> Station:
        with ExitStack() as opening:
            opening.enter_context(self.equipment)
            opening.callback(self.changes.close)
            opening.callback(self._sight.close)
            opening.enter_context(self.intake)
            self._opened = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    # -- the loop

    def run(self) -> None:
        """Returns at the regular end of the source, after `limit` parts, or when the station is to stop.

        Raises DeviceLost, told as an event, when this process gets nothing more from the GPU: a supervisor is to start
        a new one.
        """
        try:
            self._run()
        except DeviceLost as error:
            self.standing.enter(State.ERROR)
            self._tell("device_lost", "error", str(error))
            raise

    def _run(self) -> None:
        self.standing.enter(State.PREOPERATIONAL)
        if self._staged:
            text = f"faults are staged, decisions are flagged simulated: {self._staged}"
            self._tell("faults_staged", "warning", text)
        with ticking(self.feed.tick):
            self._open_eyes()
            loaded = self.changes.load(self._tell)
        if not loaded:
            self._finish()
            return
        self._recipe_in_force()
        self.standing.enter(State.READY)
        self._tell("ready", "info", f"Ready: station {self._name}, run {self.equipment.run}")
        self._wait_for_audience()
        with ExitStack() as stack:
            self._to_work()
            if self.trigger.mode is TriggerMode.INTERVAL:
                stack.enter_context(Clock(self.trigger.interval_ms or 1000, self._pull))
            while not self._over():
                self._turn()
        self._finish()

    def _recipe_in_force(self) -> None:
        """What rests on the recipe follows it."""
        self.standing.recipe = self.changes.recipe
        self.equipment.answers.judge = self._judge()
        self._scene.begin(self.changes.recipe)

    def _judge(self) -> Judge:
        """While faults are staged, every decision says that it is not of a real line."""
        judge = self.changes.recipe.judge()
        return replace(judge, simulated=True) if self._staged else judge

    def _turn(self) -> None:
        self.standing.tick()
        if self.changes.ordered:
            self._change_over()
        if self.standing.paused:
            self._rest()
            return
        if self._resync.is_set():
            self._into_step()
        part = self._next_part()
        if part is not None:
            self._answer(part, self._finding(part))
            if self._scene.camera_hangs:
                self._scene.frozen_in_a_row = 0
                self._lose_sight(f"camera {self._sight.camera.uri}: frozen, so it is opened again", None)
        if self.standing.state is State.SINGLE_EXECUTION:
            self.standing.enter(State.READY)

    def _over(self) -> bool:
        full = bool(self._limit) and self.equipment.answers.seq_last >= self._limit
        return self.standing.stop.is_set() or self._ended or full

    def _finish(self) -> None:
        self.standing.enter(State.HALTED)
        self.intake.refuse_waiting(Reason.NOT_ONLINE)
        why = "asked to" if self.standing.stop.is_set() else "end of the pictures" if self._ended else "limit reached"
        self._tell("stopping", "info", f"stopping after {self.tally.parts} parts: {why}")

    # -- a part and its picture

    def _next_part(self) -> Part | None:
        if self.trigger.mode is TriggerMode.FREE:
            return self._free_part()
        if self.trigger.mode is TriggerMode.HARDWARE:
            return self._hardware_part()
        return self._triggered_part()

    def _hardware_part(self) -> Part | None:
        pairing = self._hardware.pairing
        part = self._hardware.next_part(self._grab_since, self.intake)
        if pairing is not None and pairing.out_of_step and self.standing.state is not State.ERROR:
            self.standing.fault = Reason.MISMATCH
            self.standing.enter(State.ERROR)
            why = f"parts and pictures are out of step: {pairing.out_of_step}. Clear the line, then send resync"
            self._tell("out_of_step", "error", why)
            self.intake.refuse_waiting(Reason.MISMATCH)
        return part

    def _grab_since(self, timeout_s: float) -> Frame | None:
        frame = self._grab(timeout_s)
        return None if frame is None or frame.mono_ns < self._since_ns else frame

    def _free_part(self) -> Part | None:
        """The next picture as a part. It starts at its capture."""
        frame = self._grab(TICK_S)
        if frame is None or frame.mono_ns < self._told_from_ns:
            return None
        part = Part(frame.mono_ns, self.changes.recipe.deadline_ms, frame=frame, stage=Stage.INSPECTING)
        if frame.mono_ns < self._since_ns:
            self.intake.refuse(part, Reason.NOT_ONLINE)
            return None
        part.latency_ms = {"wait": part.age_ms(), "grab": frame.grab_ms}
        self.intake.watch(part)
        return part

    def _triggered_part(self) -> Part | None:
        """The next trigger as a part with its picture; None when there is none, or when it was answered without one."""
        part = self._queue.take(TICK_S)
        if part is None:
            if self._sight.camera.live:
                self._grab(0.0)  # so that a camera which went away is noticed before the next part comes
            return None
        if self.trigger.mode is TriggerMode.SOFTWARE:
            self.standing.enter(State.SINGLE_EXECUTION)
        part.latency_ms["wait"] = part.age_ms()
        part.stage = Stage.GRABBING
        if self._sight.fires:
            self._fire(part)
        while not part.answered:
            self.standing.tick()
            frame = self._grab(TICK_S, part)
            if self._ended:
                self.intake.refuse(part, Reason.NO_IMAGE)
            elif self.standing.stop.is_set() and part.age_ms() > self.changes.recipe.deadline_ms:
                self.intake.refuse(part, Reason.NOT_ONLINE)  # a trigger may have brought a deadline of an hour
            elif frame is not None and frame.mono_ns >= part.started_ns:
                part.frame, part.stage = frame, Stage.INSPECTING
                part.latency_ms["grab"] = part.age_ms() - part.latency_ms["wait"]
                return part
        return None

    def _fire(self, part: Part) -> None:
        try:
            self._sight.camera.trigger()
        except CameraError as error:
            self._lose_sight(str(error), part)

    def _grab(self, timeout_s: float, waiting: Part | None = None) -> Frame | None:
        try:
            frame = self._sight.grab(timeout_s)
        except EndOfStream:
            self._ended = True
            return None
        except CameraError as error:
            self._lose_sight(str(error), waiting)
            return None
        if frame is not None:
            self.feed.saw_frame(frame.mono_ns)
        return frame

    # -- its verdict

    def _finding(self, part: Part) -> Finding:
        frame = part.frame
        if frame is None or frame.picture is None or not self._sight.fits(frame):
            return self._trouble(Reason.INCOMPLETE, f"not a whole picture: {frame.source if frame else 'none'}")
        if time.monotonic_ns() >= part.last_call_ns:
            return invalid(Reason.LATE)
        if self._sight.camera.live and self._sight.camera.noisy and self._scene.is_frozen(frame.picture):
            return invalid(Reason.FROZEN)
        try:
            found = self.changes.inspector.inspect(frame.picture)
        except SceneFault as fault:
            return invalid(self._scene.refused(fault))
        except DataError as error:
            return self._trouble(Reason.INCOMPLETE, str(error))
        except BackendError as error:
            return self._trouble(Reason.INFERENCE_ERROR, str(error))
        except DeviceLost:
            self._answer(part, invalid(Reason.INFERENCE_ERROR))
            raise
        except Exception as error:
            log.exception("inspection failed")  # the edge of the process: whatever it was, the part is INVALID
            return self._trouble(Reason.INFERENCE_ERROR, f"{type(error).__name__}: {error}")
        self._last_trouble = None
        self._scene.judged(found)
        return Finding(found.verdict, found.reason, found)

    def _trouble(self, reason: Reason, text: str) -> Finding:
        """INVALID; the first of a row is told as an event."""
        if reason is not self._last_trouble:
            self._last_trouble = reason
            self._tell(reason.value, "error", text)
        return invalid(reason)

    def _answer(self, part: Part, finding: Finding) -> None:
        """From any thread; the second answer to a part is dropped."""
        recipe, found, frame = self.changes.recipe, finding.inspection, part.frame
        decision = self.equipment.answers.answer(part, finding)
        if decision is None:
            log.info("a part was answered before its result came; the result is discarded")
            return
        if found is not None:
            self.feed.offer_heatmap(decision.seq, found.heatmap, recipe.thresholds, recipe.roi)
        self.equipment.pictures.keep(decision, frame.picture if frame else None, found, recipe.thresholds)

    def _pull(self) -> None:
        """A tick of the interval clock. While paused there is nothing to inspect."""
        if not self.standing.paused:
            deadline_ms = self.changes.recipe.deadline_ms
            self.intake.hand_in(Part(time.monotonic_ns(), deadline_ms, trigger_id=next(self._ticks)))

    # -- when the line does not run

    def _to_work(self, told_from_ns: int | None = None) -> None:
        """Into the state of an idle or a running line; pictures taken before this moment do not count.

        In free run those taken since `told_from_ns` are answered all the same, as not online.
        """
        self._since_ns = time.monotonic_ns()
        self._hardware.begin_anew()
        self._told_from_ns = self._since_ns if told_from_ns is None else told_from_ns
        idle = self.trigger.mode is TriggerMode.SOFTWARE
        self.standing.enter(State.READY if idle else State.CONTINUOUS_EXECUTION)

    def _wait_for_audience(self) -> None:
        """A source that ends begins when somebody listens, or after a second without; triggers wait for nobody."""
        if self.trigger.mode is TriggerMode.SOFTWARE:
            return
        end_s = time.monotonic() + AUDIENCE_S
        while not self._sight.camera.endless and time.monotonic() < end_s and self.standing.idle(0.01):
            if self.feed.decision_subscribers():
                return

    def _rest(self) -> None:
        """Halted until `resume`."""
        self.standing.enter(State.HALTED)
        self._tell("paused", "info", "paused by command; triggers are answered as not online")
        while self.standing.paused and self.standing.idle(TICK_S):
            self.intake.refuse_waiting(Reason.NOT_ONLINE)
            if self.changes.ordered:
                self._change_over()
                self.standing.enter(State.HALTED)
        if not self.standing.paused:
            self._tell("resumed", "info", "resumed by command")
            self._to_work()

    def _change_over(self) -> None:
        """The line may be running, for a new version: pictures that come meanwhile are answered as not online."""
        told_from_ns = None if self.standing.paused else time.monotonic_ns()
        self.standing.enter(State.PREOPERATIONAL)
        self.intake.refuse_waiting(Reason.NOT_ONLINE)
        with ticking(self.feed.tick):
            self.changes.carry_out(self._tell)
        self._recipe_in_force()
        self._to_work(told_from_ns)

    def resync(self) -> None:
        """From the command thread: what waits is refused, and from now on parts and pictures are counted anew."""
        self.intake.refuse_waiting(Reason.NOT_ONLINE)
        self._tell("resync", "info", "resync by command: triggers that waited are refused")
        self._resync.set()

    def _into_step(self) -> None:
        self._resync.clear()
        if self._hardware.pairing is not None:
            self._hardware.pairing.resync()
        if self.standing.state is State.ERROR:
            self._to_work()

    def _open_eyes(self) -> None:
        self._sight.open()
        self._tell_camera()

    def _prepare_camera(self, recipe: Recipe) -> None:
        """For a recipe about to come in force. Raises SadError where the two do not fit: nothing changes then."""
        before = self._sight.settings
        anew = self._sight.lock_to(recipe.camera)
        try:
            check_picture(recipe, self._sight.size_px)
        except DataError:
            self._sight.lock_to(before)
            raise
        if anew:
            self._tell_camera()

    def _tell_camera(self) -> None:
        self.equipment.answers.camera = self._sight.digest
        camera = self._sight.camera
        if camera.facts:
            self._tell("camera_open", "info", f"camera {camera.uri} is open", **camera.facts)

    def _lose_sight(self, why: str, waiting: Part | None) -> None:
        """Error until the camera delivers again. Parts that wait for a picture are told at once that there is none."""
        self.standing.fault = Reason.NO_IMAGE
        self.standing.enter(State.ERROR)
        self._tell("camera_lost", "error", why)
        if waiting is not None:
            self.intake.refuse(waiting, Reason.NO_IMAGE)
        self.intake.refuse_waiting(Reason.NO_IMAGE)
        if self._sight.reopen(self._between_tries, self.feed.tick, self._still_lost):
            self.equipment.answers.camera = self._sight.digest
            self._tell("camera_back", "info", f"camera {self._sight.camera.uri} delivers again")
            self._to_work()

    def _still_lost(self, why: str) -> None:
        self._tell("camera_refused", "warning", why)

    def _between_tries(self, seconds: float) -> bool:
        self.changes.refuse_orders("the camera is lost; no change-over now")
        return self.standing.idle(seconds)
