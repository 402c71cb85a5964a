"""Counts pixels above a ladder of cuts, picture by picture, so that a test set of any size fits in memory.

What is kept of a picture is its heatmap at model size (float32) and its mask as bits; the heatmap is enlarged to the
picture's size only while that picture is counted. 100 pictures of 1000x1000 judged at 256x256 take 26 MB of heatmaps
and 12.5 MB of masks, and under 40 MB more while counting.

The cuts are the heatmap values themselves where there are at most MAX_CUTS different ones (then every figure is exact
for heatmaps that are not enlarged); else ranks of them, even over all values and dense at the top. Pixels between two
cuts count as tied: on a million pixels and more that moves AUROC and AUPRO by less than 0.0001, AP by less than 0.0005
(measured: 0.0000002 and 0.0002).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

MAX_CUTS = 65536
MAX_SAMPLED = 2**25


@dataclass(frozen=True)
class JudgedMap:
    """A heatmap and the truth about its picture, at the size (height_px, width_px) the truth is held at."""

    heatmap: NDArray[np.float32]
    """(h, w) as the model gave it."""
    height_px: int
    width_px: int
    truth: NDArray[np.uint8] | None
    """The mask as packed bits; None for a good picture."""

    def values(self) -> NDArray[np.float32]:
        """(height_px, width_px): the heatmap enlarged (or reduced) bilinearly."""
        if self.heatmap.shape == (self.height_px, self.width_px):
            return self.heatmap
        resized = cv2.resize(self.heatmap, (self.width_px, self.height_px), interpolation=cv2.INTER_LINEAR)
        return np.asarray(resized, dtype=np.float32)

    def mask(self) -> NDArray[np.bool_]:
        """(height_px, width_px)"""
        count = self.height_px * self.width_px
        if self.truth is None:
            return np.zeros((self.height_px, self.width_px), bool)
        return np.unpackbits(self.truth, count=count).astype(bool).reshape(self.height_px, self.width_px)


def judged_map(heatmap: NDArray[np.float32], mask: NDArray[np.bool_] | None, shape: tuple[int, int]) -> JudgedMap:
    """`mask` (height, width) of `shape`; None says that the picture is good."""
    if mask is not None and mask.shape != shape:
        raise ValueError(f"the mask is {mask.shape}, the picture {shape}")
    return JudgedMap(heatmap, shape[0], shape[1], None if mask is None else np.packbits(mask))


@dataclass
class PixelCounts:
    """Over some pictures: pixels at or above each of the K cuts (ascending). Counts of pictures add up."""

    good: NDArray[np.int64]
    """(K,) pixels outside every mask."""
    defect: NDArray[np.int64]
    """(K,) pixels inside a mask."""
    overlap: NDArray[np.float64]
    """(K,) sum over connected defects of the share of each that is covered."""
    defects: int
    """How many connected defects there are."""

    def add(self, other: PixelCounts) -> None:
        self.good += other.good
        self.defect += other.defect
        self.overlap += other.overlap
        self.defects += other.defects


def no_counts(cuts: int) -> PixelCounts:
    return PixelCounts(np.zeros(cuts, np.int64), np.zeros(cuts, np.int64), np.zeros(cuts), 0)


def counts_of(judged: JudgedMap, cuts: NDArray[np.float32]) -> PixelCounts:
    values, mask = judged.values(), judged.mask()
    counts = no_counts(len(cuts))
    counts.good = _at_or_above(values[~mask], cuts)
    if mask.any():
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        inside = labels[mask]
        found = values[mask]
        for label in range(1, count):
            component = found[inside == label]
            above = _at_or_above(component, cuts)
            counts.defect += above
            counts.overlap += above / len(component)
        counts.defects = count - 1
    return counts


def cuts_for(maps: Sequence[JudgedMap]) -> NDArray[np.float32]:
    """(K,) ascending; the first is minus infinity, so that the first count is of all pixels."""
    total = sum(judged.heatmap.size for judged in maps)
    stride = 1 + total // MAX_SAMPLED
    every = np.sort(np.concatenate([judged.heatmap.ravel()[::stride] for judged in maps]))
    chosen = np.unique(every)
    if len(chosen) >= MAX_CUTS:
        goods = [judged.heatmap.ravel()[::stride] for judged in maps if judged.truth is None]
        ranks = [every[_even(len(every), MAX_CUTS // 4)], every[_top(len(every), MAX_CUTS // 2)]]
        if goods:
            good = np.sort(np.concatenate(goods))
            ranks.append(good[_top(len(good), MAX_CUTS // 4)])
        chosen = np.unique(np.concatenate(ranks))
    return np.concatenate([np.array([-np.inf], np.float32), chosen])


def _at_or_above(values: NDArray[np.float32], cuts: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.asarray(len(values) - np.searchsorted(np.sort(values), cuts, side="left"), dtype=np.int64)


def _even(count: int, wanted: int) -> NDArray[np.int64]:
    return np.linspace(0, count - 1, wanted).astype(np.int64)


def _top(count: int, wanted: int) -> NDArray[np.int64]:
    """Ranks that grow by one factor from the highest value down."""
    return count - np.geomspace(1, count, wanted).astype(np.int64)
