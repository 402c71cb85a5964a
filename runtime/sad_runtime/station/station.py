"""A station: from frame to verdict, part after part.

    run      opens the camera and the model, proves it on its golden pictures, says Ready, and turns until the end
    turn     a trigger or a picture makes a part; it gets a picture; the picture is inspected; the part is answered
    finish   what still waits is refused, `stopping` is told

This is the loop, in the thread that opened the station. Parts come from supply.py and are examined in examination.py;
camera_care.py and scene_care.py look after what they see. Beside it run the watchdog (watchdog.py), which answers a
part whose deadline comes before its verdict, and the command thread (orders.py). All answers go through the one place
that numbers, records and publishes (answers.py). Nothing but a complete, fresh inspection ever becomes a PASS.
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

from sad_runtime.cameras.base import Camera, Frame, Setting
from sad_runtime.errors import DeviceLost
from sad_runtime.faults.disk import FaultyDisk
from sad_runtime.faults.schedule import DISK_FAULTS, Schedule
from sad_runtime.station.answers import Judge
from sad_runtime.station.camera_care import CameraCare
from sad_runtime.station.change_over import ChangeOver
from sad_runtime.station.clock_watch import ClockWatch
from sad_runtime.station.config import StationConfig, TriggerMode
from sad_runtime.station.equipment import Equipment
from sad_runtime.station.examination import Examination
from sad_runtime.station.intake import Intake
from sad_runtime.station.orders import Orders
from sad_runtime.station.part import Finding, Part, invalid
from sad_runtime.station.recipes import Recipe
from sad_runtime.station.scene_care import SceneCare
from sad_runtime.station.sight import Sight
from sad_runtime.station.standing import Standing
from sad_runtime.station.state_folder import StateFolder
from sad_runtime.station.supply import Supply
from sad_runtime.station.ticking import TICK_S, ticking
from sad_runtime.station.triggers import Clock
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
        self._tell = self.equipment.happenings.tell
        if faults is not None and faults.any_of(DISK_FAULTS):
            self.equipment.stage(FaultyDisk(faults))
        self.feed, self.tally = self.equipment.feed, self.equipment.tally
        self.trigger = config.trigger
        self.standing = Standing(self.feed, stop, recipe)
        self.changes = ChangeOver(
            recipe,
            config,
            folder.thresholds,
            stop=stop,
            faults=faults,
            versions=Versions(folder, config.pictures.leave_free_mb),
            prepare=lambda recipe: self._care.prepare(recipe),
            tick=self.feed.tick,
        )
        self._scene = SceneCare(config.scene, self._tell)
        seen = config.camera
        sight = Sight(camera, seen.silent_after_s, seen.expect, settings=recipe.camera, camera_with=camera_with)
        self._examination = Examination(sight, self._scene, self._tell)
        self._care = CameraCare(
            sight,
            self.standing,
            tell=self._tell,
            told_digest=self.equipment.answers.of_camera,
            refuse_orders=self.changes.refuse_orders,
        )
        self.supply = Supply(
            config.trigger,
            self._care,
            self.standing,
            deadline_ms=lambda: self.changes.recipe.deadline_ms,
            saw_frame=self._saw_frame,
            tell=self._tell,
        )
        self.intake = self.supply.intake = Intake(self.standing, self.supply.waiting, self._answer)
        self.equipment.watched.gauges["queue_depth"] = ("Triggers that wait.", lambda: self.intake.depth)
        self._clock = ClockWatch()
        self._name, self._limit = config.station, limit
        self._staged = config.inject
        self._ticks = itertools.count(1)
        self._opened = ExitStack()

    def __enter__(self) -> Station:
        with ExitStack() as opening:
            opening.enter_context(self.equipment)
            opening.callback(self.changes.close)
            opening.callback(self._care.sight.close)
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
            self._care.open()
            loaded = self.changes.load(self._tell)
        if not loaded:
            self._finish()
            return
        self._recipe_in_force()
        self.standing.enter(State.READY)
        self._tell("ready", "info", f"Ready: station {self._name}, run {self.equipment.run}")
        self._wait_for_audience()
        with ExitStack() as stack:
            self.supply.begin()
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
        self._look_at_the_clock()
        if self.changes.ordered:
            self._change_over()
        if self.standing.paused:
            self._rest()
            return
        part = self.supply.next_part()
        if part is not None:
            self._answer(part, self._finding(part))
            if self._scene.camera_hangs():
                self.supply.lost(f"camera {self._care.camera.uri}: frozen, so it is opened again")
        if self.standing.state is State.SINGLE_EXECUTION:
            self.standing.enter(State.READY)

    def _over(self) -> bool:
        full = bool(self._limit) and self.equipment.answers.seq_last >= self._limit
        return self.standing.stop.is_set() or self.supply.ended or full

    def _finish(self) -> None:
        self.standing.enter(State.HALTED)
        self.intake.refuse_waiting(Reason.NOT_ONLINE)
        why = (
            "asked to"
            if self.standing.stop.is_set()
            else "end of the pictures"
            if self.supply.ended
            else "limit reached"
        )
        self._tell("stopping", "info", f"stopping after {self.tally.parts} parts: {why}")

    # -- its verdict

    def _finding(self, part: Part) -> Finding:
        try:
            return self._examination.of(part, self.changes.inspector)
        except DeviceLost:
            self._answer(part, invalid(Reason.INFERENCE_ERROR))
            raise

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

    def _saw_frame(self, frame: Frame) -> None:
        self.feed.saw_frame(frame.mono_ns)
        self.equipment.measures.saw_frame(frame)

    def _pull(self) -> None:
        """A tick of the interval clock. While paused there is nothing to inspect."""
        if not self.standing.paused:
            deadline_ms = self.changes.recipe.deadline_ms
            self.intake.hand_in(Part(time.monotonic_ns(), deadline_ms, trigger_id=next(self._ticks)))

    def _look_at_the_clock(self) -> None:
        step_s = self._clock.look()
        if step_s is not None:
            text = f"the wall clock jumped by {step_s:+.1f} s; verdicts go on, they never read it"
            self._tell("clock_step", "warning", text, seconds=step_s)

    # -- when the line does not run

    def _wait_for_audience(self) -> None:
        """A source that ends begins when somebody listens, or after a second without; triggers wait for nobody."""
        if self.trigger.mode is TriggerMode.SOFTWARE:
            return
        end_s = time.monotonic() + AUDIENCE_S
        while not self._care.camera.endless and time.monotonic() < end_s and self.standing.idle(0.01):
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
            self.supply.begin()

    def _change_over(self) -> None:
        """The line may be running, for a new version: pictures that come meanwhile are answered as not online."""
        told_from_ns = None if self.standing.paused else time.monotonic_ns()
        self.standing.enter(State.PREOPERATIONAL)
        self.intake.refuse_waiting(Reason.NOT_ONLINE)
        before = self.changes.recipe
        with ticking(self.feed.tick):
            self.changes.carry_out(self._tell)
        if self.changes.recipe is not before:
            self._recipe_in_force()
        self.supply.begin(told_from_ns)
