"""Rendered parts: the table of parts, and one picture of one part, good or with a defect.

`(part, seed, index, defect, size_px, defect_px)` decide the picture, in whatever order pictures are asked
for: each has random streams of its own. A good picture and its defective twin share part, light, camera and
noise. On another processor or OpenCV a grey level may be rounded differently, no more.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sad_runtime.cameras.demo import board, fabric, washer
from sad_runtime.cameras.demo.defects.apply import Scene, with_defect
from sad_runtime.cameras.demo.defects.spot import SMALLEST_PX
from sad_runtime.cameras.demo.defects.table import DEFECTS
from sad_runtime.cameras.demo.light import light_from, shade
from sad_runtime.cameras.demo.sensor import camera_from, photograph
from sad_runtime.cameras.demo.surface import Plane, Surface, whole
from sad_runtime.errors import DataError

__all__ = ["DEFECTS", "GOOD", "PARTS", "Part", "Rendered", "defects_of", "render"]

GOOD = "good"
SIZES_PX = (64, 2048)


@dataclass(frozen=True)
class Part:
    about: str
    build: Callable[[np.random.Generator, int], Surface]
    """(draws, size_px) -> the part as it lies under the camera."""
    defects: tuple[str, ...]


@dataclass(frozen=True)
class Rendered:
    image: NDArray[np.uint8]
    """(H, W, 3) BGR."""
    mask: NDArray[np.uint8]
    """(H, W) 0 or 255: the pixels the defect changed by more than 2 grey levels, before noise."""
    defect: str
    """"good" or the defect kind."""


PARTS: dict[str, Part] = {
    "washer": Part(
        "a turned steel washer with bolt holes on a conveyor belt",
        washer.build,
        (
            "burr",
            "contamination",
            "crack",
            "dent",
            "discolouration",
            "misprint",
            "missing",
            "scratch",
            "stain",
        ),
    ),
    "board": Part(
        "a printed circuit board with components in a fixture",
        board.build,
        ("burr", "contamination", "crack", "discolouration", "misprint", "missing", "scratch", "stain"),
    ),
    "fabric": Part(
        "a blue and white twill that fills the picture",
        fabric.build,
        ("contamination", "crack", "dent", "discolouration", "missing", "stain"),
    ),
}


def defects_of(part: str) -> tuple[str, ...]:
    """The defect kinds that a part can have, sorted."""
    return _part(part).defects


def render(
    part: str,
    *,
    seed: int,
    index: int,
    defect: str = GOOD,
    size_px: int = 256,
    defect_px: float | None = None,
) -> Rendered:
    """One picture. `defect_px` is the defect's characteristic size in picture pixels; None draws it.

    A missing feature is the one whose size comes nearest to `defect_px`.
    """
    _check(part, seed, index, defect, size_px, defect_px)
    scene = _scene(part, seed, index, size_px)
    linear, mask = scene.linear, np.zeros((size_px, size_px), np.uint8)
    if defect != GOOD:
        entropy = [*_entropy(part, seed, index, "defect"), zlib.crc32(defect.encode())]
        linear, mask = with_defect(scene, DEFECTS[defect], entropy, defect_px)
    return Rendered(photograph(linear, _rng(part, seed, index, "noise")), mask, defect)


def _scene(part: str, seed: int, index: int, size_px: int) -> Scene:
    """The good part under this picture's light and camera, without noise."""
    surface = PARTS[part].build(_rng(part, seed, index, "part"), size_px)
    station = _rng(part, seed, index, "light")
    light = light_from(station, size_px)
    camera = camera_from(station, light, size_px)
    linear: Plane = camera.expose(shade(surface, light), whole(size_px))
    return Scene(surface, light, camera, linear)


def _entropy(part: str, seed: int, index: int, stream: str) -> list[int]:
    """Seeds one stream of one picture. Names count by CRC-32, which is the same everywhere; hash() is not."""
    return [zlib.crc32(part.encode()), seed, index, zlib.crc32(stream.encode())]


def _rng(part: str, seed: int, index: int, stream: str) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(_entropy(part, seed, index, stream)))


def _part(name: str) -> Part:
    if name not in PARTS:
        raise DataError(f"{name!r} is no rendered part. Known parts: {', '.join(sorted(PARTS))}.")
    return PARTS[name]


def _check(part: str, seed: int, index: int, defect: str, size_px: int, defect_px: float | None) -> None:
    kinds = defects_of(part)
    if defect != GOOD and defect not in kinds:
        raise DataError(f"{defect!r} is no defect of a {part}. Known: {GOOD}, {', '.join(kinds)}.")
    if seed < 0 or index < 0:
        raise DataError(f"seed {seed}, index {index}: both count from 0.")
    if not SIZES_PX[0] <= size_px <= SIZES_PX[1]:
        raise DataError(f"size_px {size_px}: rendered parts are {SIZES_PX[0]} to {SIZES_PX[1]} px wide.")
    if defect_px is not None and not SMALLEST_PX <= defect_px <= size_px:
        raise DataError(f"defect_px {defect_px}: give {SMALLEST_PX:g} to {size_px} px, or None to draw it.")
