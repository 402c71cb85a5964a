"""Raw camera buffers: every mosaic against one made here, every packing against bytes written out by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sad_runtime.cameras.pixel_format import FORMATS, picture_from_raw
from sad_runtime.errors import CameraError

BLUE, GREEN, RED = 40, 120, 220
FIRST_PIXELS = {"RG": "RGGB", "GB": "GBRG", "GR": "GRBG", "BG": "BGGR"}
VALUE = {"R": RED, "G": GREEN, "B": BLUE}


def mosaic(pattern: str, height: int = 12, width: int = 16) -> NDArray[np.uint8]:
    """What a sensor of `pattern` sees of one even colour."""
    cell = np.array([VALUE[letter] for letter in FIRST_PIXELS[pattern]], np.uint8).reshape(2, 2)
    return np.tile(cell, (height // 2, width // 2))


def twelve_bits(values: NDArray[np.uint8]) -> NDArray[np.uint16]:
    return values.astype("<u2") << 4 | 0xF


@pytest.mark.parametrize("pattern", FIRST_PIXELS)
def test_every_bayer_pattern_gives_back_the_colour_that_it_saw(pattern: str) -> None:
    picture = picture_from_raw(mosaic(pattern).tobytes(), 16, 12, f"Bayer{pattern}8")
    assert picture.shape == (12, 16, 3)
    assert (picture == (BLUE, GREEN, RED)).all()


@pytest.mark.parametrize("pattern", FIRST_PIXELS)
def test_deep_bayer_pictures_keep_their_high_bits(pattern: str) -> None:
    raw = twelve_bits(mosaic(pattern))
    assert (picture_from_raw(raw, 16, 12, f"Bayer{pattern}12") == (BLUE, GREEN, RED)).all()
    assert (picture_from_raw(raw >> 2, 16, 12, f"Bayer{pattern}10") == (BLUE, GREEN, RED)).all()
    assert (picture_from_raw(raw << 4, 16, 12, f"Bayer{pattern}16") == (BLUE, GREEN, RED)).all()


def test_an_edge_in_a_bayer_picture_stays_where_it_is() -> None:
    scene = np.zeros((40, 40, 3), np.uint8)
    scene[10:30, 14:28] = (BLUE, GREEN, RED)
    raw = scene[:, :, 1].copy()
    raw[0::2, 0::2], raw[1::2, 1::2] = scene[0::2, 0::2, 2], scene[1::2, 1::2, 0]
    picture = picture_from_raw(raw, 40, 40, "BayerRG8")
    far_from_the_edge = np.abs(cv2.blur(scene, (3, 3)).astype(int) - scene).max(axis=2) == 0
    assert (picture[far_from_the_edge] == scene[far_from_the_edge]).all()


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("Mono8", bytes([0x12, 0x34, 0xAB, 0xFF])),
        ("Mono10", bytes.fromhex("4b00 d300 ae02 ff03")),
        ("Mono12", bytes.fromhex("2101 4f03 b00a ff0f")),
        ("Mono14", bytes.fromhex("8704 000d ff2a ff3f")),
        ("Mono16", bytes.fromhex("9912 0034 ffab ffff")),
        # GigE Vision: high bytes outside, low bits of both in the middle
        ("Mono10Packed", bytes([0x12, 0x33, 0x34, 0xAB, 0x21, 0xFF])),
        ("Mono12Packed", bytes([0x12, 0xF1, 0x34, 0xAB, 0x70, 0xFF])),
        # PFNC `p`: one stream of bits, the lowest first: 0x121 0x34f 0xab7 0xff0, and 0x04b 0x0d3 0x2ae 0x3fc
        ("Mono12p", bytes([0x21, 0xF1, 0x34, 0xB7, 0x0A, 0xFF])),
        ("Mono10p", bytes([0x4B, 0x4C, 0xE3, 0x2A, 0xFF])),
    ],
)
def test_every_packing_is_read_as_written_by_hand(name: str, raw: bytes) -> None:
    assert picture_from_raw(raw, 4, 1, name).tolist() == [[0x12, 0x34, 0xAB, 0xFF]]


@pytest.mark.parametrize(("name", "bits"), [("Mono10p", 10), ("Mono12p", 12)])
def test_a_packed_stream_agrees_with_arithmetic_on_whole_numbers(name: str, bits: int) -> None:
    samples = np.random.default_rng(1).integers(0, 1 << bits, 7 * 3).tolist()
    stream = sum(value << bits * place for place, value in enumerate(samples))
    raw = stream.to_bytes(-(-bits * len(samples) // 8), "little")
    picture = picture_from_raw(raw, 7, 3, name)
    assert picture.reshape(-1).tolist() == [value >> (bits - 8) for value in samples]


def test_padded_rows_are_cut_to_their_width() -> None:
    rows = np.arange(30, dtype=np.uint8).reshape(3, 10)
    assert picture_from_raw(rows, 7, 3, "Mono8", stride=10).tolist() == rows[:, :7].tolist()
    coloured = np.arange(40, dtype=np.uint8).reshape(2, 20)
    picture = picture_from_raw(coloured, 5, 2, "BGR8", stride=20)
    assert picture.tolist() == coloured[:, :15].reshape(2, 5, 3).tolist()


def test_the_last_row_needs_no_padding() -> None:
    assert picture_from_raw(bytes(10 * 2 + 7), 7, 3, "Mono8", stride=10).shape == (3, 7)


@pytest.mark.parametrize(
    ("name", "pixel"),
    [
        ("BGR8", [BLUE, GREEN, RED]),
        ("RGB8", [RED, GREEN, BLUE]),
        ("BGRa8", [BLUE, GREEN, RED, 9]),
        ("RGBa8", [RED, GREEN, BLUE, 9]),
    ],
)
def test_colours_come_out_as_bgr(name: str, pixel: list[int]) -> None:
    assert (picture_from_raw(bytes(pixel * 6), 3, 2, name) == (BLUE, GREEN, RED)).all()


@pytest.mark.parametrize("name", ["YUV422_8", "YCbCr422_8", "YUV422_8_UYVY"])
def test_yuv_uses_the_whole_range_and_comes_out_as_bgr(name: str) -> None:
    """Equations of JFIF, which PFNC's full-range YUV and YCbCr share: video's 16 to 235 would be 20 levels off."""
    luma = 0.299 * RED + 0.587 * GREEN + 0.114 * BLUE
    u, v = 128 + (BLUE - luma) / 1.772, 128 + (RED - luma) / 1.402
    y, u, v = round(luma), round(u), round(v)
    pair = [u, y, v, y] if name.endswith("UYVY") else [y, u, y, v]
    picture = picture_from_raw(bytes(pair * 4), 4, 2, name)
    assert np.abs(picture.astype(int) - (BLUE, GREEN, RED)).max() <= 2
    grey = [128, 0, 128, 255] if name.endswith("UYVY") else [0, 128, 255, 128]
    assert picture_from_raw(bytes(grey), 2, 1, name).tolist() == [[[0, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("name", FORMATS)
def test_no_picture_shares_the_camera_s_buffer(name: str) -> None:
    buffer = np.full(FORMATS[name].bits * 8 * 6 // 8, 77, np.uint8)
    picture = picture_from_raw(buffer, 8, 6, name)
    before = picture.copy()
    buffer[:] = 200
    assert (picture == before).all()
    assert picture.flags.c_contiguous
    assert picture.flags.writeable


@pytest.mark.parametrize("name", FORMATS)
def test_a_buffer_one_byte_short_is_refused(name: str) -> None:
    size = FORMATS[name].bits * 8 * 6 // 8
    assert picture_from_raw(bytes(size), 8, 6, name).shape[:2] == (6, 8)
    with pytest.raises(CameraError, match=f"takes {size} bytes, and the buffer holds {size - 1}"):
        picture_from_raw(bytes(size - 1), 8, 6, name)


def test_bytes_after_the_last_row_are_ignored() -> None:
    assert picture_from_raw(memoryview(bytes([5] * 12 + [9] * 100)), 4, 3, "Mono8").max() == 5


def test_an_unknown_format_is_named_with_the_ones_that_there_are() -> None:
    with pytest.raises(CameraError, match=r"'Coord3D_ABC32f' cannot be read.*PixelFormat: Mono8.*BayerRG12p"):
        picture_from_raw(b"", 4, 4, "Coord3D_ABC32f")


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(CameraError, match="0x4 pixels"):
        picture_from_raw(b"", 0, 4, "Mono8")
    with pytest.raises(CameraError, match="Set an even width"):
        picture_from_raw(bytes(100), 5, 4, "YUV422_8")
    with pytest.raises(CameraError, match="8 bytes apart"):
        picture_from_raw(bytes(100), 9, 4, "Mono8", stride=8)
