"""Capital letters and figures as pen strokes, for markings and legends.

OpenCV's own text changed its looks between versions 4 and 5; these strokes do not.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

ADVANCE = 0.80
"""From one letter to the next, in letter heights."""
FINE = 4
"""Bits of sub-pixel position that OpenCV draws with."""

# Pen strokes on a grid of columns 0 to 4 and rows 0 (top) to 6 (foot line), two figures a point.
STROKES: dict[str, str] = {
    "0": "103041453616050110",
    "1": "112026 1636",
    "2": "011030414206 0646",
    "3": "01103041423313 3344453616 1605",
    "4": "3630040444",
    "5": "400003334445361605",
    "6": "403011051636454433130405",
    "7": "00404016",
    "9": "063645413010010213334241",
    "A": "062046 1434",
    "C": "4130100105163645",
    "D": "00063645413000",
    "E": "40000646 0333",
    "I": "2026",
    "L": "000646",
    "M": "0600234046",
    "N": "06004640",
    "R": "0600304142330333 2346",
    "S": "413010010213334445361605",
    "T": "0040 2026",
    "U": "000516364540",
    "V": "002640",
    "-": "1333",
    " ": "",
}


def write(stencil: NDArray[np.uint8], words: str, centre: tuple[float, float], high_px: float, thick_px: int) -> None:
    """Draws 255 on a (H, W) stencil. `centre` (x, y) of the words, in pixels."""
    wide = (len(words) - 1) * ADVANCE * high_px + 4 / 6 * high_px
    left, top = centre[0] - wide / 2, centre[1] - high_px / 2
    for place, letter in enumerate(words):
        for stroke in STROKES[letter].split():
            points = np.array([int(figure) for figure in stroke], np.float64).reshape(-1, 2) * (high_px / 6)
            points += (left + place * ADVANCE * high_px, top)
            path = np.rint(points * (1 << FINE)).astype(np.int32)
            cv2.polylines(stencil, [path], False, (255,), thick_px, cv2.LINE_AA, FINE)
