"""Two bundles on the same pictures: how many verdicts differ, and how far the scores lie apart.

Pictures are the golden and calibration ones that either bundle carries, each once. Each bundle judges by its own
thresholds and cuts whole camera pictures by its own ROI.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import NamedTuple

from sad_runtime.backends.base import Backend
from sad_runtime.backends.table import backend_for, chosen_backend
from sad_runtime.bundle import Bundle
from sad_runtime.cli.progress import progressing
from sad_runtime.golden import inspector_for, picture_in
from sad_runtime.inspector import Inspection
from sad_runtime.preprocess import Picture
from sad_runtime.verdict import Verdict


class Shown(NamedTuple):
    name: str
    """`A golden/03.png`: the bundle it was taken from, and the file in it."""
    picture: Picture


@dataclass(frozen=True)
class Change:
    """A picture on which the two disagree."""

    picture: str
    before: Verdict
    after: Verdict
    score_before: float
    score_after: float


@dataclass(frozen=True)
class Verdicts:
    """What both made of the pictures with one precision."""

    backend: str
    pictures: int
    changes: list[Change]
    largest_difference: float
    """Between the two scores of a picture; they compare only where the models are kin."""


def pictures_of(a: Bundle, b: Bundle) -> list[Shown]:
    """Raises BundleError or DataError for one that cannot be read."""
    found: dict[bytes, Shown] = {}
    for letter, bundle in (("A", a), ("B", b)):
        for name in [*(golden.file for golden in bundle.manifest.golden), *bundle.names("calibration")]:
            picture = picture_in(bundle, name)
            key = hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).digest()
            found.setdefault(key, Shown(f"{letter} {name}", picture))
    return list(found.values())


def compared(a: Bundle, b: Bundle, precision: str, engine: str, pictures: Sequence[Shown]) -> Verdicts:
    """Raises SadError where one of the two does not run on `engine`, or takes no picture of the other's shape."""
    with ExitStack() as stack:
        backends = [
            stack.enter_context(backend_for(engine, bundle.model(precision), bundle.manifest.input))
            for bundle in (a, b)
        ]
        changes, largest = [], 0.0
        for shown in progressing(pictures, f"pictures on {precision}"):
            before, after = (
                _inspected(shown.picture, bundle, precision, backend)
                for bundle, backend in zip((a, b), backends, strict=True)
            )
            largest = max(largest, abs(before.score - after.score))
            if before.verdict is not after.verdict:
                changes.append(Change(shown.name, before.verdict, after.verdict, before.score, after.score))
    return Verdicts(chosen_backend(engine)[0], len(pictures), changes, largest)


def _inspected(picture: Picture, bundle: Bundle, precision: str, backend: Backend) -> Inspection:
    return inspector_for(picture, backend, bundle, precision).inspect(picture)
