"""Hairlines: thin bent lines, lighter or darker than what they cross, down to a pixel wide. Scratches, cracks, fibres.

Ours. CutPaste's scars (scar.py) are two pixels wide at least, straight, and coloured as the part is elsewhere.
"""

from __future__ import annotations

import cv2
import numpy as np

from sad_train.pixels import Picture
from sad_train.synthesis.pasted import Pasted
from sad_train.synthesis.places import Mask
from sad_train.synthesis.region import drawn_place
from sad_train.synthesis.spot import shade_of

LENGTH = (0.04, 0.5)
"""As shares of the picture's side; even on a log scale, as small defects are the common ones."""
STEPS = 8
BEND = 0.35
"""Radians, standard deviation of the turn at each of the steps."""
WIDTH, THICK = (0.5, 4.0), 256
"""In pixels, at this side of the picture; never below one."""
SUBPIXEL_BITS = 4


def hairline(picture: Picture, part: Mask, rng: np.random.Generator) -> Pasted | None:
    """`picture` (H, W, C) with one line that starts on the part; None when no place for it was found."""
    start = drawn_place(part, rng)
    if start is None:
        return None
    side = min(picture.shape[:2])
    length = side * float(np.exp(rng.uniform(*np.log(LENGTH))))
    turns = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, BEND, STEPS))
    path = np.cumsum(np.stack([np.cos(turns), np.sin(turns)], 1) * length / STEPS, axis=0)
    points = np.vstack([[0.0, 0.0], path]) - path[-1] / 2 + (start[1], start[0])
    thickness = max(1, round(float(rng.uniform(*WIDTH)) * side / THICK))
    canvas = np.zeros(picture.shape[:2], np.uint8)
    fixed = np.rint(points * (1 << SUBPIXEL_BITS)).astype(np.int32)
    cv2.polylines(canvas, [fixed], False, 255, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
    alpha = canvas.astype(np.float32) / 255 * float(rng.uniform(0.4, 1.0))
    shade = shade_of(picture, start, rng)
    made = picture + alpha[..., np.newaxis] * (shade - picture.astype(np.float32))
    return Pasted(np.rint(made).astype(np.uint8), canvas > 64)
