"""A camera's raw buffer as a picture, by the name that the camera gives its pixel format.

Names are those of GenICam's Pixel Format Naming Convention (PFNC), with the older GigE Vision spellings beside them.
Samples of more than 8 bits keep their high 8 bits. Bayer mosaics come out as BGR, demosaiced by OpenCV, whose own
Bayer names are two pixels off: its `BayerBG` is the sensor whose first row begins R G.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_runtime.errors import CameraError
from sad_runtime.preprocess import Picture

Raw = bytes | bytearray | memoryview | NDArray[np.uint8] | NDArray[np.uint16]
"""Bytes as they come; 16-bit words of an array are little-endian, as on every machine that we run on."""


def picture_from_raw(data: Raw, width: int, height: int, pixel_format: str, stride: int | None = None) -> Picture:
    """(H, W) grey or (H, W, 3) BGR uint8, never a view of `data`, whose buffer the camera may fill again.

    `stride`: bytes from one row to the next where rows are padded; None where they follow one another without a gap.
    What `data` holds after the last row is ignored. Raises CameraError for a format that cannot be read, and for a
    buffer too short for it.
    """
    layout = FORMATS.get(pixel_format)
    if layout is None:
        raise CameraError(
            f"pictures of pixel format '{pixel_format}' cannot be read. Set another one of the camera "
            f"(camera.settings: PixelFormat: Mono8); there are {', '.join(FORMATS)}"
        )
    if width <= 0 or height <= 0:
        raise CameraError(f"a picture of {width}x{height} pixels cannot be: is the camera configured?")
    if layout.pairs and width % 2:
        raise CameraError(f"{pixel_format} holds pixels in pairs, and this picture is {width} wide. Set an even width")
    raw = _as_bytes(data)
    if stride is None and width * layout.bits % 8:
        # Packed samples then run on over the ends of rows, as one row of all pixels.
        pixels = layout.unpack(_rows(raw, 1, width * height * layout.bits, None, pixel_format), width * height)
        pixels = pixels.reshape(height, width)
    else:
        pixels = layout.unpack(_rows(raw, height, width * layout.bits, stride, pixel_format), width)
    if layout.demosaic is not None:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), layout.demosaic), np.uint8)
    return pixels.copy() if np.may_share_memory(pixels, raw) else np.ascontiguousarray(pixels)


def _as_bytes(data: Raw) -> NDArray[np.uint8]:
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    return np.frombuffer(data, np.uint8)


def _rows(
    raw: NDArray[np.uint8], height: int, row_bits: int, stride: int | None, pixel_format: str
) -> NDArray[np.uint8]:
    """(height, bytes of a row) of `raw` without the padding. Raises CameraError when it is too short."""
    row = -(-row_bits // 8)
    step = row if stride is None else stride
    if step < row:
        raise CameraError(f"rows of {pixel_format} take {row} bytes, yet the camera says they are {step} bytes apart")
    needed = step * (height - 1) + row
    if raw.size < needed:
        raise CameraError(f"a {pixel_format} picture takes {needed} bytes, and the buffer holds {raw.size}")
    return np.lib.stride_tricks.as_strided(raw, (height, row), (step, 1), writeable=False)


Unpack = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]
"""From (R, bytes) rows to (R, width) or (R, width, 3) pixels."""


@dataclass(frozen=True)
class Layout:
    bits: int
    """Of one pixel, in the buffer."""
    unpack: Unpack
    demosaic: int | None = None
    pairs: bool = False
    """Two neighbours share bytes, so that a row has an even number of pixels."""


def _bytes(rows: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    return rows


def _words(rows: NDArray[np.uint8], width: int, *, depth: int) -> NDArray[np.uint8]:
    """Little-endian words whose low `depth` bits count: Mono10, Mono12, Mono16."""
    low, high = rows[:, 0::2], rows[:, 1::2]
    return high if depth == 16 else np.bitwise_or(high << (16 - depth), low >> (depth - 8), dtype=np.uint8)


def _gige_packed(rows: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """Two samples in three bytes, the low bits of both in the middle one: Mono10Packed, Mono12Packed."""
    groups = _groups(rows, 3)
    return groups[:, :, 0::2].reshape(len(rows), -1)[:, :width]


def _twelve_p(rows: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """A stream of 12-bit samples, low bits first: two in three bytes."""
    one, two, three = np.moveaxis(_groups(rows, 3), 2, 0)
    return np.stack([(one >> 4) | (two << 4), three], axis=2).reshape(len(rows), -1)[:, :width]


def _ten_p(rows: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """A stream of 10-bit samples, low bits first: four in five bytes."""
    one, two, three, four, five = np.moveaxis(_groups(rows, 5), 2, 0)
    samples = [(one >> 2) | (two << 6), (two >> 4) | (three << 4), (three >> 6) | (four << 2), five]
    return np.stack(samples, axis=2).reshape(len(rows), -1)[:, :width]


def _groups(rows: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """(R, groups, size): rows cut into groups of bytes, the last one filled up with zeros."""
    missing = -rows.shape[1] % size
    return (np.pad(rows, ((0, 0), (0, missing))) if missing else rows).reshape(len(rows), -1, size)


def _channels(rows: NDArray[np.uint8], width: int, *, count: int, to_bgr: int | None) -> NDArray[np.uint8]:
    """Interleaved colours, `count` bytes a pixel."""
    pixels = rows.reshape(len(rows), width, count)
    return pixels if to_bgr is None else np.asarray(cv2.cvtColor(pixels, to_bgr), np.uint8)


def _yuv422(rows: NDArray[np.uint8], width: int, *, luma: int) -> NDArray[np.uint8]:
    """Two pixels in four bytes, with one U and one V. `luma`: at which byte the first Y stands.

    PFNC's YUV and YCbCr use all of 0 to 255, as JPEG does; OpenCV's own 4:2:2 conversions take video's 16 to 235.
    """
    groups = rows.reshape(len(rows), width // 2, 4)
    u, v = groups[:, :, 1 - luma], groups[:, :, 3 - luma]
    y = groups[:, :, luma::2].reshape(len(rows), width)
    planes = cv2.merge([y, np.repeat(v, 2, axis=1), np.repeat(u, 2, axis=1)])
    return np.asarray(cv2.cvtColor(planes, cv2.COLOR_YCrCb2BGR), np.uint8)


SAMPLES: dict[str, tuple[int, Unpack]] = {
    "8": (8, _bytes),
    "10": (16, partial(_words, depth=10)),
    "12": (16, partial(_words, depth=12)),
    "14": (16, partial(_words, depth=14)),
    "16": (16, partial(_words, depth=16)),
    "10Packed": (12, _gige_packed),
    "12Packed": (12, _gige_packed),
    "10p": (10, _ten_p),
    "12p": (12, _twelve_p),
}
MOSAICS: dict[str, int | None] = {
    "Mono": None,
    "BayerRG": cv2.COLOR_BayerBG2BGR,
    "BayerGB": cv2.COLOR_BayerGR2BGR,
    "BayerGR": cv2.COLOR_BayerGB2BGR,
    "BayerBG": cv2.COLOR_BayerRG2BGR,
}
FORMATS: dict[str, Layout] = {
    **{
        mosaic + name: Layout(*sample, demosaic)
        for mosaic, demosaic in MOSAICS.items()
        for name, sample in SAMPLES.items()
    },
    **dict.fromkeys(("RGB8", "RGB8Packed"), Layout(24, partial(_channels, count=3, to_bgr=cv2.COLOR_RGB2BGR))),
    **dict.fromkeys(("BGR8", "BGR8Packed"), Layout(24, partial(_channels, count=3, to_bgr=None))),
    **dict.fromkeys(("RGBa8", "RGBA8Packed"), Layout(32, partial(_channels, count=4, to_bgr=cv2.COLOR_RGBA2BGR))),
    **dict.fromkeys(("BGRa8", "BGRA8Packed"), Layout(32, partial(_channels, count=4, to_bgr=cv2.COLOR_BGRA2BGR))),
    **dict.fromkeys(("YUV422_8", "YCbCr422_8", "YUV422_YUYV_Packed"), Layout(16, partial(_yuv422, luma=0), pairs=True)),
    **dict.fromkeys(
        ("YUV422_8_UYVY", "YCbCr422_8_CbYCrY", "YUV422Packed"), Layout(16, partial(_yuv422, luma=1), pairs=True)
    ),
}
"""By name, with `Mono8` first: what can be read of a camera."""
