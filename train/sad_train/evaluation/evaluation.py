"""The figures of one subject on one test split (DESIGN 4.8), from what was said of each picture.

How the pictures come to be judged is judging.py's; tables and pages are evaluate.py's and evaluation_report.py's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sad_runtime.verdict import Verdict
from sad_train.data.dataset import Sample
from sad_train.evaluation.subject import Subject
from sad_train.metrics.image import BestF1, best_f1, image_ap, image_auroc, spearman
from sad_train.metrics.operating_points import ESCAPE_RATES, FALSE_REJECT_RATES, frr_at_escape, recall_at_frr
from sad_train.metrics.pixel import PixelMetrics
from sad_train.metrics.pixel_counts import JudgedMap


@dataclass(frozen=True)
class Judged:
    """One test picture and what the subject said of it."""

    sample: Sample
    score: float
    verdict: Verdict | None
    """None when the subject has no threshold."""
    brightness: float
    """Mean grey level of what the graph saw, 0 to 255."""
    latency_ms: float
    heatmap: NDArray[np.float32]
    truth: JudgedMap | None
    """None for a defect that nobody drew, or that lies outside the ROI."""
    learnt: bool
    """The very picture was trained or calibrated on."""


@dataclass(frozen=True)
class Evaluation:
    """All figures of one subject on one data set. Rates and shares are fractions."""

    subject: Subject
    dataset: str
    judged: list[Judged]
    pixel: dict[str, PixelMetrics]
    """By type of defect; of all types under "". """
    warnings: list[str]
    pixel_size_px: int

    @property
    def good(self) -> list[Judged]:
        return [judged for judged in self.judged if judged.sample.is_good]

    @property
    def defect(self) -> list[Judged]:
        return [judged for judged in self.judged if not judged.sample.is_good]

    @property
    def types(self) -> list[str]:
        return sorted({judged.sample.label for judged in self.defect})

    @property
    def best_f1(self) -> BestF1 | None:
        return best_f1(*_labels_and_scores(self.judged))

    def false_reject(self) -> float | None:
        return _share(self.good, Verdict.FAIL)

    def escape(self) -> float | None:
        return _share(self.defect, Verdict.PASS)

    def brightness_auroc(self) -> float | None:
        """How well mean brightness alone tells defects, whichever of the two is brighter."""
        found = image_auroc([not one.sample.is_good for one in self.judged], [one.brightness for one in self.judged])
        return None if found is None else max(found, 1 - found)

    def brightness_correlation(self) -> float | None:
        """Rank correlation of score and mean brightness over the good pictures, where no defect can cause one."""
        return spearman([one.score for one in self.good], [one.brightness for one in self.good])

    def summary(self) -> dict[str, Any]:
        """What `sad-evaluate --json` prints."""
        labels, scores = _labels_and_scores(self.judged)
        good, defect = _scores(self.good), _scores(self.defect)
        latencies = [one.latency_ms for one in self.judged]
        thresholds = self.subject.thresholds
        f1 = self.best_f1
        pixel = self.pixel[""]
        return {
            "image_auroc": image_auroc(labels, scores),
            "image_ap": image_ap(labels, scores),
            "image_f1_max": None if f1 is None else f1.f1,
            "recall_at_frr": {f"{rate:g}": recall_at_frr(good, defect, rate) for rate in FALSE_REJECT_RATES},
            "frr_at_escape": {f"{rate:g}": frr_at_escape(good, defect, rate) for rate in ESCAPE_RATES},
            "pixel_auroc": pixel.auroc,
            "pixel_ap": pixel.ap,
            "aupro": pixel.aupro,
            "aupimo": pixel.aupimo,
            "threshold": None if thresholds is None else thresholds.score,
            "false_reject": self.false_reject(),
            "escape": self.escape(),
            "n_good": len(good),
            "n_defect": len(defect),
            "per_type": {label: self._of_type(label) for label in self.types},
            "latency_ms": {"p50": float(np.percentile(latencies, 50)), "p99": float(np.percentile(latencies, 99))},
            "method": self.subject.method,
            "precision": self.subject.precision,
            "backend": self.subject.inspector.backend.name,
            "brightness_auroc": self.brightness_auroc(),
            "score_brightness_correlation": self.brightness_correlation(),
            "n_train_overlap": sum(one.learnt for one in self.judged),
            "warnings": self.warnings,
        }

    def _of_type(self, label: str) -> dict[str, Any]:
        defects = [one for one in self.defect if one.sample.label == label]
        labels, scores = _labels_and_scores([*self.good, *defects])
        pixel = self.pixel.get(label, PixelMetrics())
        return {
            "n": len(defects),
            "image_auroc": image_auroc(labels, scores),
            "image_ap": image_ap(labels, scores),
            "escape": _share(defects, Verdict.PASS),
            "pixel_auroc": pixel.auroc,
            "pixel_ap": pixel.ap,
            "aupro": pixel.aupro,
            "aupimo": pixel.aupimo,
        }


def _labels_and_scores(judged: Sequence[Judged]) -> tuple[list[bool], list[float]]:
    return [not one.sample.is_good for one in judged], _scores(judged)


def _scores(judged: Sequence[Judged]) -> list[float]:
    return [one.score for one in judged]


def _share(judged: Sequence[Judged], verdict: Verdict) -> float | None:
    known = [one.verdict is verdict for one in judged if one.verdict is not None]
    return sum(known) / len(known) if known else None
