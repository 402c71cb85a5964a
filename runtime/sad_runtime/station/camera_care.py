"""The station's camera over time: opened, locked to a recipe's settings, lost and got back, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable

from sad_runtime.cameras.base import Camera
from sad_runtime.errors import DataError
from sad_runtime.station.intake import Intake
from sad_runtime.station.part import Part
from sad_runtime.station.recipes import Recipe, check_picture
from sad_runtime.station.sight import Sight
from sad_runtime.station.standing import Standing
from sad_runtime.verdict import Reason, State


class CameraCare:
    """Used by the station's loop."""

    def __init__(
        self,
        sight: Sight,
        standing: Standing,
        *,
        tell: Callable[..., None],
        told_digest: Callable[[str], None],
        refuse_orders: Callable[[str], None],
    ) -> None:
        """`told_digest`: gets the digest that decisions carry. `refuse_orders`: no change-over while it is lost."""
        self.sight = sight
        self._standing, self._tell = standing, tell
        self._told_digest, self._refuse_orders = told_digest, refuse_orders

    @property
    def camera(self) -> Camera:
        return self.sight.camera

    def open(self) -> None:
        """Raises CameraError, or DataError for a source without pictures."""
        self.sight.open()
        self._tell_camera()

    def prepare(self, recipe: Recipe) -> None:
        """For a recipe about to come in force. Raises SadError where the two do not fit: nothing changes then."""
        before = self.sight.settings
        anew = self.sight.lock_to(recipe.camera)
        try:
            check_picture(recipe, self.sight.size_px)
        except DataError:
            self.sight.go_back(before)
            if anew:
                self._tell_camera()
            raise
        if anew:
            self._tell_camera()

    def lost(self, why: str, waiting: Part | None, intake: Intake) -> bool:
        """Error until the camera delivers again. Parts that wait for a picture are told at once that there is none.

        False when the station is to stop before.
        """
        self._standing.fault = Reason.NO_IMAGE
        self._standing.enter(State.ERROR)
        self._tell("camera_lost", "error", why)
        if waiting is not None:
            intake.refuse(waiting, Reason.NO_IMAGE)
        intake.refuse_waiting(Reason.NO_IMAGE)
        if not self.sight.reopen(self._between_tries, self._standing.tick, self._still_lost):
            return False
        self._told_digest(self.sight.digest)
        self._tell("camera_back", "info", f"camera {self.camera.uri} delivers again")
        return True

    def _tell_camera(self) -> None:
        self._told_digest(self.sight.digest)
        if self.camera.facts:
            self._tell("camera_open", "info", f"camera {self.camera.uri} is open", **self.camera.facts)

    def _still_lost(self, why: str) -> None:
        self._tell("camera_refused", "warning", why)

    def _between_tries(self, seconds: float) -> bool:
        self._refuse_orders("the camera is lost; no change-over now")
        return self._standing.idle(seconds)
