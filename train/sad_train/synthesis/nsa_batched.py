"""NSA examples a batch at a time, wholly on the device that the pictures lie on: the torch twin of nsa.py.

The same steps on the same recipe. What differs: 64 places are drawn for a patch instead of up to 200, ellipses do not
count when the source place is chosen, and labels are rounded off a little more (labels_batched.py). Patches are blended
in boxes of a few sides, so that a round of patches is a handful of calls; nothing is read back from the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sad_train.synthesis.draws_batched import Draws, drawn
from sad_train.synthesis.labels_batched import anomaly_labels
from sad_train.synthesis.nsa import RIM_PX, NsaRecipe
from sad_train.synthesis.places_batched import Places, chosen_places, foregrounds
from sad_train.synthesis.poisson_batched import poisson_blends

BUCKETS_PX = (16, 32, 48, 64, 96, 128, 192)
BEYOND_PX = 64
"""Sides of the boxes that patches are blended in; beyond the last, whole multiples of this."""


@dataclass(frozen=True)
class NsaBatch:
    """Anomalies of nsa.py for a whole batch."""

    pictures: Tensor
    """(N, H, W, C) uint8"""
    labels: Tensor
    """(N, H, W) float32, 0..1; all 0 where `patches` is 0."""
    patches: Tensor
    """(N,) int64"""
    dropped: Tensor
    """(N,) int64: patches for which no legal place was found."""


@dataclass
class _Canvas:
    """The batch while it is worked on, with room below and to the right that any box fits into."""

    pictures: Tensor
    touched: Tensor
    patch_px: Tensor
    """(N, H + room, W + room) int16: the smaller side of the smallest patch that touched a pixel."""
    parts: Tensor
    sources: Tensor
    """(N, H, W, C), without room."""
    source_parts: Tensor


@dataclass(frozen=True)
class _Round:
    """Patches of one bucket, at most one an example: (n,) indices and (n, 2) pixels."""

    numbers: Tensor
    cuts: Tensor
    cut_at: Tensor
    sizes: Tensor
    at: Tensor
    legal: Tensor
    centres: Tensor
    axes: Tensor
    angles: Tensor


@torch.no_grad()
def nsa_batch(destinations: Tensor, sources: Tensor, recipe: NsaRecipe, generator: torch.Generator) -> NsaBatch:
    """One example for each of `destinations` (N, H, W, C) uint8, with patches of the `sources` of the same place."""
    with torch.autocast(destinations.device.type, enabled=False):
        draws = drawn(tuple(destinations.shape), recipe, generator, destinations.device)
        parts, source_parts = (foregrounds(pictures, recipe.background) for pictures in (destinations, sources))
        places = chosen_places(parts, source_parts, draws, recipe)
        widest_px = max(draws.sizes.flatten().tolist(), default=0)
        canvas = _canvas(destinations, sources, parts, source_parts, bucket_px(widest_px))
        patches = torch.zeros(len(destinations), dtype=torch.int64, device=destinations.device)
        for side_px, members in _rounds(draws, places):
            patches[members.numbers] += _blend(canvas, members, side_px, recipe)
        height, width = destinations.shape[1:3]
        pictures, touched, patch_px = (
            whole[:, :height, :width] for whole in (canvas.pictures, canvas.touched, canvas.patch_px)
        )
        labels = anomaly_labels(destinations, pictures, touched, patch_px, recipe.label, recipe.logistic)
    attempts = draws.attempted.sum(dim=1).to(patches.device)
    return NsaBatch(pictures.contiguous(), labels, patches, attempts - patches)


def bucket_px(side_px: int) -> int:
    """The side of the box that a patch of this greater side is blended in."""
    fitting = [bucket for bucket in BUCKETS_PX if bucket >= side_px]
    return fitting[0] if fitting else -(-side_px // BEYOND_PX) * BEYOND_PX


def _canvas(destinations: Tensor, sources: Tensor, parts: Tensor, source_parts: Tensor, room_px: int) -> _Canvas:
    room = (0, room_px, 0, room_px)
    wide_parts = F.pad(parts, room)
    return _Canvas(
        pictures=F.pad(destinations, (0, 0, *room)),
        touched=torch.zeros_like(wide_parts),
        patch_px=torch.full(wide_parts.shape, torch.iinfo(torch.int16).max, dtype=torch.int16, device=parts.device),
        parts=wide_parts,
        sources=sources,
        source_parts=source_parts,
    )


def _rounds(draws: Draws, places: Places) -> Iterator[tuple[int, _Round]]:
    """First patches first, each bucket by itself: no example twice in one round."""
    device = places.legal.device
    cuts, sizes = draws.cuts.to(device), draws.sizes.to(device)
    for turn in range(draws.attempted.shape[1]):
        sides = draws.sizes[:, turn].amax(dim=1).tolist()
        buckets = [bucket_px(side) if tried else 0 for side, tried in zip(sides, draws.attempted[:, turn], strict=True)]
        for side_px in sorted({*buckets} - {0}):
            chosen = torch.tensor([at for at, bucket in enumerate(buckets) if bucket == side_px], device=device)
            yield (
                side_px,
                _Round(
                    numbers=chosen,
                    cuts=cuts[chosen, turn],
                    cut_at=places.source[chosen, turn],
                    sizes=sizes[chosen, turn],
                    at=places.destination[chosen, turn],
                    legal=places.legal[chosen, turn],
                    centres=draws.centres[chosen, turn],
                    axes=draws.axes[chosen, turn],
                    angles=draws.angles[chosen, turn],
                ),
            )


def _blend(canvas: _Canvas, members: _Round, side_px: int, recipe: NsaRecipe) -> Tensor:
    """Changes the canvas in place; (n,) int64, 1 for each patch that was made."""
    steps = torch.arange(side_px, device=members.numbers.device)
    within = _between(steps, torch.zeros_like(members.sizes), members.sizes)
    at = _flat(canvas.parts.shape, members.numbers, members.at[:, :1] + steps, members.at[:, 1:] + steps)
    inside = within if recipe.shape == "box" else within & _outline(members, steps)
    patch, patch_part = _patch(canvas, members, steps)
    patch_part &= inside
    flat_parts, flat_pictures = canvas.parts.flatten(), canvas.pictures.flatten(0, 2)
    here, part = flat_pictures[at], flat_parts[at] & within
    either = patch_part | part
    changed = either & inside
    made = members.legal & _allowed(patch_part, part, inside, changed, recipe)
    changed &= made[:, None, None]
    if recipe.gradients == "swap":
        after = torch.where(changed[..., None], patch, here)
    else:
        rim = (members.sizes // 4).clamp(1, RIM_PX)
        mask = _between(steps, rim, members.sizes - rim) & (inside | ~either) & made[:, None, None]
        target, guide = here.permute(0, 3, 1, 2).float(), patch.permute(0, 3, 1, 2).float()
        blended = poisson_blends(target, guide, mask, members.sizes, mixed=recipe.gradients == "mixed")
        after = blended.permute(0, 2, 3, 1).to(torch.uint8)
    flat_pictures[at] = after
    flat_touched, flat_px = canvas.touched.flatten(), canvas.patch_px.flatten()
    flat_touched[at] |= changed
    smaller = members.sizes.amin(dim=1).to(torch.int16)[:, None, None]
    flat_px[at] = torch.where(changed, flat_px[at].minimum(smaller), flat_px[at])
    return made.long()


def _allowed(patch_part: Tensor, part: Tensor, inside: Tensor, changed: Tensor, recipe: NsaRecipe) -> Tensor:
    """(n,) bool: what the recipe asks of a place, counted on every pixel."""
    own, overlap, outline, pixels = (mask.sum(dim=(1, 2)) for mask in (patch_part, patch_part & part, inside, changed))
    allowed = (overlap > recipe.min_overlap * own) & (pixels >= recipe.min_changed_px)
    if recipe.min_object_of == "source":
        allowed &= own > recipe.min_object * outline
    return allowed


def _patch(canvas: _Canvas, members: _Round, steps: Tensor) -> tuple[Tensor, Tensor]:
    """The cuts resized into boxes (n, B, B, C) uint8, as `cv2.resize` does; their parts (n, B, B) by nearest pixel."""
    flat = canvas.sources.flatten(0, 2)
    corners, weights, nearest = [], [], []
    for axis in (0, 1):
        length, scale = members.cuts[:, axis, None], (members.cuts / members.sizes)[:, axis, None]
        place = ((steps + 0.5) * scale - 0.5).clamp(min=0).minimum(length - 1)
        low = place.long()
        first = members.cut_at[:, axis, None]
        corners.append((first + low, first + (low + 1).minimum(length - 1)))
        weights.append(place - low)
        nearest.append(first + (steps * scale).long().minimum(length - 1))
    down, across = weights[0][:, :, None, None], weights[1][:, None, :, None]

    def row(y: Tensor) -> Tensor:
        left, right = (flat[_flat(canvas.source_parts.shape, members.numbers, y, x)].float() for x in corners[1])
        return left + (right - left) * across

    upper, lower = (row(y) for y in corners[0])
    patch = (upper + (lower - upper) * down).round_().to(torch.uint8)
    part = canvas.source_parts.flatten()[_flat(canvas.source_parts.shape, members.numbers, *nearest)]
    return patch, part


def _outline(members: _Round, steps: Tensor) -> Tensor:
    """(n, B, B) True within any of a patch's ellipses."""
    scale = members.cuts / members.sizes
    y, x = ((steps + 0.5) * scale[:, axis, None] - 0.5 for axis in (0, 1))
    down = y[:, None, :, None] - members.centres[:, :, 0, None, None]
    right = x[:, None, None, :] - members.centres[:, :, 1, None, None]
    cos, sin = torch.cos(members.angles)[:, :, None, None], torch.sin(members.angles)[:, :, None, None]
    along = (down * cos + right * sin) / members.axes[:, :, 0, None, None]
    aside = (right * cos - down * sin) / members.axes[:, :, 1, None, None]
    return (along**2 + aside**2 <= 1).any(dim=1)


def _between(steps: Tensor, first: Tensor, end: Tensor) -> Tensor:
    """(n, B, B) True where both coordinates lie in first <= step < end; bounds (n, 2)."""
    rows, columns = ((steps >= first[:, axis, None]) & (steps < end[:, axis, None]) for axis in (0, 1))
    return rows[:, :, None] & columns[:, None, :]


def _flat(shape: torch.Size, numbers: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(n, B, B) indices into a flattened (N, H, W) for rows and columns (n, B)."""
    _, height, width = shape
    return (numbers[:, None, None] * height + rows[:, :, None]) * width + columns[:, None, :]
