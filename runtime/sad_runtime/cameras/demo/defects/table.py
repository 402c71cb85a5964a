"""The one table of defect kinds: what each is, how large it gets, and where on a part it may lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sad_runtime.cameras.demo.defects import (
    burr,
    contamination,
    crack,
    dent,
    discolouration,
    misprint,
    missing,
    scratch,
    stain,
)
from sad_runtime.cameras.demo.defects.patch import Apply

Place = Literal["face", "edge", "print", "feature"]


@dataclass(frozen=True)
class Defect:
    """Sizes are picture pixels of a 256 px picture; they are drawn log-uniformly between the two."""

    about: str
    place: Place
    smallest_px: float
    largest_px: float
    apply: Apply


DEFECTS: dict[str, Defect] = {
    "burr": Defect("slivers standing out over an edge", "edge", 4, 24, burr.apply),
    "contamination": Defect("a foreign particle or fibre with its shadow", "face", 3, 20, contamination.apply),
    "crack": Defect("a thin dark gap that kinks and forks", "face", 6, 40, crack.apply),
    "dent": Defect("a pressed hollow, seen by its shading alone", "face", 5, 36, dent.apply),
    "discolouration": Defect("heat tint or uneven dye, without an edge", "face", 8, 40, discolouration.apply),
    "misprint": Defect("marking that is missing, smeared or spilt", "print", 4, 24, misprint.apply),
    "missing": Defect("a hole, component or yarn that is not there", "feature", 3, 40, missing.apply),
    "scratch": Defect("a groove with bright lips", "face", 5, 40, scratch.apply),
    "stain": Defect("a dried film, darkest at its rim", "face", 4, 36, stain.apply),
}
