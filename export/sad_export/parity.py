"""The parity gate: does the exported file decide as the trained model did?

Every engine replays the parity set through the line's own inspector. Verdicts on the golden pictures must be equal;
on the whole set rates are compared, each engine at the threshold set on itself, because a conformal threshold is some
part's own score and rounding alone flips that part (DESIGN 4.10). Both would let through an engine that is wrong by
the same amount everywhere, so scores and heatmaps must also agree within what their precision allows, and their
figures (image AUROC, AUPRO, rank correlation) must not drop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sad_export.parity_set import ParityPicture
from sad_runtime.backends.base import Backend
from sad_runtime.decide import Thresholds, judge
from sad_runtime.inspector import Inspector
from sad_runtime.verdict import Verdict
from sad_train.graph import NEVER
from sad_train.metrics.image import image_auroc, spearman
from sad_train.metrics.pixel import pixel_metrics
from sad_train.metrics.pixel_counts import JudgedMap, judged_map

RATE_LIMIT = 0.02


@dataclass(frozen=True)
class Limits:
    """What may differ from the trained model. Drops are in units of the figure: 0.003 of image AUROC is 0.3 points."""

    mean: float = 0.01
    """Mean difference, as a share of the reference's own spread. Engines of one fp32 file stand at 1e-6 to 1e-4."""
    largest: float = 0.05
    """The same for the largest one: an engine that goes wrong on one picture in a hundred has a fine mean."""
    auroc_drop: float = 0.003
    aupro_drop: float = 0.010
    spearman: float = 0.99

    def of(self, precision: str) -> Limits:
        """INT8 has 255 steps, so its scores and heatmaps stand further off; its figures may not."""
        return replace(self, mean=0.05, largest=0.5) if precision.startswith("int8") else self


EVERY = 97
UNJUDGED = 1e-3
NO_CUTS = Thresholds(score=0.0, pixel=float("inf"), heatmap_low=0.0)


@dataclass(frozen=True)
class Replay:
    """What one engine said of the parity set. `scores` (n,), `heatmaps` (n, H, W)."""

    engine: str
    scores: NDArray[np.float64]
    heatmaps: NDArray[np.float32]
    latency_ms: float
    """Median time of one inference."""


@dataclass(frozen=True)
class Comparison:
    """One engine against the trained model in torch. Rates are fractions; worse is above 0."""

    engine: str
    score_max_difference: float
    score_mean_difference: float
    score_spearman: float | None
    heatmap_max_difference: float
    heatmap_mean_difference: float
    heatmap_spearman: float | None
    heatmap_iou: float
    """Of the pixels above the pixel threshold, each engine's at the one set on it."""
    flips: int
    """Golden pictures judged otherwise."""
    near_flips: int
    """Other pictures judged otherwise; each stands near the threshold."""
    false_rejects_worse: float
    detection_worse: float
    rate_limit: float
    image_auroc: float | None
    aupro: float | None
    latency_ms: float
    failures: list[str] = field(default_factory=list)


def replay(backend: Backend, pictures: Sequence[ParityPicture]) -> Replay:
    """`backend` is open."""
    inspector = Inspector(backend, NO_CUTS)
    inspections = [inspector.inspect(picture.picture) for picture in pictures]
    return Replay(
        backend.name,
        np.array([inspection.score for inspection in inspections]),
        np.stack([inspection.heatmap for inspection in inspections]),
        float(np.median([inspection.latency_ms["infer"] for inspection in inspections])),
    )


def noise_of(reference: Replay, others: Sequence[Replay], limits: Limits) -> float:
    """The largest score difference between engines, in score units, as far as it can be rounding.

    Without that bound a broken engine would widen the noise until no golden picture is left that it could flip.
    """
    differences = [float(np.abs(other.scores - reference.scores).max()) for other in others]
    return max(1e-7, min(max(differences, default=0.0), limits.mean * float(np.ptp(reference.scores))))


@dataclass(frozen=True)
class Cut:
    """What one engine judges by. `shipped`: as the bundle has it for this file; `own`: score, set on this engine."""

    shipped: Thresholds
    own: float


def compared(
    reference: Replay,
    other: Replay,
    pictures: Sequence[ParityPicture],
    golden: Sequence[int],
    cuts: tuple[Cut, Cut],
    limits: Limits,
) -> Comparison:
    """`golden`: indices into the set. `cuts`: the reference's and the other engine's."""
    good = np.array([picture.is_good for picture in pictures])
    before, after = cuts
    flipped = [
        index
        for index in range(len(pictures))
        if judge(reference.scores[index], before.shipped.score) is not judge(other.scores[index], after.shipped.score)
    ]
    rejects = [_rejected(run.scores, cut.own) for run, cut in zip((reference, other), cuts, strict=True)]
    worse_good, limit_good = _worse(rejects[1][good], rejects[0][good])
    worse_bad, limit_bad = _worse(~rejects[1][~good], ~rejects[0][~good])
    flips = len(set(flipped) & set(golden))
    maps = map_difference(reference, other)
    comparison = Comparison(
        engine=other.engine,
        score_max_difference=float(np.abs(other.scores - reference.scores).max()),
        score_mean_difference=float(np.abs(other.scores - reference.scores).mean()),
        score_spearman=spearman(other.scores, reference.scores),
        heatmap_max_difference=maps.largest,
        heatmap_mean_difference=maps.mean,
        heatmap_spearman=_heatmap_spearman(other.heatmaps, reference.heatmaps),
        heatmap_iou=_iou(other.heatmaps > after.shipped.pixel, reference.heatmaps > before.shipped.pixel),
        flips=flips,
        near_flips=len(flipped) - flips,
        false_rejects_worse=worse_good,
        detection_worse=worse_bad,
        rate_limit=max(limit_good, limit_bad),
        image_auroc=image_auroc(~good, other.scores),
        aupro=aupro_of(other, pictures),
        latency_ms=other.latency_ms,
    )
    comparison.failures.extend(_disagreements(comparison, reference, maps, limits))
    comparison.failures.extend(_failures(comparison, limit_good, limit_bad))
    comparison.failures.extend(_drops(comparison, reference, other, pictures, limits))
    return comparison


@dataclass(frozen=True)
class MapDifference:
    """Of heatmaps, over the pixels that are judged: what is cropped away or ignored is -20 everywhere (graph.NEVER)."""

    mean: float
    largest: float
    spread: float
    """Of the reference."""
    unjudged: float
    """The largest difference where nothing is judged; 0 for an engine that is right."""


def map_difference(reference: Replay, other: Replay) -> MapDifference:
    judged = reference.heatmaps != np.float32(NEVER)
    there, apart = reference.heatmaps[judged], np.abs(other.heatmaps - reference.heatmaps)
    return MapDifference(
        mean=float(apart[judged].mean()) if there.size else 0.0,
        largest=float(apart[judged].max()) if there.size else 0.0,
        spread=float(np.ptp(there)) if there.size else 0.0,
        unjudged=float(apart[~judged].max(initial=0.0)),
    )


def _disagreements(comparison: Comparison, reference: Replay, maps: MapDifference, limits: Limits) -> list[str]:
    found = []
    if maps.unjudged > UNJUDGED:
        found.append(f"heatmaps differ by up to {maps.unjudged:.2g} where nothing is judged")
    for what, mean, most, spread in (
        (
            "scores",
            comparison.score_mean_difference,
            comparison.score_max_difference,
            float(np.ptp(reference.scores)),
        ),
        ("heatmaps", maps.mean, maps.largest, maps.spread),
    ):
        if not mean <= limits.mean * spread:
            by = f"{mean:.2g} on average"
        elif not most <= limits.largest * spread:
            by = f"up to {most:.2g}"
        else:
            continue
        found.append(f"{what} differ by {by}, more than this precision explains (they spread over {spread:.2g})")
    return found


def _failures(comparison: Comparison, limit_good: float, limit_bad: float) -> list[str]:
    failures = []
    if comparison.flips:
        failures.append(f"{comparison.flips} golden picture(s) judged otherwise than by the trained model")
    if comparison.false_rejects_worse > limit_good:
        failures.append(f"rejects {100 * comparison.false_rejects_worse:.1f} points more good pictures")
    if comparison.detection_worse > limit_bad:
        failures.append(f"finds {100 * comparison.detection_worse:.1f} points fewer anomalies")
    return failures


def _drops(
    comparison: Comparison, reference: Replay, other: Replay, pictures: Sequence[ParityPicture], limits: Limits
) -> list[str]:
    """Figures that fell by more than may be."""
    good = np.array([picture.is_good for picture in pictures])
    interval = _auroc_interval(good, reference.scores, other.scores)
    found = []
    for name, before, after, limit in (
        ("image AUROC", image_auroc(~good, reference.scores), comparison.image_auroc, max(limits.auroc_drop, interval)),
        ("AUPRO", aupro_of(reference, pictures), comparison.aupro, limits.aupro_drop),
    ):
        if before is not None and after is not None and before - after > limit:
            found.append(f"{name} falls by {100 * (before - after):.2f} points, more than {100 * limit:.2f}")
    if comparison.score_spearman is not None and comparison.score_spearman < limits.spearman:
        found.append(f"scores rank otherwise (Spearman {comparison.score_spearman:.4f}, at least {limits.spearman:g})")
    return found


def _auroc_interval(good: NDArray[np.bool_], one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Half the 95 % interval of the difference of two paired AUROCs (DeLong et al., Biometrics 44, 1988).

    With few pictures a pair that changes places is half a point, which says nothing of the engine.
    """
    if good.sum() < 2 or (~good).sum() < 2:
        return 0.0
    change = _above(good, other) - _above(good, one)
    variance = change.mean(axis=1).var(ddof=1) / len(change) + change.mean(axis=0).var(ddof=1) / change.shape[1]
    return 1.96 * float(np.sqrt(variance))


def _above(good: NDArray[np.bool_], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """(bad, good): 1 where the bad picture scores higher, 1/2 where they tie."""
    bad, fine = scores[~good][:, np.newaxis], scores[good][np.newaxis]
    return np.asarray((bad > fine) + 0.5 * (bad == fine), np.float64)


def _rejected(scores: NDArray[np.float64], threshold: float) -> NDArray[np.bool_]:
    return np.array([judge(float(score), threshold) is not Verdict.PASS for score in scores])


def _worse(bad: NDArray[np.bool_], bad_before: NDArray[np.bool_]) -> tuple[float, float]:
    """How much larger a share is bad now, and what may be: 2 points or the 95 % paired interval, the larger."""
    if not len(bad):
        return 0.0, RATE_LIMIT
    change = bad.astype(float) - bad_before
    interval = 1.96 * float(change.std()) / np.sqrt(len(change))
    return float(change.mean()), max(RATE_LIMIT, float(interval))


def _iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    union = int((a | b).sum())
    return float((a & b).sum()) / union if union else 1.0


def _heatmap_spearman(a: NDArray[np.float32], b: NDArray[np.float32]) -> float | None:
    """Over every EVERY-th pixel: all of them would take seconds to rank."""
    return spearman(a.reshape(-1)[::EVERY], b.reshape(-1)[::EVERY])


def aupro_of(run: Replay, pictures: Sequence[ParityPicture]) -> float | None:
    """AUPRO over good and synthetic pictures, whose masks are known; None where there are none."""
    good = [_judged(run, index, None) for index, picture in enumerate(pictures) if picture.is_good]
    masked = [_judged(run, index, picture.mask) for index, picture in enumerate(pictures) if picture.mask is not None]
    return pixel_metrics({"synthetic": masked}, good)[""].aupro


def _judged(run: Replay, index: int, mask: NDArray[np.bool_] | None) -> JudgedMap:
    heatmap = run.heatmaps[index]
    return judged_map(heatmap, mask, (heatmap.shape[0], heatmap.shape[1]))
