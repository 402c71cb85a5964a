"""What judges: the recipe in force with its engine open, the others that stay warm, and an engine that is being built.

Used by change_over.py, which knows who asked for a recipe and which version of it. All in the loop's thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from sad_runtime.backends.tensorrt import EngineMissing
from sad_runtime.engines.room import EngineRoom
from sad_runtime.errors import CameraError, DataError, DeviceLost, SadError
from sad_runtime.faults.backend import FaultyBackend
from sad_runtime.faults.schedule import MODEL_FAULTS, Schedule
from sad_runtime.inspector import Inspector
from sad_runtime.scene.bundled import guard_for
from sad_runtime.station.config import StationConfig
from sad_runtime.station.engine_build import EngineBuild, engine_room, fast_enough, missing_engine, stand_ins
from sad_runtime.station.order import Overtaken, Withdrawn
from sad_runtime.station.recipes import Recipe, check_provable, opened
from sad_runtime.station.ticking import TICK_S
from sad_runtime.station.warm import Loaded, WarmRecipes

log = logging.getLogger("sad.station")


class InForce:
    inspector: Inspector

    def __init__(
        self,
        recipe: Recipe,
        config: StationConfig,
        thresholds: Path,
        *,
        stop: threading.Event,
        faults: Schedule,
        prepare: Callable[[Recipe], None] | None,
        check_wanted: Callable[[bool], None],
        overtaken: Callable[[], bool],
        tick: Callable[[], None],
    ) -> None:
        """`recipe`: named as the one in force before there is one. The others are as ChangeOver takes them.

        `check_wanted`: raises Withdrawn when nobody waits any more; with True it cannot be withdrawn from then on.
        `overtaken`: a newer order has come. `tick`: called while an engine is waited for: the loop is alive.
        """
        self.recipe = recipe
        self.warm = WarmRecipes(config.warm_recipes)
        self._config, self._thresholds = config, thresholds
        self._stop, self._faults, self._prepare = stop, faults, prepare
        self._check_wanted, self._overtaken, self._tick = check_wanted, overtaken, tick
        self._loaded: Loaded | None = None
        self._build: EngineBuild | None = None

    @property
    def judges(self) -> bool:
        """There is one."""
        return self._loaded is not None

    @property
    def engine_ready(self) -> bool:
        """An engine is built now that the recipe in force waits for."""
        return self._build is not None and self._build.ready

    def close(self) -> None:
        """Gives the engines back."""
        self._give_up_build()
        self.warm.close()
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded.engine.close()

    def put(self, recipe: Recipe, tell: Callable[..., None]) -> bool:
        """On its engine, or on a stand-in while that is built. False when the station is to stop before either."""
        check_provable(recipe)  # before an engine is built for many minutes
        room, again = None if self.warm.has(recipe) else missing_engine(recipe, self._config.engines), False
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

    def move_to_engine(self, tell: Callable[..., None]) -> None:
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

    def warm_up(self, numbers: Sequence[int], recipe_of: Callable[[int], Recipe], tell: Callable[..., None]) -> None:
        """Opens other recipes, as many as may stay warm. One that does not open is told of, and not needed yet."""
        for number in numbers[: self._config.warm_recipes]:
            if self._stop.is_set():
                return
            try:
                recipe = recipe_of(number)
                if missing_engine(recipe, self._config.engines) is not None:
                    log.info("recipe %d is not warm: its engine is not built yet", number)
                    continue
                guard_for(recipe.bundle, self._config.scene)
                with ExitStack() as stack:
                    engines, threads = self._config.engines, self._config.threads
                    backend = stack.enter_context(opened(recipe, threads=threads, engines=engines)).backend
                    self.warm.keep(Loaded(recipe, backend, stack.pop_all()))
                log.info("recipe %d is warm", number)
            except EngineMissing as error:
                log.info("recipe %d is not warm: %s", number, error)
            except DeviceLost:
                raise
            except SadError as error:
                tell("recipe_not_warm", "warning", f"recipe {number} is not loaded ahead: {error}", recipe=number)

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
            elif self.judges or not isinstance(error, Overtaken):  # a station that starts may come back to it
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
            except (Withdrawn, CameraError, DataError):
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
            self._tick()
            if self._stop.is_set():
                return False
            self._check_wanted(False)
            if self._overtaken():
                raise Overtaken("another recipe was ordered before its engine was built")
        if build.error is not None:
            raise build.error
        return True

    def _give_up_build(self) -> None:
        """Waits until its builder has ended."""
        if self._build is not None:
            self._build.cancel()
            self._build = None

    def _open(self, recipe: Recipe, fits: Callable[[Inspector, Recipe], bool] | None = None) -> bool:
        """Swaps `recipe` in once it is proved; the old one stays when it is not, or when it does not fit."""
        with ExitStack() as stack:
            inspector = self.warm.proved(recipe)
            warm = inspector is not None
            if inspector is None:
                engines, threads = self._config.engines, self._config.threads
                inspector = stack.enter_context(opened(recipe, threads=threads, engines=engines))
            if fits is not None and not fits(inspector, recipe):
                return False
            inspector.guard = guard_for(recipe.bundle, self._config.scene)
            self._check_wanted(True)
            if self._prepare is not None:
                self._prepare(recipe)
            engine = self.warm.release(recipe.id) if warm else stack.pop_all()
        self._swap(Loaded(recipe, inspector.backend, engine), inspector)
        return True

    def _swap(self, loaded: Loaded, inspector: Inspector) -> None:
        """The one that goes stays warm where an order may ask for just it again."""
        before, self._loaded = self._loaded, loaded
        if self._faults.any_of(MODEL_FAULTS):
            inspector.backend = FaultyBackend(inspector.backend, self._faults)
        self.recipe, self.inspector = loaded.recipe, inspector
        self.warm.drop(loaded.recipe.id)
        if before is None:
            return
        gone = before.recipe
        if gone.id != self.recipe.id and gone.id in self._config.recipes and not (gone.degraded or gone.rolled_back):
            self.warm.keep(before)
        else:
            before.engine.close()
