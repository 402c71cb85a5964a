"""The good pictures of a run at model size, through the line's own preprocessing.

A full-size picture lives only while it is read: 5,000 pictures at 256x256 take 1 GB here whatever the camera's
resolution. What is more than IN_MEMORY_BYTES lies in a file instead, of which the system keeps in memory what it can.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sad_runtime.cli.progress import Progress
from sad_runtime.errors import DataError
from sad_runtime.manifest import InputSpec, Roi
from sad_runtime.pictures import read_picture
from sad_runtime.preprocess import model_picture

IN_MEMORY_BYTES = 1 << 30


def all_grey(paths: Sequence[Path]) -> bool:
    """True when a look at up to 16 of the pictures finds no colour in any."""
    step = max(1, len(paths) // 16)
    for path in paths[::step][:16]:
        picture = read_picture(path)
        if picture.ndim == 3 and int(np.ptp(picture.astype(np.int16), axis=2).max()) > 8:
            return False
    return True


def loaded(
    paths: Sequence[Path], spec: InputSpec, roi: Roi | None = None, *, spill: Path | None = None
) -> NDArray[np.uint8]:
    """(n, H, W, C) uint8. Raises DataError naming the first file that cannot be used.

    `spill` is the folder for a large set; None keeps any in memory.
    """
    pictures = _room((len(paths), *spec.shape), spill)

    def load(index: int) -> None:
        pictures[index] = picture_at_model_size(paths[index], spec, roi)

    with ThreadPoolExecutor(max_workers=4) as pool:
        progress = Progress("reading", len(paths))
        for done, _ in enumerate(pool.map(load, range(len(paths))), start=1):
            progress.step(done)
    return pictures


def _room(shape: tuple[int, ...], spill: Path | None) -> NDArray[np.uint8]:
    """An empty array: in memory, or in a file that is gone when the last process that uses it is."""
    if spill is None or math.prod(shape) <= IN_MEMORY_BYTES:
        return np.empty(shape, np.uint8)
    free = shutil.disk_usage(spill).free
    if math.prod(shape) > free:
        raise DataError(
            f"{spill}: {shape[0]} pictures of {shape[2]}x{shape[1]} need {math.prod(shape) / 1e9:.1f} GB there while "
            f"training, {free / 1e9:.1f} GB are free. Give an --out with room, or a smaller --size"
        )
    with tempfile.TemporaryFile(dir=spill) as file:
        file.truncate(math.prod(shape))
        return np.memmap(file, np.uint8, "r+", shape=shape)


def picture_at_model_size(path: Path, spec: InputSpec, roi: Roi | None) -> NDArray[np.uint8]:
    """(H, W, C) uint8. Raises DataError naming the file."""
    picture = read_picture(path)
    try:
        return model_picture(picture, spec, roi)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
