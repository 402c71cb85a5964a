"""What the good set says of itself: object or texture, background, pose, noise floor. Replaces NSA's per-class tables.

Everything is measured on at most 64 pictures at model size; nothing here looks at a test picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_runtime.schema import Strict
from sad_train.pixels import Picture, grey, with_channel_axis
from sad_train.synthesis.foreground import Background, foreground
from sad_train.synthesis.labels import MEDIAN_PX
from sad_train.synthesis.poisson import poisson_blend

MOST_PICTURES = 64
RING = 0.04
"""Width of the border that the background is read from, as a share of the side."""
SOLID = 0.3
"""Least share of its convex hull that a part fills. What fills less is bright spots on a part as dark as its
background, and patches kept to those would miss the part: a rendered circuit board fills 0.16, four real parts 0.41 to
0.99."""


class Profile(Strict):
    """Measured from the good pictures at model size. Lengths are shares of the picture's side."""

    kind: Literal["object", "texture"]
    background_level: float | None
    background_tolerance: float | None
    foreground_share: float
    foreground_box: tuple[float, float, float, float]
    """top, left, bottom, right of the part's box, median over pictures."""
    aligned: bool
    alignment: float
    """Mean correlation of a picture with the mean of the others, -1 to 1, at 32x32."""
    noise_floor: float
    """Grey levels: 95th percentile of the smoothed change that a blend makes which shows nothing."""

    @property
    def background(self) -> Background | None:
        if self.background_level is None or self.background_tolerance is None:
            return None
        return Background(self.background_level, self.background_tolerance)

    @property
    def logistic(self) -> tuple[float, float]:
        """(k, x0) such that a change of three noise floors is labelled 0.9."""
        return math.log(9) / (2 * self.noise_floor), self.noise_floor


def measured_profile(pictures: Sequence[Picture]) -> Profile:
    """The profile of good pictures (H, W, C) of one size."""
    step = max(1, len(pictures) // MOST_PICTURES)
    some = [pictures[index] for index in range(0, len(pictures), step)][:MOST_PICTURES]
    background = _background([grey(picture) for picture in some])
    kind: Literal["object", "texture"] = "texture" if background is None else "object"
    parts = [foreground(picture, background) for picture in some]
    box = _median_box(parts)
    if float(np.median([_solidity(part) for part in parts])) < SOLID:
        background, parts = None, [np.ones_like(part) for part in parts]
    alignment = _alignment([grey(picture) for picture in some])
    return Profile(
        kind=kind,
        background_level=None if background is None else background.level,
        background_tolerance=None if background is None else background.tolerance,
        foreground_share=float(np.mean([part.mean() for part in parts])),
        foreground_box=box,
        aligned=alignment > 0.6,
        alignment=alignment,
        noise_floor=_noise_floor(some),
    )


def _background(greys: Sequence[Picture]) -> Background | None:
    """The border's grey level when the border is one even background and the middle stands out from it.

    Otsu's threshold on the distance from the border level splits part and background; it must separate them well
    (between-class variance at least 0.6 of the whole), leave nine tenths of the border on one side, and leave a part
    of between 4 and 92 % of the picture.
    """
    ring = _ring_mask(greys[0].shape)
    level = float(np.median([np.median(picture[ring]) for picture in greys]))
    distances = np.stack([np.abs(picture.astype(np.float32) - level) for picture in greys])
    as_bytes = np.minimum(distances, 255).astype(np.uint8)
    otsu, _ = cv2.threshold(as_bytes.reshape(1, -1), 0, 255, cv2.THRESH_OTSU)
    part = as_bytes > otsu
    share = float(part.mean())
    if not 0.04 < share < 0.92 or part[:, ring].mean() > 0.1:
        return None
    tolerance = (float(as_bytes[~part].max()) + float(as_bytes[part].min())) / 2  # Otsu's is the low end of a gap
    if tolerance < 8:
        return None
    between = share * (1 - share) * (distances[part].mean() - distances[~part].mean()) ** 2
    if between / max(float(distances.var()), 1e-6) < 0.6:
        return None
    return Background(level, tolerance)


def _ring_mask(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    rim = max(2, round(RING * min(shape)))
    ring = np.ones(shape, bool)
    ring[rim:-rim, rim:-rim] = False
    return ring


def _median_box(parts: Sequence[NDArray[np.bool_]]) -> tuple[float, float, float, float]:
    boxes = []
    for part in parts:
        rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
        if rows.size:
            height, width = part.shape
            boxes.append((rows[0] / height, columns[0] / width, (rows[-1] + 1) / height, (columns[-1] + 1) / width))
    if not boxes:
        return (0.0, 0.0, 1.0, 1.0)
    top, left, bottom, right = np.median(np.asarray(boxes), axis=0)
    return (float(top), float(left), float(bottom), float(right))


def _solidity(part: NDArray[np.bool_]) -> float:
    """The share of its convex hull that the part fills; 0 where there is none."""
    points = cv2.findNonZero(part.astype(np.uint8))
    if points is None:
        return 0.0
    hull = np.zeros(part.shape, np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(points), 1)
    return float(part.sum() / hull.sum())


def _alignment(greys: Sequence[Picture]) -> float:
    small = np.stack([cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA) for picture in greys]).astype(float)
    flat = small.reshape(len(small), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    flat /= np.linalg.norm(flat, axis=1, keepdims=True) + 1e-9
    total = flat.sum(axis=0)
    others = total[np.newaxis] - flat
    others /= np.linalg.norm(others, axis=1, keepdims=True) + 1e-9
    return float((flat * others).sum(axis=1).mean())


def _noise_floor(pictures: Sequence[Picture]) -> float:
    """Change left by a blend that shows nothing: each picture's own middle, one pixel aside, smoothed as labels are."""
    changes = []
    for picture in pictures:
        height, width = picture.shape[:2]
        side = min(height, width) // 2
        top, left = (height - side) // 2, (width - side) // 2
        here = picture[top : top + side, left : left + side]
        aside = with_channel_axis(picture[top : top + side, left + 1 : left + 1 + side])
        mask = np.ones((side, side), bool)
        null = poisson_blend(here, aside, mask, mixed=False)
        change = np.abs(null.astype(np.float32) - here.astype(np.float32)).mean(axis=2)
        smooth = cv2.medianBlur(np.rint(change).astype(np.uint8), MEDIAN_PX)
        changes.append(np.percentile(smooth, 95))
    return float(np.clip(np.median(changes), 3.0, 30.0))
