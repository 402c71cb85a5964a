"""The only two steps between a camera picture and the graph: crop to the ROI, resize to the model's size.

Training, evaluation, calibration, export and the runtime all come through here, so what was validated is what runs.
Scaling, normalisation and channel order are inside the graph. A colour picture offered to a one-channel graph is
turned grey here, once; a grey picture offered to a three-channel graph is repeated.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_runtime.errors import DataError
from sad_runtime.manifest import InputSpec, PictureSize, Roi

Picture = NDArray[np.uint8]
SQUASHED = 1.1
"""How far the sides' ratio may stray from that of the training pictures."""


def model_picture(picture: Picture, spec: InputSpec, roi: Roi | None = None) -> Picture:
    """`picture` (H, W), (H, W, 1) or (H, W, 3) BGR, as the graph takes it: (height, width, channels) uint8.

    What comes back is never a view of `picture`, whose buffer the camera may fill again.
    Raises DataError when the picture is empty, not 8-bit grey or BGR, or when the ROI leaves it.
    """
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or picture.size == 0:
        raise DataError(f"expected an 8-bit picture, got {picture.dtype} with shape {picture.shape}")
    cropped = _cropped(picture, roi)
    if _channels(cropped) == 1:  # repeated only when small: the same bytes, and 5 megapixels take a third of the time
        prepared = _with_channels(_resized(cropped, spec.width, spec.height), spec.channels)
    else:
        prepared = _resized(_with_channels(cropped, spec.channels), spec.width, spec.height)
    return np.ascontiguousarray(prepared.reshape(spec.shape))


def check_inside(roi: Roi, width_px: int, height_px: int) -> None:
    """Raises DataError when the ROI leaves a picture of this size."""
    if roi.x + roi.width > width_px or roi.y + roi.height > height_px:
        raise DataError(
            f"the ROI {roi.width}x{roi.height}+{roi.x}+{roi.y} leaves the picture, which is {width_px}x{height_px}"
        )


def check_size(picture: Picture, roi: Roi | None, judged: PictureSize | None) -> None:
    """Raises DataError for a picture that would be squashed, or blown up from under half the size learnt from.

    Such a picture is of another camera or another cut: its score says nothing.
    """
    if judged is None:
        return
    height, width = (roi.height, roi.width) if roi is not None else picture.shape[:2]
    squashed = (width / height) / (judged.width / judged.height)
    small = width * height * 4 < judged.width * judged.height
    if small or not 1 / SQUASHED < squashed < SQUASHED:
        raise DataError(
            f"a picture of {width}x{height}; this model learnt from {judged.width}x{judged.height}. "
            "Is it the right camera, resolution and ROI?"
        )


def _channels(picture: Picture) -> int:
    return 1 if picture.ndim == 2 else picture.shape[2]


def _with_channels(picture: Picture, channels: int) -> Picture:
    given = _channels(picture)
    if given == channels:
        return picture
    if (given, channels) == (3, 1):
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    if (given, channels) == (1, 3):
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    raise DataError(f"a picture of {given} channels cannot feed a graph of {channels}")


def _cropped(picture: Picture, roi: Roi | None) -> Picture:
    if roi is None:
        return picture
    check_inside(roi, picture.shape[1], picture.shape[0])
    return picture[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]


def _resized(picture: Picture, width_px: int, height_px: int) -> Picture:
    height, width = picture.shape[:2]
    if (height, width) == (height_px, width_px):
        return np.array(picture, dtype=np.uint8)
    shrinks = height_px <= height and width_px <= width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width_px, height_px), interpolation=interpolation), dtype=np.uint8)
