"""Writes a folder of rendered parts in the MVTec layout, whole or not at all.

    FOLDER/train/good/000.png
    FOLDER/test/good/000.png
    FOLDER/test/DEFECT/000.png
    FOLDER/ground_truth/DEFECT/000_mask.png

The pictures themselves come from `parts.py`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_runtime.cameras.demo.parts import GOOD, defects_of, render
from sad_runtime.errors import DataError

TEST_GOOD_FROM = 1_000_000
DEFECT_FROM = 2_000_000
"""Picture numbers of the test set start here, so that more training pictures leave the test set as it was."""


@dataclass(frozen=True)
class Shot:
    """One picture to be written; `mask` is where its mask goes, relative to the set like `image`."""

    index: int
    defect: str
    image: Path
    mask: Path | None = None


def write_dataset(
    folder: Path,
    part: str,
    *,
    n_train: int,
    n_good: int,
    n_defect: int,
    seed: int,
    size_px: int = 256,
    defect_px: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """`n_defect` is the total, spread evenly over the part's kinds; `defect_px` as for `render`.

    `progress` gets (done, total).

    The set appears under `folder` only when it is complete. A killed run leaves `.NAME.PID.partial` beside
    it, which may be deleted.
    """
    if min(n_train, n_good, n_defect) < 0:
        raise DataError(f"{folder}: numbers of pictures count from 0, got {n_train}, {n_good}, {n_defect}.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: already there. Delete it first, or write to another folder.")
    shots = list(_shots(part, n_train, n_good, n_defect))
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "train" / GOOD).mkdir(parents=True)
        for done, shot in enumerate(shots, start=1):
            _take(partial, part, shot, seed, size_px, defect_px)
            if progress is not None:
                progress(done, len(shots))
        _move(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _shots(part: str, n_train: int, n_good: int, n_defect: int) -> Iterator[Shot]:
    kinds = defects_of(part)
    for number in range(n_train):
        yield Shot(number, GOOD, Path("train", GOOD, f"{number:03d}.png"))
    for number in range(n_good):
        yield Shot(TEST_GOOD_FROM + number, GOOD, Path("test", GOOD, f"{number:03d}.png"))
    for number in range(n_defect):
        turn, kind = divmod(number, len(kinds))
        image = Path("test", kinds[kind], f"{turn:03d}.png")
        mask = Path("ground_truth", kinds[kind], f"{turn:03d}_mask.png")
        yield Shot(DEFECT_FROM + number, kinds[kind], image, mask)


def _take(root: Path, part: str, shot: Shot, seed: int, size_px: int, defect_px: float | None) -> None:
    rendered = render(part, seed=seed, index=shot.index, defect=shot.defect, size_px=size_px, defect_px=defect_px)
    _write_png(root / shot.image, rendered.image)
    if shot.mask is not None:
        _write_png(root / shot.mask, rendered.mask)


def _write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    ok, png = cv2.imencode(".png", picture)
    if not ok:
        raise DataError(f"{path}: OpenCV could not encode this picture as PNG. Is its PNG support built in?")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png.tobytes())


def _move(partial: Path, folder: Path) -> None:
    try:
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except OSError as error:
        raise DataError(f"{folder}: something was put there meanwhile ({error}). Delete it and try again.") from error
