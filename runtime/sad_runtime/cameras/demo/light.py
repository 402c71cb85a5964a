"""One lamp and a dome over the part: turns a `Surface` into the light that reaches the lens.

Diffuse and Blinn-Phong terms, a streak term for turned or brushed metal (Kajiya and Kay 1989), and a soft
shadow on the far side of whatever stands up. Lens, exposure and noise are in `sensor.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from sad_runtime.cameras.demo.surface import SUPER, Plane, Surface, as_plane

GLOSS_SHARPNESS = 38.0
STREAK_SHARPNESS = 70.0


@dataclass(frozen=True)
class Light:
    """Where the lamp stands and how strong it is. Angles in radians, azimuth in picture axes (y down)."""

    azimuth: float
    elevation: float
    lamp: float
    dome: float
    reach: int
    """Length of the shadows' blur, in working pixels."""

    @property
    def towards(self) -> tuple[float, float, float]:
        """Unit vector from the part to the lamp, z towards the camera."""
        flat = math.cos(self.elevation)
        return flat * math.cos(self.azimuth), flat * math.sin(self.azimuth), math.sin(self.elevation)

    @property
    def halfway(self) -> tuple[float, float, float]:
        """Unit vector halfway between lamp and camera."""
        x, y, z = self.towards
        length = math.hypot(x, y, z + 1)
        return x / length, y / length, (z + 1) / length

    @property
    def margin_px(self) -> int:
        """How far, in picture pixels, a change of shape can change the picture."""
        return (2 * self.reach) // SUPER + 3


def light_from(rng: np.random.Generator, size_px: int) -> Light:
    """The lamp of one picture: the station's bracket, with the play that a real one has."""
    return Light(
        azimuth=math.radians(-125 + rng.uniform(-22, 22)),
        elevation=math.radians(54 + rng.uniform(-5, 5)),
        lamp=rng.uniform(0.95, 1.05),
        dome=rng.uniform(0.40, 0.50),
        reach=max(2, round(0.016 * size_px * SUPER)),
    )


def shade(surface: Surface, light: Light) -> Plane:
    """(3, H, W) light towards the camera, linear; 1 is a white sheet under lamp and dome."""
    slope_x = _slope(surface.height, 1, 0)
    slope_y = _slope(surface.height, 0, 1)
    upright = as_plane(1 / np.sqrt(1 + slope_x * slope_x + slope_y * slope_y))
    lit = light.lamp * (1 - 0.75 * _shadow(surface.height, light))
    diffuse = lit * np.maximum(_facing(slope_x, slope_y, upright, light.towards), 0)
    diffuse += light.dome * (0.4 + 0.6 * upright)
    bare = 1 - surface.ink
    shine = lit * bare * _shine(surface, light, _facing(slope_x, slope_y, upright, light.halfway))
    radiance = np.empty(surface.albedo.shape, np.float32)
    for out, albedo, ink in zip(radiance, surface.albedo, surface.ink_bgr, strict=True):
        np.multiply(albedo * bare + ink * surface.ink, diffuse, out=out)
        out += shine
    return radiance


def _slope(height: Plane, dx: int, dy: int) -> Plane:
    border = cv2.BORDER_REPLICATE
    slope = cv2.Sobel(height, cv2.CV_32F, dx, dy, ksize=1, scale=0.5, borderType=border)
    return as_plane(slope)


def _facing(slope_x: Plane, slope_y: Plane, upright: Plane, to: tuple[float, float, float]) -> Plane:
    """Cosine between the surface and a direction."""
    return as_plane((to[2] - to[0] * slope_x - to[1] * slope_y) * upright)


def _shine(surface: Surface, light: Light, facing: Plane) -> Plane:
    shine = surface.gloss * _exp(GLOSS_SHARPNESS * (facing - 1))
    if surface.grain is None:
        return shine
    along_x, along_y, strength = surface.grain
    x, y, _ = light.halfway
    along = along_x * x + along_y * y
    return as_plane(shine + strength * _exp(-STREAK_SHARPNESS * along * along) * facing)


def _shadow(height: Plane, light: Light) -> Plane:
    """0 in the open, 1 where the ground towards the lamp stands well above this pixel."""
    wide = 2 * (light.reach // 2) + 1
    around = cv2.blur(height, (wide, wide), borderType=cv2.BORDER_REPLICATE)
    x, y, _ = light.towards
    flat = math.hypot(x, y)
    step_x, step_y = round(light.reach * 0.7 * x / flat), round(light.reach * 0.7 * y / flat)
    move = np.array([[1, 0, -step_x], [0, 1, -step_y]], dtype=np.float32)
    rows, columns = height.shape
    lampward = cv2.warpAffine(around, move, (columns, rows), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return as_plane(np.clip((as_plane(lampward) - height) * (1.6 / light.reach), 0, 1))


def _exp(plane: Plane) -> Plane:
    return as_plane(cv2.exp(plane))
