"""Changing the recipe in force: load, prove on the golden pictures, swap (in_force.py). One that fails leaves the old.

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
from dataclasses import replace
from pathlib import Path

from sad_runtime.errors import DeviceLost, SadError, UsageError
from sad_runtime.faults.schedule import Schedule
from sad_runtime.inspector import Inspector
from sad_runtime.station.config import StationConfig
from sad_runtime.station.in_force import InForce
from sad_runtime.station.order import Order, Overtaken, Withdrawn
from sad_runtime.station.recipes import Recipe, recipe_from
from sad_runtime.station.versions import Version, Versions

log = logging.getLogger("sad.station")


class ChangeOver:
    """`order` from any thread, everything else from the loop's."""

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
        tick: Callable[[], None] = lambda: None,
    ) -> None:
        """`thresholds`: the station's threshold history. `stop`: no engine is waited for any longer.

        `faults`: staged on the model that judges, after it has proved itself. `versions`: without, none is kept.
        `prepare`: called last before a recipe is put in force; raises SadError where the camera does not suit it, and
        has left the camera as it was then. `tick`: called while an engine is waited for.
        """
        self._config = config
        self._thresholds = thresholds
        self._stop = stop or threading.Event()
        self._versions = versions
        self._closed = False
        self._force = InForce(
            recipe,
            config,
            thresholds,
            stop=self._stop,
            faults=faults or Schedule(),
            prepare=prepare,
            check_wanted=self._check_wanted,
            overtaken=lambda: self.commanded,
            tick=tick,
        )
        self._order: Order | None = None
        """The one being carried out."""
        self._orders: queue.SimpleQueue[Order] = queue.SimpleQueue()

    def load(self, tell: Callable[..., None]) -> bool:
        """Opens the recipe that the station starts with, then others that stay warm. False when it was to stop before
        there was an engine."""
        if self._versions is not None:
            self._versions.open(tell)
        while not self._force.judges:
            try:
                if not self._force.put(self.recipe, tell):
                    return False
                self._took_force(tell)
            except Overtaken:
                self._work_off_orders(tell)
        others = [number for number in sorted(self._config.recipes) if number != self.recipe.id]
        self._force.warm_up(others, self._recipe, tell)
        return True

    def close(self) -> None:
        """Gives the engines back, and tells whoever still waits for a change-over that none comes."""
        self._closed = True
        self.refuse_orders("the station stops")
        self._force.close()

    @property
    def recipe(self) -> Recipe:
        """In force, or to be at the start."""
        return self._force.recipe

    @property
    def inspector(self) -> Inspector:
        """Of the recipe in force."""
        return self._force.inspector

    @property
    def in_force(self) -> Recipe | None:
        """From any thread; None before there is one."""
        return self.recipe if self._force.judges else None

    def order(self, recipe: int, model_digest: str | None = None) -> Future[None]:
        """Done when the recipe is in force; the SadError in it says why it is not, for example that it is not the
        model `model_digest`.

        One that could be cancelled does not take place any more, however far its engine was.
        """
        return self._ordered(Order(recipe, model_digest))

    def unknown(self, recipe: int) -> str | None:
        """What to say to whoever orders a recipe that this station has not; None for one that it has. Any thread."""
        if recipe in self._config.recipes:
            return None
        known = ", ".join(str(known) for known in sorted(self._config.recipes)) or "none"
        return f"this station has no recipe {recipe}; its recipes: {known}"

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
        return self.commanded or self._force.engine_ready

    def carry_out(self, tell: Callable[..., None]) -> None:
        """Works off the orders. The recipe in force afterwards is `recipe`, its inspector `inspector`."""
        self._work_off_orders(tell)
        self._force.move_to_engine(tell)

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
        if (unknown := self.unknown(number)) is not None:
            raise UsageError(unknown)
        version = self._version_before(number) if order.back else None
        recipe = self._recipe(number, version)
        if order.model_digest not in (None, recipe.digest):
            raise UsageError(
                f"{recipe.bundle.path} holds the model {recipe.digest}, not {order.model_digest}. Nothing was changed; "
                "put the right bundle there, or order the recipe without a digest"
            )
        if not self._force.put(recipe, tell):
            raise UsageError("the station stops")
        self._took_force(tell, version)

    def _version_before(self, number: int) -> Version:
        if self._versions is None:
            raise UsageError("no versions are kept here, so there is none to roll back to")
        judges = self._force.judges and self.recipe.id == number
        return self._versions.before(number, self.recipe.bundle if judges else None)

    def _recipe(self, number: int, version: Version | None = None) -> Recipe:
        """Checked, of its own file or of a version that is kept."""
        wanted = self._config.recipes[number]
        if version is None or self._versions is None:
            return recipe_from(number, wanted, self._config, self._thresholds, bundle=self._force.warm.bundle(number))
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

    def _check_wanted(self, last: bool = False) -> None:
        """Raises Withdrawn when the order was. After the `last` time it cannot be any more."""
        order = self._order
        if order is not None and (order.outcome.cancelled() or (last and not order.begun())):
            raise Withdrawn("the order was withdrawn before its engine was ready")
