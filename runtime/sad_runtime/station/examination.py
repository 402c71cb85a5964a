"""From a part with its picture to a finding. Whatever goes wrong is INVALID with its reason, never a PASS."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sad_runtime.errors import BackendError, DataError, DeviceLost
from sad_runtime.inspector import Inspector
from sad_runtime.scene.guard import SceneFault
from sad_runtime.station.part import Finding, Part, invalid
from sad_runtime.station.scene_care import SceneCare
from sad_runtime.station.sight import Sight
from sad_runtime.verdict import Reason

log = logging.getLogger("sad.station")


class Examination:
    """Used by the station's loop."""

    def __init__(self, sight: Sight, scene: SceneCare, tell: Callable[..., None]) -> None:
        self._sight, self._scene, self._tell = sight, scene, tell
        self._last_trouble: Reason | None = None

    def of(self, part: Part, inspector: Inspector) -> Finding:
        """Raises DeviceLost only; the part has no verdict then."""
        frame = part.frame
        if frame is None or frame.picture is None or not self._sight.fits(frame):
            return self._trouble(Reason.INCOMPLETE, f"not a whole picture: {frame.source if frame else 'none'}")
        if time.monotonic_ns() >= part.last_call_ns:
            return invalid(Reason.LATE)
        camera = self._sight.camera
        if camera.live and camera.noisy and self._scene.is_frozen(frame.picture):
            return invalid(Reason.FROZEN)
        try:
            found = inspector.inspect(frame.picture)
        except SceneFault as fault:
            return invalid(self._scene.refused(fault))
        except DataError as error:
            return self._trouble(Reason.INCOMPLETE, str(error))
        except BackendError as error:
            return self._trouble(Reason.INFERENCE_ERROR, str(error))
        except DeviceLost:
            raise
        except Exception as error:
            log.exception("inspection failed")  # the edge of the process: whatever it was, the part is INVALID
            return self._trouble(Reason.INFERENCE_ERROR, f"{type(error).__name__}: {error}")
        self._last_trouble = None
        self._scene.judged(found)
        return Finding(found.verdict, found.reason, found)

    def _trouble(self, reason: Reason, text: str) -> Finding:
        """INVALID; the first of a row is told as an event."""
        if reason is not self._last_trouble:
            self._last_trouble = reason
            self._tell(reason.value, "error", text)
        return invalid(reason)
