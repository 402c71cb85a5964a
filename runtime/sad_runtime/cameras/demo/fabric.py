"""A 2/2 twill that fills the picture: blue warp over undyed weft, each yarn a little different.

Heights follow the yarns over and under each other; whichever yarn is higher is seen. Stretches of warp yarn
are kept as features, so that one can be missing and the weft beneath it shows. Light is elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sad_runtime.cameras.demo.pose import pose_from
from sad_runtime.cameras.demo.surface import SUPER, Bgr, Feature, Plane, Surface, Window, grid, noise_field

YARNS = 34
"""Yarns across the picture."""
STRETCHES_PX = (3.5, 6.0, 10.0, 17.0, 28.0, 42.0)
"""Lengths of the stretches of yarn that can be missing, for a picture of 256."""


@dataclass(frozen=True)
class Yarns:
    """One set of parallel yarns. Planes (H, W)."""

    height: Plane
    tone: Plane


def build(rng: np.random.Generator, size_px: int) -> Surface:
    side = size_px * SUPER
    across, along = _threads(rng, size_px)
    column, row = np.floor(across), np.floor(along)
    fibre = noise_field(rng, 230, size_px)
    pitch = side / YARNS
    warp = _yarns(rng, across - column, (along + column) * (math.pi / 2), column, fibre)
    weft = _yarns(rng, along - row, (across + row) * (math.pi / 2) + math.pi, row, fibre)
    surface = Surface(
        albedo=np.empty((3, side, side), np.float32),
        height=np.empty((side, side), np.float32),
        gloss=np.full((side, side), 0.03, np.float32),
        ink=np.zeros((side, side), np.float32),
        cover=np.ones((side, side), np.float32),
        ink_bgr=(0.0, 0.0, 0.0),
    )
    dye = (rng.uniform(0.30, 0.33), rng.uniform(0.150, 0.165), rng.uniform(0.088, 0.098))
    _dress(surface, warp, weft, dye, pitch)
    for stretch in STRETCHES_PX:
        at = _seen_yarn(rng, warp.height > weft.height)
        surface.features.append(_stretch(surface, weft, across, along, at, stretch * size_px / 256))
    return surface


def _threads(rng: np.random.Generator, size_px: int) -> tuple[Plane, Plane]:
    """(across, along) each pixel's place counted in yarns; the loom is never quite square nor quite even."""
    pose = pose_from(rng, shift=0.5, turn_deg=1.5)
    x, y = grid(size_px)
    per_px = YARNS / (size_px * SUPER)
    c, s = math.cos(pose.turn) * per_px, math.sin(pose.turn) * per_px
    pull_x, pull_y = rng.uniform(0.985, 1.015), rng.uniform(0.985, 1.015)
    wander = 0.10 * noise_field(rng, 14, size_px)
    sway = 0.10 * noise_field(rng, 14, size_px)
    across = pull_x * (c * x + s * y) + (YARNS * pose.shift_x) + wander
    along = pull_y * (c * y - s * x) + (YARNS * pose.shift_y) + sway
    # Yarn numbers index tables below, so they start well above zero.
    return across + YARNS, along + YARNS


def _yarns(rng: np.random.Generator, place: Plane, wave: Plane, number: Plane, fibre: Plane) -> Yarns:
    """`place` 0 to 1 across a yarn, `wave` the phase of its way over and under, `number` which yarn it is."""
    tones = (1 + 0.045 * rng.standard_normal(4 * YARNS)).astype(np.float32)
    girths = (1 + 0.05 * rng.standard_normal(4 * YARNS)).astype(np.float32)
    which = number.astype(np.int32) % (4 * YARNS)
    off = 2 * place - 1
    round_ = 1 - 0.85 * off * off
    height = round_ * girths[which] + 0.75 * np.sin(wave) + 0.06 * fibre
    return Yarns(height=height, tone=tones[which] * (1 + 0.10 * fibre) * (0.72 + 0.28 * round_))


def _dress(surface: Surface, warp: Yarns, weft: Yarns, dye: Bgr, pitch: float) -> None:
    over = np.clip((warp.height - weft.height) * 4 + 0.5, 0, 1)
    surface.height[...] = np.maximum(warp.height, weft.height) * (0.20 * pitch)
    blue = over * warp.tone
    white = (1 - over) * weft.tone
    for plane, dyed, undyed in zip(surface.albedo, dye, (0.50, 0.53, 0.55), strict=True):
        np.multiply(blue, dyed, out=plane)
        plane += undyed * white


def _seen_yarn(rng: np.random.Generator, over: NDArray[np.bool_]) -> tuple[int, int]:
    """(row, column) in working pixels of a place where the warp lies on top."""
    side = len(over)
    for _ in range(64):
        at = int(rng.uniform(0.15, 0.85) * side), int(rng.uniform(0.15, 0.85) * side)
        if over[at]:
            return at
    raise AssertionError("a twill shows its warp on half of its face")


def _stretch(
    surface: Surface, weft: Yarns, across: Plane, along: Plane, at: tuple[int, int], span_px: float
) -> Feature:
    """One warp yarn over `span_px` around a working pixel, and the weft that would be seen without it."""
    size_px = len(surface.height) // SUPER
    y, x = (place / SUPER for place in at)
    pitch_px = size_px / YARNS
    window = Window.around(x, y, span_px / 2 + 1.5 * pitch_px, size_px)
    slices = window.slices(SUPER)
    same_yarn = np.floor(across[slices]) == math.floor(across[at])
    touched = same_yarn & (np.abs(along[slices] - along[at]) * pitch_px < span_px / 2)
    bare = surface.cut(window)
    bare.height[...] = weft.height[slices] * (0.20 * pitch_px * SUPER) - 0.1 * pitch_px * SUPER
    shade = weft.tone[slices] * 0.75
    for plane, undyed in zip(bare.albedo, (0.50, 0.53, 0.55), strict=True):
        np.multiply(shade, undyed, out=plane)
    return Feature(window, span_px, bare, touched)
