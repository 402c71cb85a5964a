"""How far a heatmap's area is from overlapping the label's: the Dice loss, a picture at a time.

Milletari et al., V-Net, 3DV 2016 (squares in the denominator). Cross-entropy's mean over pixels says little of a
defect of ten pixels; a ratio of areas counts every picture's defects alike. Good pictures have no area to overlap with,
and are left to cross-entropy.
"""

from __future__ import annotations

from torch import Tensor

SMALLEST = 1.0
"""Added to both areas, in pixels: keeps the ratio of the tiniest defects from jumping."""


def overlap_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the pictures that have a label above a half somewhere; 0 without any. Both (N, h, w), labels 0..1."""
    found = logits.sigmoid().flatten(1)
    wanted = labels.flatten(1)
    both = 2 * (found * wanted).sum(1) + SMALLEST
    either = (found * found).sum(1) + (wanted * wanted).sum(1) + SMALLEST
    shows = (wanted.amax(1) > 0.5).to(logits.dtype)
    return ((1 - both / either) * shows).sum() / shows.sum().clamp(min=1)
