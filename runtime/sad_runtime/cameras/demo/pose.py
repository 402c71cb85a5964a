"""Where a part lies in the picture: a shift and a turn, within the tolerance of its fixture."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_runtime.cameras.demo.surface import Plane, as_plane


@dataclass(frozen=True)
class Pose:
    """A turn about the picture's centre (radians, clockwise as seen), then a shift (shares of the width)."""

    turn: float
    shift_x: float
    shift_y: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the drawing lands in the picture. Both in shares of the width, 0 to 1."""
        c, s = math.cos(self.turn), math.sin(self.turn)
        u, v = x - 0.5, y - 0.5
        return 0.5 + c * u - s * v + self.shift_x, 0.5 + s * u + c * v + self.shift_y

    def moved(self, x: float, y: float) -> Pose:
        return Pose(self.turn, self.shift_x + x, self.shift_y + y)

    def warp(self, stencil: NDArray[np.uint8]) -> Plane:
        """(H, W) stencil, 0 to 255 -> (H, W) coverage 0 to 1 as it lies in the picture; 0 outside it."""
        rows, columns = stencil.shape
        ox, oy = self.place(0, 0)
        c, s = math.cos(self.turn), math.sin(self.turn)
        # warpAffine counts from pixel centres, a drawing from its corner: half a pixel of difference.
        x = ox * columns + 0.5 * (c - s - 1)
        y = oy * rows + 0.5 * (s + c - 1)
        matrix = np.array([[c, -s, x], [s, c, y]], dtype=np.float32)
        return as_plane(as_plane(cv2.warpAffine(stencil, matrix, (columns, rows))) * np.float32(1 / 255))


def pose_from(rng: np.random.Generator, *, shift: float, turn_deg: float) -> Pose:
    """A pose within `shift` (share of the width) each way and `turn_deg` either way."""
    turn = math.radians(rng.uniform(-turn_deg, turn_deg))
    return Pose(turn, rng.uniform(-shift, shift), rng.uniform(-shift, shift))
