"""A small printed circuit board in a dark fixture: solder mask, tracks, pads, legend and components.

The drawing in `artwork.py` is laid into the picture by the board's pose; components are then placed one by
one, each with the tolerance of a placing machine. Light is elsewhere.
"""

from __future__ import annotations

import math

import numpy as np

from sad_runtime.cameras.demo.artwork import COMPONENTS, Artwork, Component, artwork_of
from sad_runtime.cameras.demo.pose import Pose, pose_from
from sad_runtime.cameras.demo.surface import (
    SUPER,
    Bgr,
    Feature,
    Plane,
    Surface,
    Window,
    as_plane,
    grid,
    noise_field,
    ramp,
)

TIN: Bgr = (0.36, 0.40, 0.42)
BODIES: dict[str, tuple[Bgr, float, float]] = {
    # body colour, gloss, height as a share of the picture's width
    "chip": ((0.030, 0.030, 0.030), 0.10, 0.012),
    "resistor": ((0.040, 0.035, 0.035), 0.12, 0.006),
    "capacitor": ((0.16, 0.27, 0.38), 0.10, 0.008),
    "can": ((0.42, 0.43, 0.43), 0.35, 0.022),
    "led": ((0.50, 0.66, 0.70), 0.25, 0.007),
    "socket": ((0.44, 0.52, 0.55), 0.08, 0.020),
}


def build(rng: np.random.Generator, size_px: int) -> Surface:
    """The fixture holds the board to 1.2 degrees and 0.8 % of the picture."""
    pose = pose_from(rng, shift=0.008, turn_deg=1.2)
    art = artwork_of(size_px)
    surface = _bare_board(rng, pose, art, size_px)
    printed = pose.moved(rng.normal(0, 0.0008), rng.normal(0, 0.0008)).warp(art.legend)
    surface.ink[...] = printed * rng.uniform(0.86, 0.96)
    for component in COMPONENTS:
        _place(surface, rng, pose, component, size_px)
    return surface


def _bare_board(rng: np.random.Generator, pose: Pose, art: Artwork, size_px: int) -> Surface:
    side = size_px * SUPER
    outline, copper, pads = (pose.warp(plane) for plane in (art.outline, art.copper, art.pads))
    weave, mottle = noise_field(rng, 120, size_px), noise_field(rng, 6, size_px)
    fixture = 0.030 + 0.003 * weave
    surface = Surface(
        albedo=np.repeat(fixture[None], 3, axis=0),
        height=outline * (0.010 * side) + copper * (0.0011 * side) + pads * (0.0006 * side) + (0.00006 * side) * weave,
        gloss=0.02 + outline * (0.10 + 0.006 * mottle) + pads * 0.30,
        ink=np.zeros((side, side), np.float32),
        cover=outline,
        ink_bgr=(0.66, 0.68, 0.68),
    )
    depth = rng.uniform(0.94, 1.06)
    green: Bgr = (0.060 * depth, 0.150 * depth, 0.030 * depth)
    surface.tint(green, outline * (1 + 0.04 * mottle + 0.03 * weave))
    surface.tint((0.085 * depth, 0.235 * depth, 0.060 * depth), copper * 0.85)
    surface.tint(TIN, pads * (1 + 0.05 * mottle))
    return surface


def _place(surface: Surface, rng: np.random.Generator, pose: Pose, component: Component, size_px: int) -> None:
    side = size_px * SUPER
    play = [rng.normal(0, 0.0012), rng.normal(0, 0.0012)]
    turn = pose.turn + math.radians(component.turn_deg + rng.normal(0, 0.7))
    shade = rng.uniform(0.95, 1.05)
    x, y = pose.place(component.x + play[0], component.y + play[1])
    radius = math.hypot(component.wide, component.high) / 2 * size_px + 2
    window = Window.around(x * size_px, y * size_px, radius, size_px)
    slices = window.slices(SUPER)
    bare = surface.cut(window)
    bare.ink *= 1 - _footprint(component, *_frame(slices, size_px, x, y, turn), side)[0]
    u, v = _frame(slices, size_px, x, y, turn)
    on, rise = _footprint(component, u, v, side)
    _mount(surface, slices, component, on, rise, u, shade)
    surface.features.append(Feature(window, max(component.wide, component.high) * size_px, bare, on > 0))


def _frame(slices: tuple[slice, slice], size_px: int, x: float, y: float, turn: float) -> tuple[Plane, Plane]:
    """(u, v) of a window's pixels along and across the component, working pixels."""
    side = size_px * SUPER
    px, py = (plane[slices] for plane in grid(size_px))
    dx, dy = px - x * side, py - y * side
    c, s = math.cos(turn), math.sin(turn)
    return c * dx + s * dy, c * dy - s * dx


def _footprint(component: Component, u: Plane, v: Plane, side: int) -> tuple[Plane, Plane]:
    """(coverage 0 to 1, rise 0 to 1 over a rounded edge)."""
    if component.kind == "can":
        inside = component.wide * side / 2 - np.hypot(u, v)
    else:
        inside = np.minimum(component.wide * side / 2 - np.abs(u), component.high * side / 2 - np.abs(v))
    edge = max(1.5, 0.12 * min(component.wide, component.high) * side)
    rise = np.clip(inside / edge, 0, 1)
    return ramp(as_plane(inside)), as_plane(rise * (2 - rise))


def _mount(
    surface: Surface,
    slices: tuple[slice, slice],
    component: Component,
    on: Plane,
    rise: Plane,
    u: Plane,
    shade: float,
) -> None:
    body, gloss, tall = BODIES[component.kind]
    side = surface.height.shape[0]
    half = component.wide * side / 2
    ends = ramp(np.abs(u) - 0.62 * half) if component.kind in ("resistor", "capacitor", "led") else np.zeros_like(u)
    for plane, colour, tin in zip(surface.albedo, body, TIN, strict=True):
        plane[slices] += on * (colour * shade + ends * (tin - colour * shade) - plane[slices])
    surface.gloss[slices] += on * (gloss + 0.3 * ends - surface.gloss[slices])
    surface.height[slices] += on * (0.25 + 0.75 * rise) * (tall * side)
    if component.kind == "can":
        surface.height[slices] -= on * ramp(np.abs(u) * -1 + 0.06 * half) * (0.004 * side)
