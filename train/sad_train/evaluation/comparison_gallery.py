"""The same few test pictures seen by every method: picture, true mask, and a heatmap of each row's lowest seed.

Pictures are taken evenly over the sorted files of each type, before anyone looks at a score. A heatmap's colours stand
on its own method's fixed scale, tied to its pixel threshold: columns are compared by what stands out, not by value.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from sad_runtime.decide import Thresholds
from sad_runtime.errors import SadError
from sad_runtime.heatmap import overlay
from sad_runtime.inspector import Inspection, Inspector
from sad_runtime.manifest import Roi
from sad_runtime.pictures import read_picture
from sad_runtime.preprocess import Picture
from sad_train.data.dataset import Sample, read_mask
from sad_train.evaluation.comparison import SetResults, Terms, subject_of
from sad_train.evaluation.comparison_figures import Row
from sad_train.evaluation.judging import judged_samples
from sad_train.report import picture, reduced

log = logging.getLogger("sad-evaluate")
EACH_TYPE = 2
FOR_SCALE = 20
"""Good test pictures that set the scale of a row without thresholds."""
SIDE_PX = 196


@dataclass(frozen=True)
class Gallery:
    header: list[str]
    rows: list[list[str]]
    """HTML of each picture, under `header`."""
    unscaled: list[str]
    """Rows whose colour scale is not a threshold's."""
    dark: list[str]
    """Rows that could not be run again, each with the reason."""


def gallery_of(one: SetResults, terms: Terms) -> Gallery:
    """Runs the lowest seed of each row over the chosen pictures, good ones first."""
    samples = sorted(judged_samples(one.dataset, EACH_TYPE)[0], key=lambda sample: not sample.is_good)
    seen: dict[str, list[str]] = {}
    unscaled, dark = [], []
    for row in one.rows:
        try:
            seen[row.name], scaled = _column(row, one, samples, terms)
        except SadError as error:
            log.warning("%s", error)
            dark.append(f"{row.name}: {error}")
            continue
        if not scaled:
            unscaled.append(row.name)
    columns = [[_original(sample) for sample in samples], [_truth(sample) for sample in samples], *seen.values()]
    return Gallery(
        header=["picture", "true mask", *seen],
        rows=[list(cells) for cells in zip(*columns, strict=True)],
        unscaled=unscaled,
        dark=dark,
    )


def _column(row: Row, one: SetResults, samples: Sequence[Sample], terms: Terms) -> tuple[list[str], bool]:
    """The heatmaps of a row, and whether a threshold ties their colours."""
    subject = subject_of(row.results[0].contender, terms)
    with subject.inspector as inspector:
        inspector.backend.warm_up()
        pictures = [read_picture(sample.path) for sample in samples]
        inspections = [inspector.inspect(pixels) for pixels in pictures]
        scale = subject.thresholds or _scale(inspector, one, inspections)
    cells = []
    for pixels, inspection in zip(pictures, inspections, strict=True):
        verdict = "" if subject.thresholds is None else f"{inspection.verdict.value} "
        shown = _heated(_judged(pixels, inspector.roi), inspection, scale)
        cells.append(picture(shown, f"{verdict}{inspection.score:.3g}", side_px=SIDE_PX))
    return cells, subject.thresholds is not None


def _scale(inspector: Inspector, one: SetResults, shown: Sequence[Inspection]) -> Thresholds:
    """Median and highest value of good test pictures' heatmaps; of those shown when none is good."""
    goods = [sample for sample in judged_samples(one.dataset, FOR_SCALE)[0] if sample.is_good]
    heatmaps = [inspector.inspect(read_picture(sample.path)).heatmap for sample in goods]
    values = np.stack(heatmaps or [inspection.heatmap for inspection in shown])
    return Thresholds(score=math.nan, pixel=float(values.max()), heatmap_low=float(np.median(values)))


def _judged(pixels: Picture, roi: Roi | None) -> Picture:
    """(H, W, C): what was judged of the picture, at most SIDE_PX long."""
    inside = pixels if roi is None else pixels[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
    small = reduced(inside, SIDE_PX)
    return np.asarray(small.reshape(*small.shape[:2], -1), dtype=np.uint8)


def _heated(seen: Picture, inspection: Inspection, scale: Thresholds) -> Picture:
    heatmap = cv2.resize(inspection.heatmap, (seen.shape[1], seen.shape[0]), interpolation=cv2.INTER_LINEAR)
    return overlay(seen, np.asarray(heatmap, dtype=np.float32), scale)


def _original(sample: Sample) -> str:
    return picture(read_picture(sample.path), f"{sample.label}/{sample.path.name}", side_px=SIDE_PX)


def _truth(sample: Sample) -> str:
    """The mask; nothing for a good part and for a defect that nobody drew."""
    mask = read_mask(replace(sample, mask=None if sample.is_good else sample.mask), read_picture(sample.path).shape[:2])
    if mask is None:
        return ""
    return picture(np.asarray(np.where(mask, 255, 0), dtype=np.uint8), "", lossless=True, side_px=SIDE_PX)
