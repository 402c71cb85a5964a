"""The recipe in force, and changing it: load, prove on the golden pictures, swap. One that fails leaves the old.

Engines belong to the thread that opens them, so the loop does the work; others order it and wait for the outcome.
A recipe whose engine has to be built first is served by the CPU meanwhile, flagged degraded, and moves to its engine
between two parts; where no CPU backend is fast enough, the loop waits for the engine.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

from sad_runtime.errors import DeviceLost, SadError, UsageError
from sad_runtime.inspector import Inspector
from sad_runtime.station.config import StationConfig
from sad_runtime.station.engine_build import EngineBuild, fast_enough, missing_engine, stand_ins
from sad_runtime.station.recipes import Recipe, opened, recipe_from
from sad_runtime.station.ticking import TICK_S


class ChangeOver:
    """`order` from any thread, everything else from the loop's."""

    inspector: Inspector

    def __init__(
        self, recipe: Recipe, config: StationConfig, thresholds: Path, *, stop: threading.Event | None = None
    ) -> None:
        """`thresholds`: the station's threshold history. `stop`: no engine is waited for any longer."""
        self.recipe = recipe
        self._config = config
        self._thresholds = thresholds
        self._stop = stop or threading.Event()
        self._closed = False
        self._engine = ExitStack()
        self._build: EngineBuild | None = None
        self._orders: queue.SimpleQueue[tuple[int, Future[None]]] = queue.SimpleQueue()

    def load(self, tell: Callable[..., None]) -> bool:
        """Opens the recipe that the station starts with. False when it was to stop before there was an engine."""
        return self._put_in_force(self.recipe, tell)

    def close(self) -> None:
        """Gives the engine back, and tells whoever still waits for a change-over that none comes."""
        self._closed = True
        self.refuse_orders("the station stops")
        self._give_up_build()
        self._engine.close()

    def order(self, recipe: int) -> Future[None]:
        """Done when the recipe is in force; the SadError in it says why it is not."""
        outcome: Future[None] = Future()
        self._orders.put((recipe, outcome))
        if self._closed:
            self.refuse_orders("the station stops")
        return outcome

    @property
    def ordered(self) -> bool:
        """There is something to carry out: a command, or the move to an engine that is now built."""
        return not self._orders.empty() or (self._build is not None and self._build.ready)

    def carry_out(self, tell: Callable[..., None]) -> None:
        """Works off the orders. The recipe in force afterwards is `recipe`, its inspector `inspector`."""
        while (order := self._next_order()) is not None:
            number, outcome = order
            try:
                self._change_to(number, tell)
            except DeviceLost as error:
                outcome.set_exception(error)
                raise
            except SadError as error:
                tell("recipe_refused", "error", f"recipe {number} is not loaded, {self.recipe.id} stays: {error}")
                outcome.set_exception(error)
            except BaseException as error:
                outcome.set_exception(error)
                raise
            else:
                tell("recipe_loaded", "info", f"recipe {number} is in force", recipe=number)
                outcome.set_result(None)
        self._move_to_engine(tell)

    def refuse_orders(self, why: str) -> None:
        while (order := self._next_order()) is not None:
            order[1].set_exception(UsageError(why))

    def _next_order(self) -> tuple[int, Future[None]] | None:
        """Never waits: when the station closes, two threads may be at it."""
        try:
            return self._orders.get_nowait()
        except queue.Empty:
            return None

    def _change_to(self, number: int, tell: Callable[..., None]) -> None:
        if number not in self._config.recipes:
            known = ", ".join(str(known) for known in sorted(self._config.recipes)) or "none"
            raise UsageError(f"this station has no recipe {number}; its recipes: {known}")
        recipe = recipe_from(number, self._config.recipes[number], self._config, self._thresholds)
        if not self._put_in_force(recipe, tell):
            raise UsageError("the station stops")

    def _put_in_force(self, recipe: Recipe, tell: Callable[..., None]) -> bool:
        """On its engine, or on a stand-in while that is built. False when the station is to stop before either."""
        room = missing_engine(recipe, self._config.engines)
        if room is None:
            self._open(recipe)
            self._give_up_build()
            return True
        build = EngineBuild(recipe, room, tell)
        with ExitStack() as unless_kept:
            unless_kept.callback(build.cancel)
            if self._opened_stand_in(recipe, tell):
                self._give_up_build()
                self._build = build
                unless_kept.pop_all()
                return True
            if not self._awaited(build):
                return False
            self._open(recipe)
        self._give_up_build()
        return True

    def _opened_stand_in(self, recipe: Recipe, tell: Callable[..., None]) -> bool:
        """A CPU backend that proves itself and is fast enough serves, flagged degraded."""
        why = "no CPU backend is installed (pip install 'sad-inspection[cpu]')"
        for stand_in in stand_ins(recipe, self._thresholds):
            why = f"{stand_in.backend} is too slow for a deadline of {recipe.deadline_ms} ms"
            try:
                if self._open(stand_in, fast_enough):
                    break
            except SadError as error:
                why = str(error)
        else:
            tell("not_ready", "warning", f"recipe {recipe.id} waits for its engine: {why}", recipe=recipe.id)
            return False
        text = f"recipe {recipe.id} is served by {self.recipe.backend} until its engine is built"
        tell("degraded", "warning", text, recipe=recipe.id, backend=self.recipe.backend)
        return True

    def _awaited(self, build: EngineBuild) -> bool:
        """False when the station is to stop first. Raises what the build failed of."""
        while not build.wait(TICK_S):
            if self._stop.is_set():
                return False
        if build.error is not None:
            raise build.error
        return True

    def _move_to_engine(self, tell: Callable[..., None]) -> None:
        """From the stand-in, once the engine is built. One that does not prove itself is not tried again."""
        if self._build is None or not self._build.ready:
            return
        recipe, self._build = self._build.recipe, None
        try:
            self._open(recipe)
        except DeviceLost:
            raise
        except SadError as error:
            stays = f"recipe {recipe.id} stays on {self.recipe.backend}"
            tell("engine_refused", "error", f"{stays}, its engine is not used: {error}", recipe=recipe.id)
        else:
            tell("engine_loaded", "info", f"recipe {recipe.id} runs on {recipe.backend} now", recipe=recipe.id)

    def _give_up_build(self) -> None:
        """Of the recipe that goes; its next build starts anew."""
        if self._build is not None:
            self._build.cancel()
            self._build = None

    def _open(self, recipe: Recipe, fits: Callable[[Inspector, Recipe], bool] | None = None) -> bool:
        """Swaps `recipe` in once it is proved; the old one stays when it is not, or when it does not fit."""
        with ExitStack() as stack:
            inspector = stack.enter_context(opened(recipe, threads=self._config.threads, engines=self._config.engines))
            if fits is not None and not fits(inspector, recipe):
                return False
            self._engine.close()
            self._engine = stack.pop_all()
        self.recipe, self.inspector = recipe, inspector
        return True
