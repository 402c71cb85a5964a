"""Picture files: only whole 8-bit grey or colour pictures come out, and nothing but DataError for the rest."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sad_runtime.errors import DataError
from sad_runtime.picture_bytes import check_whole
from sad_runtime.pictures import decode_picture, encode_png, picture_files, read_picture

COLOUR = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
SMOOTH = np.asarray(cv2.GaussianBlur(COLOUR, (0, 0), 4), dtype=np.uint8)
GREY = COLOUR[..., 0].copy()
KINDS = [".png", ".jpg", ".bmp", ".tiff"]


def encoded(suffix: str, picture: NDArray[Any] = COLOUR) -> bytes:
    return bytes(cv2.imencode(suffix, picture)[1])


def saved(kind: str, mode: str = "RGB", picture: NDArray[Any] = SMOOTH, **options: Any) -> bytes:
    """A file that Pillow writes; picture is BGR, as everywhere here."""
    buffer = io.BytesIO()
    Image.fromarray(picture[..., ::-1].copy()).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def refused(data: bytes, match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        decode_picture(data, "lot7/part.png")
    assert str(caught.value).startswith("lot7/part.png: ")


# What is taken


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
@pytest.mark.parametrize("picture", [COLOUR, GREY])
def test_lossless_files_come_back_bit_for_bit(suffix: str, picture: NDArray[np.uint8]) -> None:
    found = decode_picture(encoded(suffix, picture), "x")
    assert found.dtype == np.uint8
    assert found.flags.c_contiguous
    assert np.array_equal(found, picture)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100, "subsampling": 0}, {"optimize": True}])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpegs_of_every_kind_are_read(mode: str, options: dict[str, Any]) -> None:
    found = decode_picture(saved("JPEG", mode, **options), "x")
    assert found.shape == (SMOOTH.shape if mode == "RGB" else SMOOTH.shape[:2])
    expected = SMOOTH if mode == "RGB" else cv2.cvtColor(SMOOTH, cv2.COLOR_BGR2GRAY)
    assert np.abs(found.astype(int) - expected).mean() < 4


def test_restart_markers_do_not_end_a_jpeg() -> None:
    data = bytes(cv2.imencode(".jpg", COLOUR, [cv2.IMWRITE_JPEG_RST_INTERVAL, 1])[1])
    assert b"\xff\xd0" in data
    assert decode_picture(data, "x").shape == COLOUR.shape


@pytest.mark.parametrize(
    ("kind", "mode", "options", "channels"),
    [
        ("PNG", "1", {}, 1),
        ("PNG", "P", {}, 3),
        ("PNG", "LA", {}, 3),
        ("PNG", "RGBA", {}, 3),
        ("PNG", "RGB", {"dpi": (300, 300)}, 3),
        ("BMP", "1", {}, 1),
        ("BMP", "P", {}, 3),
        ("BMP", "RGBA", {}, 3),
        ("TIFF", "1", {}, 1),
        ("TIFF", "P", {}, 3),
        ("TIFF", "RGBA", {}, 3),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}, 3),
        ("TIFF", "RGB", {"compression": "tiff_deflate"}, 3),
        ("TIFF", "RGB", {"compression": "jpeg"}, 3),
    ],
)
def test_odd_but_honest_files_come_out_as_8_bit_grey_or_bgr(
    kind: str, mode: str, options: dict[str, Any], channels: int
) -> None:
    found = decode_picture(saved(kind, mode, **options), "x")
    assert found.shape == (SMOOTH.shape if channels == 3 else SMOOTH.shape[:2])
    assert found.dtype == np.uint8


def test_a_one_bit_picture_is_black_and_white() -> None:
    assert set(np.unique(decode_picture(saved("PNG", "1"), "x"))) == {0, 255}


def test_an_opaque_alpha_channel_is_dropped() -> None:
    opaque = np.dstack([COLOUR, np.full(GREY.shape, 255, np.uint8)])
    assert np.array_equal(decode_picture(encoded(".png", opaque), "x"), COLOUR)


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("tail", [b"\0", b"\xff\xd9", b"camera footer " * 1000])
def test_bytes_after_the_end_do_no_harm(suffix: str, tail: bytes) -> None:
    assert np.array_equal(decode_picture(encoded(suffix) + tail, "x"), decode_picture(encoded(suffix), "x"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_sensors_own_pixels_count_whatever_exif_says(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved("JPEG", exif=exif, quality=100, subsampling=0)
    found = decode_picture(data, "x")
    assert found.shape == SMOOTH.shape
    assert np.abs(found.astype(int) - SMOOTH).mean() < 4


def test_both_byte_orders_of_tiff_are_read() -> None:
    """A hand-made 16 x 16 grey picture in one strip, Motorola order."""
    tags = [(256, 16), (257, 16), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, 16), (279, 256)]
    entries = b"".join(struct.pack(">HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
    directory = struct.pack(">H", len(tags)) + entries + bytes(4)
    data = b"MM\0*" + struct.pack(">I", 264) + bytes(range(256)) + directory
    assert np.array_equal(decode_picture(data, "x").ravel(), np.arange(256))


# What is cut short or damaged


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("picture", [COLOUR, GREY])
def test_a_truncated_file_is_refused_wherever_it_was_cut(suffix: str, picture: NDArray[np.uint8]) -> None:
    data = encoded(suffix, picture)
    cuts = {1, 2, 3, 4, 8, 20, *range(30, len(data), 97), *range(len(data) - 40, len(data))}
    for cut in sorted(cuts):
        refused(data[:cut], ".")


@pytest.mark.parametrize("suffix", KINDS)
def test_a_truncated_file_is_called_so_before_any_decoder_sees_it(suffix: str) -> None:
    """OpenCV before 5 returns half a picture for most of these."""
    with pytest.raises(DataError, match="truncated"):
        check_whole(encoded(suffix)[: len(encoded(suffix)) * 2 // 3], "x")


def test_a_truncated_jpeg_is_seen_behind_a_whole_thumbnail() -> None:
    """The thumbnail in the EXIF block has an end marker of its own, close to the end of a file cut early."""
    thumbnail = encoded(".jpg", SMOOTH[:16, :16])
    whole = encoded(".jpg", SMOOTH)
    block = b"Exif\0\0" + thumbnail
    data = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + whole[2:]
    assert np.array_equal(decode_picture(data, "x"), decode_picture(whole, "x"))
    for cut in (len(block) + 10, len(block) + len(whole) // 2, len(data) - 1):
        refused(data[:cut], "truncated")


def test_a_truncated_progressive_jpeg_is_refused() -> None:
    data = saved("JPEG", progressive=True)
    for cut in range(200, len(data), 50):
        refused(data[:cut], "truncated")


@pytest.mark.parametrize("flip", [1, 0x80, 0xFF])
def test_a_flipped_bit_in_a_png_is_noticed(flip: int) -> None:
    data = encoded(".png", SMOOTH)
    for position in range(8, len(data), 61):
        damaged = bytearray(data)
        damaged[position] ^= flip
        refused(bytes(damaged), ".")


def test_empty_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    with pytest.raises(DataError, match=r"empty file \(0 bytes\)"):
        read_picture(tmp_path / "empty.png")
    refused(b"", "empty")


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(DataError, match="cannot be read") as caught:
            read_picture(path)
        assert str(path) in str(caught.value)


# What decodes to something else than it shows


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (encoded(".png", GREY.astype(np.uint16) * 257), "16-bit"),
        (encoded(".png", COLOUR.astype(np.uint16) * 257), "16-bit"),
        (encoded(".tiff", GREY.astype(np.uint16) * 257), "16-bit"),
        (encoded(".tiff", COLOUR.astype(np.uint16)), "16-bit"),
        (encoded(".tiff", GREY.astype(np.float32)), "32-bit"),
        (saved("JPEG", "CMYK"), "CMYK"),
        (saved("TIFF", "CMYK"), "CMYK"),
        (saved("TIFF", "LAB"), "colour space"),
        (saved("TIFF", "LA"), "alpha"),
        (saved("PNG", "P", transparency=bytes(256)), "transparent"),
        (saved("TIFF", save_all=True, append_images=[Image.new("RGB", (64, 48))]), "several pages"),
        (saved("TIFF", big_tiff=True), "BigTIFF"),
        (saved("GIF"), "not a picture"),
        (saved("WEBP"), "not a picture"),
        (b"<html>no camera here</html>" * 9, "not a picture"),
        (encoded(".png", COLOUR[:15]), "too small"),
        (encoded(".bmp", COLOUR[:, :1]), "too small"),
        (encoded(".jpg", COLOUR[:1, :1]), "too small"),
    ],
)
def test_what_is_no_plain_8_bit_picture_is_refused_with_the_reason(data: bytes, match: str) -> None:
    refused(data, match)


@pytest.mark.parametrize("alpha", [0, 254])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_one_transparent_pixel_is_enough(suffix: str, alpha: int) -> None:
    picture = np.dstack([COLOUR, np.full(GREY.shape, 255, np.uint8)])
    picture[5, 7, 3] = alpha
    refused(encoded(suffix, picture), "transparent")


def png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    )


def jpeg_of(width: int, height: int) -> bytes:
    data = bytearray(encoded(".jpg"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def bmp_of(width: int, height: int) -> bytes:
    data = bytearray(encoded(".bmp"))
    data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


@pytest.mark.parametrize(("make", "side"), [(png_of, 2**31 - 1), (png_of, 30_000), (jpeg_of, 65_535), (bmp_of, 2**30)])
def test_a_header_that_asks_for_gigabytes_is_refused_before_decoding(
    make: Callable[[int, int], bytes], side: int
) -> None:
    refused(make(side, side), "megapixels")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
@example(b"BM")
@example(b"II*\0\x08\0\0\0\xff\xff")
@example(b"\xff\xd8\xff\xe0\0\0")
@example(b"\x89PNG\r\n\x1a\n\xff\xff\xff\xff")
def test_random_bytes_never_raise_anything_but_data_error(data: bytes) -> None:
    for start in (b"", b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*"):
        try:
            decode_picture(start + data, "x")
        except DataError:
            continue


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(KINDS), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_damaged_picture_is_refused_or_a_picture(suffix: str, damage: list[tuple[float, int]]) -> None:
    data = bytearray(encoded(suffix, SMOOTH))
    for where, value in damage:
        data[min(int(where * where * len(data)), len(data) - 1)] = value
    try:
        found = decode_picture(bytes(data), "x")
    except DataError:
        return
    assert found.dtype == np.uint8
    assert found.ndim in (2, 3)
    assert min(found.shape[:2]) >= 16


# Folders


def test_picture_files_are_sorted_and_hidden_ones_left_out(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpeg", "c.txt", ".d.png", "sub/e.tif", ".cache/f.png", "sub/.g/h.png", "i.png/j.bmp"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert [path.name for path in picture_files(tmp_path)] == ["a.jpeg", "b.PNG"]
    deep = [str(path.relative_to(tmp_path)) for path in picture_files(tmp_path, recursive=True)]
    assert deep == ["a.jpeg", "b.PNG", "i.png/j.bmp", "sub/e.tif"]


def test_a_hidden_folder_that_is_asked_for_is_read(tmp_path: Path) -> None:
    folder = tmp_path / ".parts"
    folder.mkdir()
    (folder / "a.png").touch()
    assert picture_files(folder, recursive=True) == [folder / "a.png"]


@given(st.integers(16, 70), st.integers(16, 70), st.booleans(), st.integers(0, 9))
@settings(max_examples=30, deadline=None)
def test_png_keeps_every_pixel(height: int, width: int, colour: bool, seed: int) -> None:
    shape = (height, width, 3) if colour else (height, width)
    picture = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(decode_picture(encode_png(picture), "x"), picture)


def test_a_file_is_judged_by_its_bytes_not_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "really_a_bmp.png"
    path.write_bytes(encoded(".bmp"))
    assert np.array_equal(read_picture(path), COLOUR)
