"""The golden pictures of a bundle on an engine here: what came out, and what came out at export."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from sad_runtime.backends.base import Backend
from sad_runtime.bundle import Bundle
from sad_runtime.decide import Thresholds
from sad_runtime.inspector import Inspector
from sad_runtime.pictures import decode_picture
from sad_runtime.preprocess import Picture
from sad_runtime.verdict import Verdict


@dataclass(frozen=True)
class Replayed:
    """One golden picture. Scores are in the model's own units."""

    file: str
    verdict: Verdict
    score: float
    expected_verdict: str
    expected_score: float
    """NaN, which nothing fits, where the manifest has a verdict and no score."""
    tolerance: float

    @property
    def difference(self) -> float:
        return abs(self.score - self.expected_score)

    @property
    def fits(self) -> bool:
        return self.verdict.value == self.expected_verdict and self.difference <= self.tolerance


def own_thresholds(bundle: Bundle, precision: str) -> Thresholds:
    """As they were set at export, whatever a station has set since."""
    entry = bundle.precision(precision)
    return Thresholds(entry.score_threshold, entry.pixel_threshold, entry.heatmap_low, entry.review_threshold)


def picture_in(bundle: Bundle, name: str) -> Picture:
    """Raises BundleError or DataError."""
    return decode_picture(bundle.read(name), f"{bundle.path}: {name}")


def inspector_for(picture: Picture, backend: Backend, bundle: Bundle, precision: str) -> Inspector:
    """For a picture that lies in a bundle: at model size it is cropped already."""
    whole = picture.shape[:2] == (backend.spec.height, backend.spec.width)
    return Inspector(backend, own_thresholds(bundle, precision), roi=None if whole else bundle.manifest.roi)


def replayed(backend: Backend, bundle: Bundle, precision: str) -> Iterator[Replayed]:
    """Inspects every golden picture of this precision on the opened `backend`, by the bundle's own thresholds."""
    tolerance = bundle.precision(precision).golden_tolerance
    if tolerance is None:
        tolerance = bundle.manifest.golden_tolerance
    for golden in bundle.manifest.golden:
        if precision not in golden.verdict:
            continue
        picture = picture_in(bundle, golden.file)
        found = inspector_for(picture, backend, bundle, precision).inspect(picture)
        yield Replayed(
            file=golden.file,
            verdict=found.verdict,
            score=found.score,
            expected_verdict=golden.verdict[precision],
            expected_score=golden.score.get(precision, math.nan),
            tolerance=tolerance,
        )
