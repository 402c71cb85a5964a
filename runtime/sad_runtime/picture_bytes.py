"""Is a picture file whole, and of a kind that decodes to what it shows? Looks at the bytes, decodes no pixel.

Decoders are forgiving: OpenCV returns half a picture from a truncated file (which ones depends on its version), reads
CMYK as if it were transparent, and takes the first page of many. What passes here is one whole grey or colour picture;
pixels, alpha and bit depth are left to pictures.py.
"""

from __future__ import annotations

import re
import struct
import zlib

from sad_runtime.errors import DataError

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8"
MAX_PIXELS = 2**28
"""A header of a few bytes can ask a decoder for gigabytes."""

JPEG_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
"""In entropy-coded data FF 00 is a byte and FF D0 to D7 a restart; anything else ends it."""
JPEG_BARE = frozenset({0x01, 0xD8})
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_END = 0xD9

TIFF_STARTS = {b"II*\x00": "<", b"MM\x00*": ">"}
BIG_TIFF_STARTS = (b"II+\x00", b"MM\x00+")
TIFF_NUMBERS = {1: "B", 3: "H", 4: "I"}
TIFF_GREY_OR_COLOUR = frozenset({0, 1, 2, 3, 6})
TIFF_CMYK = 5


def check_whole(data: bytes, where: str) -> None:
    """Raises DataError for a file that is cut short, damaged, of another kind, or too large to decode."""
    try:
        if data.startswith(JPEG_START):
            _check_jpeg(data, where)
        elif data.startswith(PNG_START):
            _check_png(data, where)
        elif data.startswith(b"BM"):
            _check_bmp(data, where)
        elif data[:4] in TIFF_STARTS:
            _check_tiff(data, TIFF_STARTS[data[:4]], where)
        elif data[:4] in BIG_TIFF_STARTS:
            raise DataError(f"{where}: a BigTIFF; save it as an ordinary TIFF or PNG")
        else:
            raise DataError(f"{where}: not a picture (png, jpg, bmp or tiff), or damaged")
    except (struct.error, IndexError):
        raise DataError(f"{where}: truncated picture ({len(data)} bytes)") from None


def _check_size(width_px: int, height_px: int, where: str) -> None:
    if width_px * height_px > MAX_PIXELS:
        raise DataError(f"{where}: {width_px}x{height_px} is more than {MAX_PIXELS >> 20} megapixels, or damaged")


def _check_png(data: bytes, where: str) -> None:
    """Walks the chunks; each has a checksum, so a flipped bit is found too."""
    at = len(PNG_START)
    kind = b""
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        (checksum,) = struct.unpack_from(">I", data, end)
        if zlib.crc32(data[at + 4 : end]) != checksum:
            raise DataError(f"{where}: damaged PNG (wrong checksum)")
        if kind == b"IHDR":
            width, height = struct.unpack_from(">II", data, at + 8)
            _check_size(width, height, where)
        at = end + 4


def _check_jpeg(data: bytes, where: str) -> None:
    """Walks the segments up to the end marker of the picture itself; that of a thumbnail lies inside a segment."""
    at = len(JPEG_START)
    while True:
        found = JPEG_MARKER.search(data, at)
        if found is None:
            raise DataError(f"{where}: truncated JPEG (no end marker)")
        marker, at = data[found.start(1)], found.end()
        if marker == JPEG_END:
            return
        if marker in JPEG_BARE:
            continue
        if marker in JPEG_FRAMES:
            _check_jpeg_frame(data, at, where)
        at += struct.unpack_from(">H", data, at)[0]


def _check_jpeg_frame(data: bytes, at: int, where: str) -> None:
    _, bits, height, width, components = struct.unpack_from(">HBHHB", data, at)
    _check_size(width, height, where)
    if components == 4:
        raise DataError(f"{where}: CMYK picture; convert it to RGB or grey")
    if bits != 8:
        raise DataError(f"{where}: {bits}-bit JPEG; convert it to 8 bits a channel")


def _check_bmp(data: bytes, where: str) -> None:
    """By the size of its rows where they are not packed, else by the size in its header."""
    needed, start, header = struct.unpack_from("<I4xII", data, 2)
    if header == 12:
        width, height, bits = struct.unpack_from("<HH2xH", data, 18)
        packed = 0
    else:
        width, height, bits, packed = struct.unpack_from("<ii2xHI", data, 18)
    width, height = abs(width), abs(height)
    _check_size(width, height, where)
    if packed in (0, 3, 6):
        needed = start + (width * bits + 31) // 32 * 4 * height
    if needed > len(data):
        raise DataError(f"{where}: truncated BMP ({len(data)} of {needed} bytes)")


def _check_tiff(data: bytes, order: str, where: str) -> None:
    """Every strip or tile that the one directory names must lie inside the file."""
    tags = _tiff_tags(data, order, where)
    _check_size(max(tags.get(256, ()), default=0), max(tags.get(257, ()), default=0), where)
    photometric = max(tags.get(262, ()), default=1)
    if photometric not in TIFF_GREY_OR_COLOUR:
        what = "CMYK picture" if photometric == TIFF_CMYK else f"colour space {photometric}"
        raise DataError(f"{where}: {what}; convert it to RGB or grey")
    if max(tags.get(277, ()), default=1) == 2:
        raise DataError(f"{where}: grey with an alpha channel; save it without")
    for offsets, lengths in ((273, 279), (324, 325)):
        for offset, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False):
            if offset + length > len(data):
                raise DataError(f"{where}: truncated TIFF ({len(data)} of {offset + length} bytes)")


def _tiff_tags(data: bytes, order: str, where: str) -> dict[int, tuple[int, ...]]:
    """The whole-number tags of the only page."""
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    tags = {}
    for at in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, items = struct.unpack_from(order + "HHI", data, at)
        if kind not in TIFF_NUMBERS:
            continue
        size = struct.calcsize(TIFF_NUMBERS[kind]) * items
        if size > len(data):
            raise DataError(f"{where}: truncated or damaged TIFF (tag {tag})")
        first = at + 8 if size <= 4 else struct.unpack_from(order + "I", data, at + 8)[0]
        tags[tag] = struct.unpack_from(f"{order}{items}{TIFF_NUMBERS[kind]}", data, first)
    if struct.unpack_from(order + "I", data, start + 2 + 12 * count)[0]:
        raise DataError(f"{where}: a TIFF of several pages; save the one that counts by itself")
    return tags
