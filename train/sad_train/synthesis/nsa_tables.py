"""The constants of the NSA paper for the 15 classes of MVTec AD, to reproduce its figures (`--preset paper`).

Source: the authors' code, self-supervised task configuration (hmsch/natural-synthetic-anomalies, MIT).
Bounds are half-sizes as shares of the side; `background` is (grey level, tolerance); `logistic` is (k, x0).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PaperClass:
    logistic: tuple[float, float]
    half_height: tuple[float, float] = (0.03, 0.40)
    half_width: tuple[float, float] = (0.03, 0.40)
    background: tuple[float, float] | None = None
    min_object: float = 0.7
    texture: bool = False
    aligned: bool = True
    max_patches: int = 3
    epochs: int = 320


WHITE = (200.0, 60.0)
BLACK = (20.0, 20.0)

PAPER_CLASSES: dict[str, PaperClass] = {
    "bottle": PaperClass((1 / 12, 24), background=WHITE),
    "cable": PaperClass((1 / 12, 24), half_height=(0.05, 0.40), half_width=(0.05, 0.40)),
    "capsule": PaperClass((1 / 2, 4), half_height=(0.03, 0.15), background=WHITE),
    "carpet": PaperClass((1 / 3, 7), texture=True, max_patches=4),
    "grid": PaperClass((1 / 3, 7), texture=True, max_patches=4),
    "hazelnut": PaperClass((1 / 12, 24), half_height=(0.03, 0.35), background=BLACK, aligned=False, epochs=560),
    "leather": PaperClass((1 / 3, 7), texture=True, max_patches=4),
    "metal_nut": PaperClass((1 / 3, 7), background=BLACK, min_object=0.5, aligned=False, epochs=560),
    "pill": PaperClass((1 / 3, 7), half_height=(0.03, 0.20), background=BLACK),
    "screw": PaperClass(
        (1, 3),
        half_height=(0.03, 0.12),
        half_width=(0.03, 0.12),
        background=WHITE,
        min_object=0.5,
        aligned=False,
        max_patches=4,
        epochs=560,
    ),
    "tile": PaperClass((1 / 3, 7), texture=True, max_patches=4),
    "toothbrush": PaperClass((1 / 6, 15), half_width=(0.03, 0.20), background=BLACK, min_object=0.25),
    "transistor": PaperClass((1 / 6, 15)),
    "wood": PaperClass((1 / 6, 15), texture=True, max_patches=4),
    "zipper": PaperClass((1 / 6, 15), half_width=(0.03, 0.20), background=WHITE, max_patches=4),
}
