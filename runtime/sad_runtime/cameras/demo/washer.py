"""A turned steel washer with six bolt holes, an index dot and a laser mark, lying on a conveyor belt.

A washer is a solid of revolution: height, colour and tool marks are curves over the radius, looked up for
every pixel. Holes are drilled into it afterwards, each in its own window. Light is elsewhere.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sad_runtime.cameras.demo.lettering import write
from sad_runtime.cameras.demo.pose import Pose, pose_from
from sad_runtime.cameras.demo.surface import SUPER, Feature, Plane, Surface, Window, as_plane, grid, noise_field, ramp

# Lengths are shares of the picture's width.
OUTER, BORE, THICKNESS, CHAMFER = 0.41, 0.145, 0.018, 0.014
PITCH_CIRCLE, HOLE, DOT = 0.285, 0.042, 0.013
BELT_GLOSS = 0.035
STEPS = 4
"""Entries of a radial curve per working pixel."""


def build(rng: np.random.Generator, size_px: int) -> Surface:
    """A locating pin holds the washer to 4 degrees and 1.2 % of the picture."""
    pose = pose_from(rng, shift=0.012, turn_deg=4)
    surface = _belt(rng, size_px)
    _turn(surface, rng, *pose.place(0.5, 0.5), size_px)
    surface.ink[...] = pose.warp(_mark(size_px)) * rng.uniform(0.80, 0.95)
    for turn in range(6):
        _drill(surface, pose, size_px, PITCH_CIRCLE, math.radians(60 * turn) + rng.normal(0, 0.003), HOLE)
    _drill(surface, pose, size_px, 0.19, math.radians(90), DOT)
    return surface


def _belt(rng: np.random.Generator, size_px: int) -> Surface:
    """Dark ribbed rubber. The belt stops anywhere, so the ribs' phase is free."""
    side = size_px * SUPER
    _, y = grid(size_px)
    pitch, phase = 0.026 * side, rng.uniform(0, 2 * math.pi)
    wave = np.sin(y[:, 0] * (2 * math.pi / pitch) + phase).astype(np.float32)
    speckle = noise_field(rng, 192, size_px)
    height = (0.12 * pitch * wave)[:, None] + (0.0002 * side) * speckle
    tone = 0.052 + 0.006 * speckle + 0.004 * noise_field(rng, 9, size_px)
    return Surface(
        albedo=tone * np.array([1.08, 1.04, 0.92], np.float32)[:, None, None],
        height=height,
        gloss=np.full((side, side), BELT_GLOSS, np.float32),
        ink=np.zeros((side, side), np.float32),
        cover=np.zeros((side, side), np.float32),
        ink_bgr=(0.05, 0.05, 0.055),
        grain=np.zeros((3, side, side), np.float32),
    )


def _turn(belt: Surface, rng: np.random.Generator, x: float, y: float, size_px: int) -> None:
    """Lays the turned ring over the belt, centre at a share of the width."""
    side = size_px * SUPER
    box = Window.around(x * size_px, y * size_px, OUTER * size_px + 2, size_px).slices(SUPER)
    surface = belt.view(box)
    px, py = (plane[box] for plane in grid(size_px))
    dx, dy = px - x * side, py - y * side
    radius = np.sqrt(dx * dx + dy * dy)
    step = (radius * STEPS).astype(np.intp)
    at = as_plane((np.arange(step.max() + 1) + 0.5) / STEPS)
    cover = as_plane(ramp(OUTER * side - at) * ramp(at - BORE * side))
    chamfer = CHAMFER * side
    rise = np.minimum(np.clip((OUTER * side - at) / chamfer, 0, 1), np.clip((at - BORE * side) / chamfer, 0, 1))
    marks = _tool_marks(rng, at, side)
    mottle = noise_field(rng, 12, size_px)[box]
    on = np.take(cover, step)
    surface.cover[...] = on
    shape = THICKNESS * side * (0.45 + 0.55 * rise) + 0.0002 * side * marks
    surface.height += on * (np.take(shape, step) - surface.height)
    surface.tint((0.215, 0.210, 0.205), on * (1 + 0.03 * mottle))
    surface.gloss += on * (0.30 - BELT_GLOSS)
    assert surface.grain is not None
    away = np.maximum(radius, 1)
    np.divide(-dy, away, out=surface.grain[0])
    np.divide(dx, away, out=surface.grain[1])
    polish = rng.uniform(0.34, 0.40)
    curve = polish * (1 + 0.22 * marks) * cover * rise
    np.multiply(np.take(curve, step), 1 + 0.05 * mottle, out=surface.grain[2])


def _tool_marks(rng: np.random.Generator, at: Plane, side: int) -> Plane:
    """One groove per turn of the lathe, never twice the same: the phase is free and the depth wanders."""
    feed = side * rng.uniform(0.0135, 0.0145)
    grooves = np.sin(at * (2 * math.pi / feed) + rng.uniform(0, 2 * math.pi)).astype(np.float32)
    coarse = rng.standard_normal(120, dtype=np.float32)
    where = np.linspace(0, 119, len(at), dtype=np.float32)
    chatter = np.interp(where, np.arange(120), coarse).astype(np.float32)
    return as_plane(0.55 * grooves + 0.45 * chatter)


@lru_cache(maxsize=4)
def _mark(size_px: int) -> NDArray[np.uint8]:
    """The laser mark of an unturned washer, 0 to 255."""
    side = size_px * SUPER
    stencil = np.zeros((side, side), np.uint8)
    write(stencil, "M24 A2", (side / 2, (0.5 - PITCH_CIRCLE) * side), 0.026 * side, max(1, round(side / 300)))
    return stencil


def _drill(surface: Surface, pose: Pose, size_px: int, out: float, angle: float, hole: float) -> None:
    """A through hole with a small countersink. `out` from the centre and `hole` radius: shares of the width."""
    side = size_px * SUPER
    x, y = pose.place(0.5 + out * math.cos(angle), 0.5 + out * math.sin(angle))
    window = Window.around(x * size_px, y * size_px, hole * 1.35 * size_px + 2, size_px)
    slices = window.slices(SUPER)
    bare = surface.cut(window)
    px, py = (plane[slices] for plane in grid(size_px))
    away = np.hypot(px - x * side, py - y * side)
    radius = hole * side
    sink = np.clip((1.3 * radius - away) / (0.3 * radius), 0, 1)
    surface.height[slices] -= sink * (0.006 * side)
    through = ramp(radius - away)
    surface.height[slices] *= 1 - through
    for plane in surface.albedo:
        plane[slices] += through * (0.030 - plane[slices])
    surface.gloss[slices] *= 1 - 0.9 * through
    surface.cover[slices] *= 1 - through
    assert surface.grain is not None
    surface.grain[2][slices] *= (1 - through) * (1 - 0.5 * sink)
    surface.ink[slices] *= 1 - through
    surface.features.append(Feature(window, 2 * hole * size_px, bare, away < 1.35 * radius))
