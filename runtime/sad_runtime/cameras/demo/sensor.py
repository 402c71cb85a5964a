"""Lens and camera: from light at working resolution to 8-bit pictures.

Everything up to `levels` is without noise, so that a picture and its good twin can be compared exactly;
`photograph` adds shot noise and read noise last.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_runtime.cameras.demo.light import Light
from sad_runtime.cameras.demo.surface import SUPER, Bgr, Plane, Window, as_plane

SHOT_NOISE = 1.3e-4
"""Variance per unit of linear light: about 7700 electrons at white."""
READ_NOISE = 0.0018
"""Spread in linear light."""


@dataclass(frozen=True)
class Camera:
    """Exposure and optics of one picture."""

    field: Plane
    """(H, W) share of light that arrives, picture pixels: exposure, vignette and the lamp's fall-off."""
    balance: Bgr
    blur_px: float

    def expose(self, radiance: Plane, window: Window) -> Plane:
        """(3, SUPER h, SUPER w) light under a window of the picture -> (h, w, 3) linear light, no noise."""
        size = (window.right - window.left, window.bottom - window.top)
        field = self.field[window.slices()]
        planes = [
            as_plane(cv2.resize(plane, size, interpolation=cv2.INTER_AREA)) * (field * gain)
            for plane, gain in zip(radiance, self.balance, strict=True)
        ]
        flat = cv2.merge(planes)
        blurred = cv2.GaussianBlur(flat, (3, 3), self.blur_px, borderType=cv2.BORDER_REPLICATE)
        return as_plane(blurred)


def camera_from(rng: np.random.Generator, light: Light, size_px: int) -> Camera:
    """A locked camera still drifts: exposure by 8 %, white balance by 2 %, focus by a fraction of a pixel."""
    exposure = 0.95 * math.exp(rng.uniform(-0.08, 0.08))
    vignette, falloff = rng.uniform(0.10, 0.25), rng.uniform(0.03, 0.12)
    side = (np.arange(size_px, dtype=np.float32) + 0.5) / size_px - 0.5
    x, y, _ = light.towards
    across = 1 + falloff * (x * side[None, :] + y * side[:, None])
    dim = 1 - vignette * 2 * (side[None, :] ** 2 + side[:, None] ** 2)
    field = (exposure * across * dim).astype(np.float32)
    blue, red = rng.uniform(0.98, 1.02), rng.uniform(0.98, 1.02)
    blur_px = rng.uniform(0.45, 0.60) * max(1.0, size_px / 512)
    return Camera(field=field, balance=(blue, 1.0, red), blur_px=blur_px)


def levels(linear: Plane) -> Plane:
    """Linear light -> grey levels 0 to 255, float32, through a square-root tone curve."""
    return as_plane(255 * np.sqrt(np.clip(linear, 0, 1)))


def photograph(linear: Plane, rng: np.random.Generator) -> NDArray[np.uint8]:
    """(H, W, 3) linear light -> (H, W, 3) uint8 with shot and read noise."""
    spread = np.sqrt(SHOT_NOISE * linear + np.float32(READ_NOISE**2))
    noisy = linear + spread * rng.standard_normal(linear.shape, dtype=np.float32)
    return np.rint(levels(noisy)).astype(np.uint8)


def margin_px(light: Light) -> int:
    """How far a change of the part can reach in the picture: shadows, then the lens."""
    return light.margin_px + SUPER
