"""The recipe in force, and changing it: load, prove on the golden pictures, swap. One that fails leaves the old.

An order asks for the recipe's file, whichever it is by now, or for the version that was in force before (versions.py).
Recipes that were opened stay warm (warm.py).

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
from dataclasses import replace
from pathlib import Path

from sad_runtime.backends.tensorrt import EngineMissing
from sad_runtime.engines.room import EngineRoom
from sad_runtime.errors import CameraError, DataError, DeviceLost, SadError, UsageError
from sad_runtime.faults.backend import FaultyBackend
from sad_runtime.faults.schedule import MODEL_FAULTS, Schedule
from sad_runtime.inspector import Inspector
from sad_runtime.scene.bundled import guard_for
from sad_runtime.station.config import StationConfig
from sad_runtime.station.engine_build import EngineBuild, engine_room, fast_enough, missing_engine, stand_ins
from sad_runtime.station.order import Order
from sad_runtime.station.recipes import Recipe, check_provable, opened, recipe_from
from sad_runtime.station.ticking import TICK_S
from sad_runtime.station.versions import Version, Versions
from sad_runtime.station.warm import Loaded, WarmRecipes

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
        versions: Versions | None = None,
        prepare: Callable[[Recipe], None] | None = None,
    ) -> None:
        """`thresholds`: the station's threshold history. `stop`: no engine is waited for any longer.

        `faults`: staged on the model that judges, after it has proved itself. `versions`: without, none is kept.
        `prepare`: called last before a recipe is put in force; raises SadError where the camera does not suit it, and
        has left the camera as it was then.
        """
        self.recipe = recipe
        self._config = config
        self._thresholds = thresholds
        self._stop = stop or threading.Event()
        self._faults = faults or Schedule()
        self._versions = versions
        self._prepare = prepare
        self._closed = False
        self._loaded: Loaded | None = None
        self._warm = WarmRecipes(config.warm_recipes)
        self._order: Order | None = None
        """The one being carried out."""
        self._build: EngineBuild | None = None
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()

    def load(self, tell: Callable[..., None]) -> bool:
        """Opens the recipe that the station starts with, then others that stay warm. False when it was to stop before
        there was an engine."""
        if self._versions is not None:
            self._versions.open(tell)
        while self._loaded is None:
            try:
                if not self._put_in_force(self.recipe, tell):
                    return False
                self._took_force(tell)
            except _Overtaken:
                self._work_off_orders(tell)
        self._warm_up(tell)
        return True

    def close(self) -> None:
        """Gives the engines back, and tells whoever still waits for a change-over that none comes."""
        self._closed = True
        self.refuse_orders("the station stops")
        self._give_up_build()
        self._warm.close()
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.engine.close()

    @property
    def in_force(self) -> Recipe | None:
        """From any thread; None before there is one."""
        return None if self._loaded is None else self.recipe

    def order(self, recipe: int, model_digest: str | None = None) -> Future[None]:
        """Done when the recipe is in force; the SadError in it says why it is not, for example that it is not the
        model `model_digest`.

        One that could be cancelled does not take place any more, however far its engine was.
        """
        return self._ordered(Order(recipe, model_digest))

    def order_back(self, recipe: int | None = None) -> Future[None]:
        """The version before, of the recipe in force or of another one. As `order` otherwise."""
        return self._ordered(Order(recipe, back=True))

    def _ordered(self, order: Order) -> Future[None]:
        self._orders.put(order)
        if self._closed:
            self.refuse_orders("the station stops")
        return order.outcome

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
            order.refuse(UsageError(why))

    def _work_off_orders(self, tell: Callable[..., None]) -> None:
        while (order := self._next_order()) is not None:
            number = self.recipe.id if order.recipe is None else order.recipe
            self._order = order
            try:
                self._change_to(number, order, tell)
            except DeviceLost as error:
                order.refuse(error)
                raise
            except SadError as error:
                tell("recipe_refused", "error", f"recipe {number} is not loaded, {self.recipe.id} stays: {error}")
                order.refuse(error)
            except BaseException as error:
                order.refuse(error)
                raise
            else:
                digest = self.recipe.digest
                tell("recipe_loaded", "info", f"recipe {number} is in force", recipe=number, model_digest=digest)
                order.outcome.set_result(None)
            finally:
                self._order = None

    def _next_order(self) -> Order | None:
        """Never waits: when the station closes, two threads may be at it."""
        try:
            return self._orders.get_nowait()
        except queue.Empty:
            return None

    def _change_to(self, number: int, order: Order, tell: Callable[..., None]) -> None:
        self._check_wanted()
        if order.back and number == 0:
            raise UsageError("the bundle in force was named with --bundle; only recipes of the station's file go back")
        if number not in self._config.recipes:
            known = ", ".join(str(known) for known in sorted(self._config.recipes)) or "none"
            raise UsageError(f"this station has no recipe {number}; its recipes: {known}")
        version = self._version_before(number) if order.back else None
        recipe = self._recipe(number, version)
        if order.model_digest not in (None, recipe.digest):
            raise UsageError(
                f"{recipe.bundle.path} holds the model {recipe.digest}, not {order.model_digest}. Nothing was changed; "
                "put the right bundle there, or order the recipe without a digest"
            )
        if not self._put_in_force(recipe, tell):
            raise UsageError("the station stops")
        self._took_force(tell, version)

    def _version_before(self, number: int) -> Version:
        if self._versions is None:
            raise UsageError("no versions are kept here, so there is none to roll back to")
        judges = self._loaded is not None and self.recipe.id == number
        return self._versions.before(number, self.recipe.bundle if judges else None)

    def _recipe(self, number: int, version: Version | None = None) -> Recipe:
        """Checked, of its own file or of a version that is kept."""
        wanted = self._config.recipes[number]
        if version is None or self._versions is None:
            return recipe_from(number, wanted, self._config, self._thresholds, bundle=self._warm.bundle(number))
        kept = wanted.model_copy(update={"bundle": str(self._versions.path(version))})
        return replace(recipe_from(number, kept, self._config, self._thresholds), rolled_back=True)

    def _took_force(self, tell: Callable[..., None], version: Version | None = None) -> None:
        """Keeps the version that judges from now on. `version`: what was rolled back to just now."""
        if self._versions is None or self.recipe.id not in self._config.recipes:
            return
        if self.recipe.rolled_back:
            self._versions.went_back(self.recipe, version, tell)
        else:
            self._versions.took_force(self.recipe, tell)

    def _warm_up(self, tell: Callable[..., None]) -> None:
        """Opens other recipes, as many as may stay warm. One that does not open is told of, and not needed yet."""
        others = [number for number in sorted(self._config.recipes) if number != self.recipe.id]
        for number in others[: self._config.warm_recipes]:
            if self._stop.is_set():
                return
            try:
                recipe = self._recipe(number)
                if missing_engine(recipe, self._config.engines) is not None:
                    log.info("recipe %d is not warm: its engine is not built yet", number)
                    continue
                guard_for(recipe.bundle, self._config.scene)
                with ExitStack() as stack:
                    engines, threads = self._config.engines, self._config.threads
                    backend = stack.enter_context(opened(recipe, threads=threads, engines=engines)).backend
                    self._warm.keep(Loaded(recipe, backend, stack.pop_all()))
                log.info("recipe %d is warm", number)
            except EngineMissing as error:
                log.info("recipe %d is not warm: %s", number, error)
            except DeviceLost:
                raise
            except SadError as error:
                tell("recipe_not_warm", "warning", f"recipe {number} is not loaded ahead: {error}", recipe=number)

    def _put_in_force(self, recipe: Recipe, tell: Callable[..., None]) -> bool:
        """On its engine, or on a stand-in while that is built. False when the station is to stop before either."""
        check_provable(recipe)  # before an engine is built for many minutes
        room, again = None if self._warm.has(recipe) else missing_engine(recipe, self._config.engines), False
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
            elif self._loaded is not None or not isinstance(
                error, _Overtaken
            ):  # a station that starts may come back to it
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
            except (_Withdrawn, CameraError, DataError):
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
            inspector = self._warm.proved(recipe)
            warm = inspector is not None
            if inspector is None:
                engines, threads = self._config.engines, self._config.threads
                inspector = stack.enter_context(opened(recipe, threads=threads, engines=engines))
            if fits is not None and not fits(inspector, recipe):
                return False
            inspector.guard = guard_for(recipe.bundle, self._config.scene)
            self._check_wanted(last=True)
            if self._prepare is not None:
                self._prepare(recipe)
            engine = self._warm.release(recipe.id) if warm else stack.pop_all()
        self._swap(Loaded(recipe, inspector.backend, engine), inspector)
        return True

    def _swap(self, loaded: Loaded, inspector: Inspector) -> None:
        """The one that goes stays warm where an order may ask for just it again."""
        before, self._loaded = self._loaded, loaded
        if self._faults.any_of(MODEL_FAULTS):
            inspector.backend = FaultyBackend(inspector.backend, self._faults)
        self.recipe, self.inspector = loaded.recipe, inspector
        self._warm.drop(loaded.recipe.id)
        if before is None:
            return
        gone = before.recipe
        if gone.id != self.recipe.id and gone.id in self._config.recipes and not (gone.degraded or gone.rolled_back):
            self._warm.keep(before)
        else:
            before.engine.close()

    def _check_wanted(self, *, last: bool = False) -> None:
        """Raises _Withdrawn when the order was. After the `last` time it cannot be any more."""
        order = self._order
        if order is not None and (order.outcome.cancelled() or (last and not order.begun())):
            raise _Withdrawn("the order was withdrawn before its engine was ready")
