"""The station's care for the scene: is the camera frozen, can the model judge this picture, does anything drift?

Measures and limits are in `scene/`; here their findings become reasons and events, told when something begins or ends.
"""

from __future__ import annotations

from collections.abc import Callable

from sad_runtime.inspector import Inspection
from sad_runtime.preprocess import Picture
from sad_runtime.scene.bundled import drift_for
from sad_runtime.scene.config import SceneConfig
from sad_runtime.scene.drift import DriftWatch, ScoreDrift
from sad_runtime.scene.frozen import Frozen
from sad_runtime.scene.guard import SceneFault
from sad_runtime.scene.watch import SceneWatch, Transition
from sad_runtime.station.recipes import Recipe
from sad_runtime.verdict import Reason

REOPEN_AFTER = 10
"""So many equal pictures in a row and the camera is opened again: a hung driver seldom comes to itself."""


class SceneCare:
    """Used by the station's loop."""

    def __init__(self, config: SceneConfig, tell: Callable[..., None]) -> None:
        self._config, self._tell_event = config, tell
        self._frozen = Frozen(config.frozen_after if config.enabled else 0)
        self._watch = SceneWatch()
        self._drift = DriftWatch(ScoreDrift(0, 0), None)
        self._frozen_in_a_row = 0

    def begin(self, recipe: Recipe) -> None:
        """With a recipe that has come in force: what was wrong with another scene says nothing of this one."""
        self._drift = drift_for(recipe.bundle, recipe.precision, len(recipe.good_scores), self._config)
        self._tell(self._watch.forget())

    def is_frozen(self, picture: Picture) -> bool:
        """`picture` as a live camera gave it. True where it is the one before once more."""
        frozen = self._frozen.saw(picture)
        self._frozen_in_a_row = self._frozen_in_a_row + 1 if frozen else 0
        if frozen:
            self._tell(self._watch.fault(Reason.FROZEN, "the camera gives the same picture again and again"))
        return frozen

    def camera_hangs(self) -> bool:
        """True once for every so many equal pictures in a row."""
        hangs = self._frozen_in_a_row >= REOPEN_AFTER
        if hangs:
            self._frozen_in_a_row = 0
        return hangs

    def refused(self, fault: SceneFault) -> Reason:
        """The model was not asked."""
        self._tell(self._watch.looked(fault.look))
        return fault.reason

    def judged(self, found: Inspection) -> None:
        if found.look is not None:
            self._tell(self._watch.looked(found.look))
        self._tell(self._watch.drifted(self._drift.saw(found.embedding, found.p_value)))

    def _tell(self, transitions: list[Transition]) -> None:
        for one in transitions:
            self._tell_event(one.code, one.level, one.text, **one.data)
