"""The good pictures of a run in memory, at model size, through the line's own preprocessing.

A full-size picture lives only while it is read: 5,000 pictures take 1 GB here whatever the camera's resolution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sad_runtime.errors import DataError
from sad_runtime.manifest import InputSpec, Roi
from sad_runtime.pictures import read_picture
from sad_runtime.preprocess import model_picture


def all_grey(paths: Sequence[Path]) -> bool:
    """True when a look at up to 16 of the pictures finds no colour in any."""
    step = max(1, len(paths) // 16)
    for path in paths[::step][:16]:
        picture = read_picture(path)
        if picture.ndim == 3 and int(np.ptp(picture.astype(np.int16), axis=2).max()) > 8:
            return False
    return True


def loaded(
    paths: Sequence[Path], spec: InputSpec, roi: Roi | None = None, progress: Callable[[int], None] = lambda done: None
) -> NDArray[np.uint8]:
    """(n, H, W, C) uint8. Raises DataError naming the first file that cannot be used."""
    pictures = np.empty((len(paths), *spec.shape), np.uint8)

    def load(index: int) -> None:
        pictures[index] = picture_at_model_size(paths[index], spec, roi)

    with ThreadPoolExecutor(max_workers=4) as pool:
        for done, _ in enumerate(pool.map(load, range(len(paths))), start=1):
            progress(done)
    return pictures


def picture_at_model_size(path: Path, spec: InputSpec, roi: Roi | None) -> NDArray[np.uint8]:
    """(H, W, C) uint8. Raises DataError naming the file."""
    picture = read_picture(path)
    try:
        return model_picture(picture, spec, roi)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
