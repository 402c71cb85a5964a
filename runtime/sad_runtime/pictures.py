"""Reads picture files strictly: 8-bit grey or BGR comes out, anything else is refused with the way to mend it.

OpenCV returns half a picture from a truncated file, drops alpha and squeezes CMYK without a word; a training set or a
verdict must not rest on that (picture_bytes.py). EXIF orientation is ignored: the sensor's own pixels count.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_runtime.errors import DataError
from sad_runtime.picture_bytes import check_whole

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
MIN_SIDE_PX = 16


def picture_files(folder: Path, *, recursive: bool = False) -> list[Path]:
    """The picture files in `folder`, sorted by path. Hidden files, and files in hidden folders below, are left out."""
    found = folder.rglob("*") if recursive else folder.glob("*")
    return sorted(
        path for path in found if path.suffix.lower() in SUFFIXES and not _hidden(path, folder) and _is_there(path)
    )


def _is_there(path: Path) -> bool:
    """A link to nothing counts: whoever reads it says so, instead of a picture missing without a word."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """(H, W) grey or (H, W, 3) BGR uint8. Raises DataError for whatever is not a whole 8-bit grey or colour picture."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    return decode_picture(data, str(path))


def decode_picture(data: bytes, where: str) -> NDArray[np.uint8]:
    """As read_picture, from the bytes of a png, jpg, bmp or tiff file."""
    if not data:
        raise DataError(f"{where}: empty file (0 bytes)")
    check_whole(data, where)
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        picture = None
    if picture is None:
        raise DataError(f"{where}: not a picture, or damaged")
    if picture.dtype != np.uint8:
        bits = picture.dtype.itemsize * 8
        raise DataError(f"{where}: {bits}-bit picture; convert it to 8 bits a channel")
    if picture.ndim == 3 and picture.shape[2] == 4:
        if picture[..., 3].min() < 255:
            raise DataError(f"{where}: has transparent pixels; save it without an alpha channel")
        picture = picture[..., :3]
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[..., 0]
    if min(picture.shape[:2]) < MIN_SIDE_PX:
        raise DataError(f"{where}: {picture.shape[1]}x{picture.shape[0]} is too small to inspect")
    return np.ascontiguousarray(picture, dtype=np.uint8)


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """Lossless; the pixels come back bit for bit."""
    ok, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 4])
    if not ok:
        raise DataError("a picture could not be encoded as PNG")
    return bytes(data)
