"""Recipes that stay loaded beside the one in force, so that changing to them takes milliseconds.

Each was opened and proved in this process. Its bundle is read again only when the file is another one; thresholds,
region and deadline are always those of the moment. What is in force is left to change_over.py.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from sad_runtime.backends.base import Backend
from sad_runtime.bundle import Bundle, stamp_of
from sad_runtime.errors import DeviceLost, SadError
from sad_runtime.inspector import Inspector
from sad_runtime.station.recipes import Recipe, inspector_on, prove

log = logging.getLogger("sad.recipe")
SHOWN_AGAIN = 1
"""Golden pictures before a warm recipe judges again: proves that its engine still does, and wakes it."""


@dataclass(frozen=True)
class Loaded:
    """A recipe whose engine is open. `backend` is the engine itself, without staged faults."""

    recipe: Recipe
    backend: Backend
    engine: ExitStack
    """Gives it back."""


class WarmRecipes:
    """By recipe number, least recently used first. Engines are bound to their thread, so only the loop's may call."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[int, Loaded] = {}

    def __iter__(self) -> Iterator[int]:
        return iter(self._kept)

    def bundle(self, number: int) -> Bundle | None:
        """The recipe's bundle, where its file is still the one that was read."""
        kept = self._kept.get(number)
        if kept is None or kept.recipe.bundle.stamp is None:
            return None
        bundle = kept.recipe.bundle
        return bundle if stamp_of(bundle.path) == bundle.stamp else None

    def has(self, recipe: Recipe) -> bool:
        """Whether its very model is loaded on its very backend."""
        kept = self._kept.get(recipe.id)
        return (
            kept is not None
            and recipe.bundle.stamp is not None
            and _engine_of(kept.recipe) == _engine_of(recipe)
            and not recipe.rolled_back
        )

    def proved(self, recipe: Recipe) -> Inspector | None:
        """`recipe` on its warm engine; None where it has none, or one that does not prove itself any more.

        The engine stays here until `release`. Raises DeviceLost.
        """
        if not self.has(recipe):
            return None
        inspector = inspector_on(self._kept[recipe.id].backend, recipe)
        try:
            if not recipe.simulated:
                prove(inspector, recipe.bundle, recipe.precision, SHOWN_AGAIN)
        except DeviceLost:
            raise
        except SadError as error:
            log.warning("recipe %d was warm and is opened anew: %s", recipe.id, error)
            self.drop(recipe.id)
            return None
        return inspector

    def release(self, number: int) -> ExitStack:
        """The engine of a warm recipe, which is the caller's from now on."""
        return self._kept.pop(number).engine

    def keep(self, loaded: Loaded) -> None:
        """The least recently used goes when there are too many, which may be this one."""
        self.drop(loaded.recipe.id)
        self._kept[loaded.recipe.id] = loaded
        while len(self._kept) > self._most:
            self.drop(next(iter(self._kept)))

    def drop(self, number: int) -> None:
        kept = self._kept.pop(number, None)
        if kept is not None:
            kept.engine.close()

    def close(self) -> None:
        for number in list(self._kept):
            self.drop(number)


def _engine_of(recipe: Recipe) -> tuple[object, ...]:
    return (recipe.bundle.stamp, recipe.digest, recipe.backend, recipe.precision)
