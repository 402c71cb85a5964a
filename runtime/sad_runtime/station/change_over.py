"""The recipe in force, and changing it: load, prove on the golden pictures, swap. One that fails leaves the old.

Engines belong to the thread that opens them, so the loop does the work; others order it and wait for the outcome.
"""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

from sad_runtime.errors import SadError, UsageError
from sad_runtime.inspector import Inspector
from sad_runtime.station.config import StationConfig
from sad_runtime.station.recipes import Recipe, opened, recipe_from


class ChangeOver:
    """`order` from any thread, everything else from the loop's."""

    inspector: Inspector

    def __init__(self, recipe: Recipe, config: StationConfig, thresholds: Path) -> None:
        """`thresholds`: the station's threshold history."""
        self.recipe = recipe
        self._config = config
        self._thresholds = thresholds
        self._closed = False
        self._engine = ExitStack()
        self._orders: queue.SimpleQueue[tuple[int, Future[None]]] = queue.SimpleQueue()

    def load(self) -> None:
        """Opens the recipe that the station starts with."""
        self.inspector = self._engine.enter_context(opened(self.recipe, threads=self._config.threads))

    def close(self) -> None:
        """Gives the engine back, and tells whoever still waits for a change-over that none comes."""
        self._closed = True
        self.refuse_orders("the station stops")
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
        return not self._orders.empty()

    def carry_out(self, tell: Callable[..., None]) -> None:
        """Works off the orders. The recipe in force afterwards is `recipe`, its inspector `inspector`."""
        while (order := self._next_order()) is not None:
            number, outcome = order
            try:
                self._change_to(number)
            except SadError as error:
                tell("recipe_refused", "error", f"recipe {number} is not loaded, {self.recipe.id} stays: {error}")
                outcome.set_exception(error)
            except BaseException as error:
                outcome.set_exception(error)
                raise
            else:
                tell("recipe_loaded", "info", f"recipe {number} is in force", recipe=number)
                outcome.set_result(None)

    def refuse_orders(self, why: str) -> None:
        while (order := self._next_order()) is not None:
            order[1].set_exception(UsageError(why))

    def _next_order(self) -> tuple[int, Future[None]] | None:
        """Never waits: when the station closes, two threads may be at it."""
        try:
            return self._orders.get_nowait()
        except queue.Empty:
            return None

    def _change_to(self, number: int) -> None:
        if number not in self._config.recipes:
            known = ", ".join(str(known) for known in sorted(self._config.recipes)) or "none"
            raise UsageError(f"this station has no recipe {number}; its recipes: {known}")
        recipe = recipe_from(number, self._config.recipes[number], self._config, self._thresholds)
        with ExitStack() as stack:
            inspector = stack.enter_context(opened(recipe, threads=self._config.threads))
            self._engine.close()
            self._engine = stack.pop_all()
        self.recipe, self.inspector = recipe, inspector
