"""An engine that is not there yet: built beside the line and told about, while the CPU stands in if it is fast enough.

The build runs in a process of its own (engines/child.py); here a thread waits for it. Swapping the engine in is left
to change_over.py.
"""

from __future__ import annotations

import importlib.util
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

from sad_runtime.engines.job import Progress
from sad_runtime.engines.room import EngineRoom
from sad_runtime.engines.settings import EngineKind, EngineSettings, for_option
from sad_runtime.errors import BackendError, SadError
from sad_runtime.files import reason_of
from sad_runtime.golden import inspector_for, picture_in
from sad_runtime.inspector import Inspector
from sad_runtime.station.recipes import Recipe, moved
from sad_runtime.station.state_folder import default_state_root

log = logging.getLogger("sad.station")
TELL_EVERY_S = 5.0
CPU_BACKENDS = ("openvino", "onnxruntime")
DEADLINE_SHARE = 0.5
"""A stand-in may take so much of the deadline for a golden picture; grabbing, resizing and publishing need the rest."""


class _Cancelled(Exception):
    """Ends a build from inside its own progress."""


class EngineBuild:
    """One build under way, from the moment this is made."""

    def __init__(self, recipe: Recipe, room: EngineRoom, tell: Callable[..., None], *, again: bool = False) -> None:
        """`again`: the engine that was there could not be used; what is built now is the last try."""
        self.recipe, self.room, self.again = recipe, room, again
        self.error: SadError | None = None
        self._tell = tell
        self._told_s = 0.0
        self._over, self._cancelled = threading.Event(), threading.Event()
        self._progress(Progress(0.0, None, None, "starting"))
        self._thread = threading.Thread(target=self._work, name="engine build", daemon=True)
        self._thread.start()

    @property
    def ready(self) -> bool:
        """The engine is in the cache."""
        return self._over.is_set() and self.error is None and not self._cancelled.is_set()

    @property
    def under_way(self) -> bool:
        return not self._over.is_set() and not self._cancelled.is_set()

    def serves(self, recipe: Recipe) -> bool:
        """Whether what is being built is the engine of `recipe` too."""
        return self.under_way and (self.recipe.digest, self.recipe.backend) == (recipe.digest, recipe.backend)

    def wait(self, seconds: float) -> bool:
        """Whether it is over, one way or the other."""
        return self._over.wait(seconds)

    def cancel(self) -> None:
        """Ends the builder's process, if it still runs."""
        self._cancelled.set()
        self._thread.join()

    def _work(self) -> None:
        begin_s = time.monotonic()
        try:
            self.room.engine(self.recipe.bundle.model(self.recipe.precision), self._progress)
        except _Cancelled:
            log.info("the build of recipe %d was given up", self.recipe.id)
        except (SadError, OSError) as error:
            self.error = error if isinstance(error, SadError) else BackendError(f"building: {reason_of(error)}")
            self._tell("build_failed", "error", f"no engine for recipe {self.recipe.id}: {self.error}")
        else:
            elapsed_s = round(time.monotonic() - begin_s, 1)
            self._tell("built", "info", f"engine for recipe {self.recipe.id} built", elapsed_s=elapsed_s)
        finally:
            self._over.set()

    def _progress(self, progress: Progress) -> None:
        if self._cancelled.is_set():
            raise _Cancelled
        now_s = time.monotonic()
        if now_s - self._told_s < TELL_EVERY_S:
            return
        self._told_s = now_s
        so_far = f"{progress.text}, {progress.elapsed_s:.0f} s so far"
        about = f", about {progress.estimate_s:.0f} s in all" if progress.estimate_s else ""
        self._tell(
            "building",
            "info",
            f"building the engine of recipe {self.recipe.id}: {so_far}{about}",
            elapsed_s=round(progress.elapsed_s, 1),
            estimate_s=progress.estimate_s,
            share=progress.share,
        )


def missing_engine(recipe: Recipe, engines: EngineSettings) -> EngineRoom | None:
    """Where the recipe's engine has to be built first; None when it is there, or its backend needs none.

    Raises UsageError where engines cannot be kept, MissingExtra without TensorRT.
    """
    room = engine_room(recipe.backend, engines)
    if room is None or not room.gpu.there:  # without a GPU the backend itself says what is amiss, when it is opened
        return None
    return None if room.cached(recipe.bundle.model(recipe.precision)) is not None else room


def engine_room(backend: str, engines: EngineSettings) -> EngineRoom | None:
    """Where the engines of `tensorrt` or `tensorrt:1` (the second GPU) are; None for backends that build none."""
    name, _, option = backend.partition(":")
    folder = Path(engines.folder).expanduser() if engines.folder else default_state_root() / "engines"
    for kind in get_args(EngineKind):
        if kind == name:
            return EngineRoom(kind, folder, for_option(kind, option, engines))
    return None


def stand_ins(recipe: Recipe, history: Path) -> Iterator[Recipe]:
    """The recipe on the CPU backends that are installed, best first, with the thresholds of each."""
    for name in CPU_BACKENDS:
        if importlib.util.find_spec(name) is not None:
            yield moved(recipe, name, history)


def fast_enough(inspector: Inspector, recipe: Recipe) -> bool:
    """Whether every golden picture is judged well within the deadline, on the opened and warm `inspector`."""
    limit_ms = DEADLINE_SHARE * recipe.deadline_ms
    for golden in recipe.golden:
        picture = picture_in(recipe.bundle, golden.file)
        prover = inspector_for(picture, inspector.backend, recipe.bundle, recipe.precision)
        took_ms = sum(prover.inspect(picture).latency_ms.values())
        if took_ms > limit_ms:
            log.warning("%s takes %.0f ms a part, of a deadline of %d ms", recipe.backend, took_ms, recipe.deadline_ms)
            return False
    return bool(recipe.golden)
