"""`sad-runtime --build-only`: builds the TensorRT engines of a station ahead of time, so that lines start at once."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from sad_runtime.backends.table import chosen_backend
from sad_runtime.bundle import Bundle, read_bundle
from sad_runtime.cli.progress import clock
from sad_runtime.engines.api import EXTRAS, tensorrt_installed
from sad_runtime.engines.cache import check_only_ours_may_write
from sad_runtime.engines.job import Progress
from sad_runtime.engines.room import EngineRoom
from sad_runtime.engines.settings import EngineKind
from sad_runtime.errors import UsageError
from sad_runtime.signing_keys import trusted_keys
from sad_runtime.station.config import StationConfig
from sad_runtime.station.engine_build import engine_room
from sad_runtime.station.selection import engines_in, wanted_recipe
from sad_runtime.station.state_folder import state_root

LOG_EVERY_S = 10.0
COLUMNS = ("recipe", "precision", "engine", "was", "seconds", "MB")


@dataclass(frozen=True)
class Made:
    """One row of the table."""

    recipe: int
    precision: str
    engine: EngineKind
    built: bool
    seconds: float
    size: int


def build_only(config: StationConfig, bundle: Path | None) -> list[Made]:
    """The engines of every recipe, or of `bundle` alone, found in the cache or built. Tells how far it is on stderr.

    Raises UsageError before anything is built: where there is no TensorRT, a bundle that cannot be used, a cache
    folder that cannot be written.
    """
    backend = engine_backend(config.backend)
    models = [(number, found.model(config.precision)) for number, found in _bundles(config, bundle)]
    engines = engines_in(state_root(config.state), config.engines)
    room = engine_room(backend, engines)
    if room is None:
        raise UsageError(f"--build-only: {backend} needs no engine, so there is nothing to build")
    check_only_ours_may_write(Path(str(engines.folder)), strict=bool(config.trust))
    return [_made(room, number, config.precision, model) for number, model in models]


def engine_backend(backend: str) -> str:
    """The backend to build for. `auto` takes the TensorRT that is installed, GPU or not: TensorRT-RTX needs none."""
    if backend != "auto":
        return chosen_backend(backend)[0]
    for kind in EXTRAS:
        if tensorrt_installed(kind):
            return kind
    extras = " or ".join(f"pip install 'sad-inspection[{extra}]'" for extra in EXTRAS.values())
    raise UsageError(
        "--build-only: neither TensorRT nor TensorRT-RTX is installed here, so there is nothing to build. "
        f"Run: {extras}; on a Jetson use the system's TensorRT, in an environment made with --system-site-packages"
    )


def table(rows: list[Made]) -> str:
    cells = [COLUMNS] + [
        (
            str(row.recipe or "-"),
            row.precision,
            row.engine,
            "built" if row.built else "cached",
            f"{row.seconds:.1f}",
            f"{row.size / 1e6:.1f}",
        )
        for row in rows
    ]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column > 3 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )


def _bundles(config: StationConfig, bundle: Path | None) -> list[tuple[int, Bundle]]:
    trust = trusted_keys(config.trust)
    if bundle is not None or not config.recipes:
        number, wanted = wanted_recipe(config, bundle, Path.cwd())
        return [(number, read_bundle(Path(wanted.bundle), trust))]
    return [(number, read_bundle(Path(recipe.bundle), trust)) for number, recipe in sorted(config.recipes.items())]


def _made(room: EngineRoom, number: int, precision: str, model: bytes) -> Made:
    begin_s = time.monotonic()
    found = room.cached(model)
    if found is None:
        with Telling(f"recipe {number}, {precision}" if number else precision) as telling:
            engine = room.engine(model, telling)
    else:
        engine = found
    return Made(number, precision, room.kind, found is None, time.monotonic() - begin_s, len(engine))


class Telling:
    """How far a build is: a live line on a terminal, a line each ten seconds in a log."""

    def __init__(self, what: str, stream: TextIO | None = None) -> None:
        self._what = what
        self._stream = stream if stream is not None else sys.stderr
        self._live = self._stream.isatty()
        self._told_s = 0.0

    def __enter__(self) -> Telling:
        return self

    def __exit__(self, *failure: object) -> None:
        if self._live and self._told_s:
            print(file=self._stream)

    def __call__(self, progress: Progress) -> None:
        if not self._live and progress.elapsed_s - self._told_s < LOG_EVERY_S:
            return
        self._told_s = progress.elapsed_s
        about = f" of about {clock(progress.estimate_s)}" if progress.estimate_s else ""
        line = f"building {self._what}: {clock(progress.elapsed_s)}{about}  {progress.text}"
        print(f"\r\x1b[2K{line}" if self._live else line, end="" if self._live else "\n", file=self._stream, flush=True)
