"""The recipe in force, and changing it: load, prove on the golden pictures, swap. One that fails leaves the old.

Engines belong to the thread that opens them, so the loop does the work; others order it and wait for the outcome.
A recipe whose engine has to be built first is served by the CPU meanwhile, flagged degraded, and moves to its engine
between two parts; where no CPU backend is fast enough, the loop waits for the engine, until the order is withdrawn or
another one comes. One engine is built at a time.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

from sad_runtime.backends.tensorrt import EngineMissing
from sad_runtime.engines.room import EngineRoom
from sad_runtime.errors import DeviceLost, SadError, UsageError
from sad_runtime.faults.backend import FaultyBackend
from sad_runtime.faults.schedule import MODEL_FAULTS, Schedule
from sad_runtime.inspector import Inspector
from sad_runtime.scene.bundled import guard_for
from sad_runtime.station.config import StationConfig
from sad_runtime.station.engine_build import EngineBuild, engine_room, fast_enough, missing_engine, stand_ins
from sad_runtime.station.recipes import Recipe, check_provable, opened, recipe_from
from sad_runtime.station.ticking import TICK_S

log = logging.getLogger("sad.station")


class _Overtaken(UsageError):
    """A newer order ends the wait for an engine."""


class _Withdrawn(UsageError):
    """Nobody waits for the order any more."""


class ChangeOver:
    """`order` from any thread, everything else from the loop's."""

    inspector: Inspector

    def __init__(
        self,
        recipe: Recipe,
        config: StationConfig,
        thresholds: Path,
        *,
        stop: threading.Event | None = None,
        faults: Schedule | None = None,
    ) -> None:
        """`thresholds`: the station's threshold history. `stop`: no engine is waited for any longer.

        `faults`: staged on the model that judges, after it has proved itself.
        """
        self.recipe = recipe
        self._config = config
        self._thresholds = thresholds
        self._stop = stop or threading.Event()
        self._faults = faults or Schedule()
        self._closed = False
        self._in_force = False
        self._order: Future[None] | None = None
        """The one being carried out."""
        self._engine = ExitStack()
        self._build: EngineBuild | None = None
        self._orders: queue.SimpleQueue[tuple[int, Future[None]]] = queue.SimpleQueue()

    def load(self, tell: Callable[..., None]) -> bool:
        """Opens the recipe that the station starts with. False when it was to stop before there was an engine."""
        while not self._in_force:
            try:
                return self._put_in_force(self.recipe, tell)
            except _Overtaken:
                self._work_off_orders(tell)
        return True

    def close(self) -> None:
        """Gives the engine back, and tells whoever still waits for a change-over that none comes."""
        self._closed = True
        self.refuse_orders("the station stops")
        self._give_up_build()
        self._engine.close()

    def order(self, recipe: int) -> Future[None]:
        """Done when the recipe is in force; the SadError in it says why it is not.

        One that could be cancelled does not take place any more, however far its engine was.
        """
        outcome: Future[None] = Future()
        self._orders.put((recipe, outcome))
        if self._closed:
            self.refuse_orders("the station stops")
        return outcome

    @property
    def commanded(self) -> bool:
        """Somebody waits for a change-over."""
        return not self._orders.empty()

    @property
    def ordered(self) -> bool:
        """There is something to carry out: a command, or the move to an engine that is now built."""
        return self.commanded or (self._build is not None and self._build.ready)

    def carry_out(self, tell: Callable[..., None]) -> None:
        """Works off the orders. The recipe in force afterwards is `recipe`, its inspector `inspector`."""
        self._work_off_orders(tell)
        self._move_to_engine(tell)

    def refuse_orders(self, why: str) -> None:
        while (order := self._next_order()) is not None:
            _refuse(order[1], UsageError(why))

    def _work_off_orders(self, tell: Callable[..., None]) -> None:
        while (order := self._next_order()) is not None:
            number, self._order = order
            try:
                self._change_to(number, tell)
            except DeviceLost as error:
                _refuse(self._order, error)
                raise
            except SadError as error:
                tell("recipe_refused", "error", f"recipe {number} is not loaded, {self.recipe.id} stays: {error}")
                _refuse(self._order, error)
            except BaseException as error:
                _refuse(self._order, error)
                raise
            else:
                tell("recipe_loaded", "info", f"recipe {number} is in force", recipe=number)
                self._order.set_result(None)
            finally:
                self._order = None

    def _next_order(self) -> tuple[int, Future[None]] | None:
        """Never waits: when the station closes, two threads may be at it."""
        try:
            return self._orders.get_nowait()
        except queue.Empty:
            return None

    def _change_to(self, number: int, tell: Callable[..., None]) -> None:
        self._check_wanted()
        if number not in self._config.recipes:
            known = ", ".join(str(known) for known in sorted(self._config.recipes)) or "none"
            raise UsageError(f"this station has no recipe {number}; its recipes: {known}")
        recipe = recipe_from(number, self._config.recipes[number], self._config, self._thresholds)
        if not self._put_in_force(recipe, tell):
            raise UsageError("the station stops")

    def _put_in_force(self, recipe: Recipe, tell: Callable[..., None]) -> bool:
        """On its engine, or on a stand-in while that is built. False when the station is to stop before either."""
        check_provable(recipe)  # before an engine is built for many minutes
        room, again = missing_engine(recipe, self._config.engines), False
        if room is None:
            try:
                self._open(recipe)
            except EngineMissing as error:
                room, again = engine_room(recipe.backend, self._config.engines), True
                if room is None:
                    raise
                log.warning("%s; it is built beside the line", error)
            else:
                self._give_up_build()
                return True
        if self._opened_stand_in(recipe, tell):
            self._build = self._building(recipe, room, tell, again=again)
            return True
        return self._opened_when_built(recipe, room, tell)

    def _opened_when_built(self, recipe: Recipe, room: EngineRoom, tell: Callable[..., None]) -> bool:
        """Nothing stands in. What was being built for the recipe that stays goes on if this comes to nothing."""
        before = self._build
        old = (before.recipe, before.room) if before is not None and (before.under_way or before.ready) else None
        self._build = self._building(recipe, room, tell)
        try:
            if not self._awaited(self._build):
                self._give_up_build()
                return False
            self._open(recipe)
        except DeviceLost:
            raise
        except SadError as error:
            if old is not None:
                self._build = self._building(*old, tell)
            elif self._in_force or not isinstance(error, _Overtaken):  # a station that starts may come back to it
                self._give_up_build()
            raise
        self._give_up_build()
        return True

    def _building(
        self, recipe: Recipe, room: EngineRoom, tell: Callable[..., None], *, again: bool = False
    ) -> EngineBuild:
        """The build under way where it makes this very engine, else a new one, once the old one has ended."""
        if self._build is not None and self._build.serves(recipe):
            self._build.recipe = recipe  # thresholds and region may be others
            return self._build
        self._give_up_build()
        return EngineBuild(recipe, room, tell, again=again)

    def _opened_stand_in(self, recipe: Recipe, tell: Callable[..., None]) -> bool:
        """A CPU backend that proves itself and is fast enough serves, flagged degraded."""
        why = "no CPU backend is installed (pip install 'sad-inspection[cpu]')"
        for stand_in in stand_ins(recipe, self._thresholds):
            why = f"{stand_in.backend} is too slow for a deadline of {recipe.deadline_ms} ms"
            try:
                if self._open(stand_in, fast_enough):
                    break
            except _Withdrawn:
                raise
            except SadError as error:
                why = str(error)
        else:
            tell("not_ready", "warning", f"recipe {recipe.id} waits for its engine: {why}", recipe=recipe.id)
            return False
        text = f"recipe {recipe.id} is served by {self.recipe.backend} until its engine is built"
        tell("degraded", "warning", text, recipe=recipe.id, backend=self.recipe.backend)
        return True

    def _awaited(self, build: EngineBuild) -> bool:
        """False when the station is to stop first. Raises what the build failed of, or UsageError when the order is
        withdrawn or a newer one comes."""
        while not build.wait(TICK_S):
            if self._stop.is_set():
                return False
            self._check_wanted()
            if self.commanded:
                raise _Overtaken("another recipe was ordered before its engine was built")
        if build.error is not None:
            raise build.error
        return True

    def _move_to_engine(self, tell: Callable[..., None]) -> None:
        """From the stand-in, once the engine is built. One that does not prove itself is not tried again."""
        if self._build is None or not self._build.ready:
            return
        build, self._build = self._build, None
        recipe = build.recipe
        try:
            self._open(recipe)
        except DeviceLost:
            raise
        except SadError as error:
            if isinstance(error, EngineMissing) and not build.again:
                log.warning("%s; it is built once more", error)
                self._build = EngineBuild(recipe, build.room, tell, again=True)
                return
            stays = f"recipe {recipe.id} stays on {self.recipe.backend}"
            tell("engine_refused", "error", f"{stays}, its engine is not used: {error}", recipe=recipe.id)
        else:
            tell("engine_loaded", "info", f"recipe {recipe.id} runs on {recipe.backend} now", recipe=recipe.id)

    def _give_up_build(self) -> None:
        """Waits until its builder has ended."""
        if self._build is not None:
            self._build.cancel()
            self._build = None

    def _open(self, recipe: Recipe, fits: Callable[[Inspector, Recipe], bool] | None = None) -> bool:
        """Swaps `recipe` in once it is proved; the old one stays when it is not, or when it does not fit."""
        with ExitStack() as stack:
            inspector = stack.enter_context(opened(recipe, threads=self._config.threads, engines=self._config.engines))
            if fits is not None and not fits(inspector, recipe):
                return False
            inspector.guard = guard_for(recipe.bundle, self._config.scene)
            self._check_wanted(last=True)
            self._engine.close()
            self._engine = stack.pop_all()
        if self._faults.any_of(MODEL_FAULTS):
            inspector.backend = FaultyBackend(inspector.backend, self._faults)
        self.recipe, self.inspector, self._in_force = recipe, inspector, True
        return True

    def _check_wanted(self, *, last: bool = False) -> None:
        """Raises _Withdrawn when the order was. After the `last` time it cannot be any more."""
        order = self._order
        if order is not None and (order.cancelled() or (last and not _begun(order))):
            raise _Withdrawn("the order was withdrawn before its engine was ready")


def _begun(order: Future[None]) -> bool:
    """From now on it cannot be withdrawn. False when it was."""
    return not order.cancelled() and (order.running() or order.set_running_or_notify_cancel())


def _refuse(order: Future[None], why: BaseException) -> None:
    """Tells who ordered it, if he still waits."""
    if _begun(order):
        order.set_exception(why)
