"""Small folders in the MVTec layout, for tests of reading and measuring: grey parts that the tiny bundle can judge."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bundles import SIZE_PX, bad_picture, good_picture


def write_picture(path: Path, picture: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.lower()
    ok, data = cv2.imencode(suffix, picture)
    assert ok
    path.write_bytes(data.tobytes())
    return path


def defect_mask() -> NDArray[np.uint8]:
    """Where `bad_picture` is white."""
    mask = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    mask[20:30, 24:40] = 255
    return mask


def write_goods(folder: Path, count: int, *, first_seed: int = 100) -> None:
    for index in range(count):
        write_picture(folder / f"{index:03}.png", good_picture(first_seed + index))


def write_mvtec(root: Path, *, train: int = 10, good: int = 6, defect: int = 6) -> Path:
    """train/good, test/good, test/spot with masks."""
    write_goods(root / "train" / "good", train, first_seed=100)
    write_goods(root / "test" / "good", good, first_seed=500)
    for index in range(defect):
        write_picture(root / "test" / "spot" / f"{index:03}.png", bad_picture(900 + index))
        write_picture(root / "ground_truth" / "spot" / f"{index:03}_mask.png", defect_mask())
    return root
