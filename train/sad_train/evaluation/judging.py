"""Runs a subject over a test split and collects what it says of each picture.

Heatmaps are judged at the size of the picture (of its ROI), not of the model: enlarged bilinearly, against masks taken
above 0. Pictures longer than `pixel_size_px` are judged at that length, a pixel of the mask being set when any pixel
under it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_runtime.cli.progress import progressing
from sad_runtime.errors import DataError
from sad_runtime.inspector import Inspector
from sad_runtime.manifest import Roi
from sad_runtime.pictures import decode_picture
from sad_train.data.dataset import GOOD, Dataset, Sample, read_mask
from sad_train.evaluation.evaluation import Evaluation, Judged
from sad_train.evaluation.subject import Subject, picture_digest
from sad_train.metrics.operating_points import FALSE_REJECT_RATES
from sad_train.metrics.pixel import PixelMetrics, pixel_metrics
from sad_train.metrics.pixel_counts import JudgedMap, judged_map

PIXEL_SIZE_PX = 1024


def evaluate(
    subject: Subject, dataset: Dataset, *, pixel_size_px: int = PIXEL_SIZE_PX, limit: int | None = None
) -> Evaluation:
    """Inspects the test split. `limit`: at most so many pictures of each type. `pixel_size_px` 0: never reduced.

    Raises DataError naming every picture or mask that cannot be used: figures over a part of the set are none.
    """
    samples, warnings = judged_samples(dataset, limit)
    learnt = subject.learnt_files or _file_digests(dataset.train_good if dataset.test else [])
    judged, wrong = [], []
    with subject.inspector as inspector:
        inspector.backend.warm_up()
        for sample in progressing(samples, "inspecting"):
            try:
                judged.append(_judged(sample, subject, inspector, learnt, pixel_size_px))
            except DataError as error:
                wrong.append(str(error))
    if wrong:
        raise DataError("\n  ".join([f"{len(wrong)} of {len(samples)} pictures cannot be judged:", *wrong]))
    return Evaluation(
        subject=subject,
        dataset=dataset.name,
        judged=judged,
        pixel=_pixel(judged),
        warnings=[*warnings, *_warnings(judged, subject)],
        pixel_size_px=pixel_size_px,
    )


def judged_samples(dataset: Dataset, limit: int | None) -> tuple[list[Sample], list[str]]:
    """The pictures to judge, at most `limit` of each type, evenly over its sorted files; and what to warn of."""
    samples, warnings = dataset.test, []
    if not samples:
        if (dataset.root / "train").is_dir():
            raise DataError(f"{dataset.root}: nothing to measure on; put pictures into test/good and test/DEFECT")
        samples = [Sample(path, GOOD, None, "test") for path in dataset.train_good]
        warnings.append(
            f"no test folder: all {len(samples)} pictures are taken for good parts, only rejects are counted"
        )
    if limit is not None:
        samples = [sample for label in _labels(samples) for sample in _spread(samples, label, limit)]
    return samples, warnings


def _labels(samples: Sequence[Sample]) -> list[str]:
    return list(dict.fromkeys(sample.label for sample in samples))


def _spread(samples: Sequence[Sample], label: str, limit: int) -> list[Sample]:
    """At most `limit` samples of the type, evenly over its sorted files."""
    of_type = [sample for sample in samples if sample.label == label]
    if len(of_type) <= limit:
        return of_type
    return [of_type[index] for index in np.linspace(0, len(of_type) - 1, limit).astype(int)]


def _judged(
    sample: Sample, subject: Subject, inspector: Inspector, learnt: frozenset[str], pixel_size_px: int
) -> Judged:
    try:
        data = sample.path.read_bytes()
    except OSError as error:
        raise DataError(f"{sample.path}: cannot be read ({error.strerror})") from None
    picture = decode_picture(data, str(sample.path))
    mask = read_mask(sample, picture.shape[:2])
    try:
        inspection = inspector.inspect(picture)
    except DataError as error:
        raise DataError(f"{sample.path}: {error}") from None
    return Judged(
        sample=sample,
        score=inspection.score,
        verdict=None if subject.thresholds is None else inspection.verdict,
        brightness=float(inspection.picture.mean()),
        latency_ms=sum(inspection.latency_ms.values()),
        heatmap=inspection.heatmap,
        truth=_truth(sample, mask, inspection.heatmap, picture.shape[:2], inspector.roi, pixel_size_px),
        learnt=hashlib.sha256(data).hexdigest() in learnt
        or picture_digest(inspection.picture) in subject.learnt_pictures,
    )


def _truth(
    sample: Sample,
    mask: NDArray[np.bool_] | None,
    heatmap: NDArray[np.float32],
    shape: tuple[int, int],
    roi: Roi | None,
    pixel_size_px: int,
) -> JudgedMap | None:
    height, width = shape if roi is None else (roi.height, roi.width)
    factor = min(1.0, pixel_size_px / max(height, width)) if pixel_size_px else 1.0
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    if sample.is_good:
        return judged_map(heatmap, None, size)
    if mask is None:
        return None
    inside = mask if roi is None else mask[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
    return judged_map(heatmap, _reduced(inside, size), size) if inside.any() else None


def _reduced(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A pixel is set when any pixel under it is: a tiny defect must not vanish."""
    if mask.shape == size:
        return mask
    covered = cv2.resize(mask.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(covered > 0)


def _pixel(judged: Sequence[Judged]) -> dict[str, PixelMetrics]:
    good = [one.truth for one in judged if one.sample.is_good and one.truth is not None]
    maps: dict[str, list[JudgedMap]] = {}
    for one in judged:
        if not one.sample.is_good and one.truth is not None:
            maps.setdefault(one.sample.label, []).append(one.truth)
    return pixel_metrics(maps, good)


def _warnings(judged: Sequence[Judged], subject: Subject) -> list[str]:
    good = sum(one.sample.is_good for one in judged)
    warnings = []
    learnt = [one.sample.path.name for one in judged if one.learnt]
    if learnt:
        shown = ", ".join(learnt[:5]) + (" …" if len(learnt) > 5 else "")
        warnings.append(f"{len(learnt)} test pictures were also learnt from, so the figures flatter: {shown}")
    if good == len(judged):
        warnings.append("no defects in the test split: only rejects are counted")
    elif not good:
        warnings.append("no good pictures in the test split: only escapes are counted")
    elif good < 1 / FALSE_REJECT_RATES[-1]:
        warnings.append(
            f"{good} good pictures cannot show a rate below {100 / good:.2g} %; smaller ones ask that none is rejected"
        )
    drawn = {one.sample.label for one in judged if one.sample.mask is not None}
    bare = sum(one.truth is None for one in judged if one.sample.label in drawn)
    if bare:
        warnings.append(f"{bare} defects have no mask, or lie outside the ROI; pixel figures leave them out")
    if len({one.score for one in judged}) == 1 and len(judged) > 1:
        warnings.append("every picture got the same score")
    if subject.inspector.backend.name == "constant":
        warnings.append("the backend 'constant' is a stand-in: no model was run")
    return warnings


def _file_digests(paths: Sequence[Path]) -> frozenset[str]:
    return frozenset(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
