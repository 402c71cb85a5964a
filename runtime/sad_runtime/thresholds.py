"""Thresholds in force: the bundle's own, or newer ones set on the line with sad-calibrate.

Line-side thresholds live in `STATE/STATION/thresholds.json`, newest last, every one kept. Each is bound to a model
digest, a precision and a backend; one set on another model is never used.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field

from sad_runtime.bundle import Bundle
from sad_runtime.decide import Thresholds
from sad_runtime.errors import ConfigError
from sad_runtime.files import write_atomically
from sad_runtime.manifest import DecisionPolicy
from sad_runtime.schema import Strict, parse


class LineThresholds(Strict):
    """One row of the history."""

    revision: int = Field(ge=1)
    set_at: str
    model_digest: str
    precision: str
    backend: str
    score_threshold: float
    review_threshold: float | None = None
    pixel_threshold: float
    heatmap_low: float
    decision: DecisionPolicy
    good_scores: list[float] = []
    note: str = ""


class History(Strict):
    entries: list[LineThresholds] = []


def read_history(path: Path) -> History:
    """The history at `path`, empty when there is none yet."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return History()
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path}: the threshold history cannot be read ({error}). Put a copy back, or move the file away and run "
            "sad-calibrate: until then the bundle's own thresholds hold"
        ) from None
    return parse(History, data, str(path))


def append_history(path: Path, entry: LineThresholds) -> None:
    """Adds one row. Raises ConfigError when its revision is not newer than every row kept, so that two people who
    calibrate one station at the same time cannot lose each other's thresholds."""
    with _folder_locked(path.parent):
        kept = read_history(path).entries
        newest = max((row.revision for row in kept), default=0)
        if entry.revision <= newest:
            raise ConfigError(
                f"{path}: revision {newest} was set meanwhile, so {entry.revision} was not saved. Calibrate again"
            )
        text = json.dumps(History(entries=[*kept, entry]).model_dump(), indent=1, allow_nan=False)
        write_atomically(path, text.encode())


@contextmanager
def _folder_locked(folder: Path) -> Iterator[None]:
    """Keeps other processes that append to this folder waiting; the kernel lets go however this one ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{folder}: the station's folder cannot be written ({error.strerror or error})") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def thresholds_in_force(
    bundle: Bundle, precision: str, backend: str, history: History
) -> tuple[Thresholds, list[float] | None]:
    """The newest thresholds set for exactly this model, precision and backend, else the bundle's (revision 0).

    With them come the good scores they rest on; None means: those in the bundle.
    """
    entry = bundle.precision(precision)
    for row in reversed(history.entries):
        if (row.model_digest, row.precision, row.backend) == (entry.sha256, precision, backend):
            cuts = Thresholds(
                row.score_threshold, row.pixel_threshold, row.heatmap_low, row.review_threshold, row.revision
            )
            return cuts, row.good_scores
    return (
        Thresholds(
            entry.score_threshold,
            entry.pixel_threshold,
            entry.heatmap_low,
            entry.review_threshold,
            revision=0,
        ),
        None,
    )
