"""One calibration from start to end: score the good parts, cut, estimate, check on known defects.

Knows nothing of the command line (cli.py) or of how findings are told (report.py); saves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from sad_calibration import conformal, extreme
from sad_calibration.extreme import Estimate, estimate
from sad_calibration.report import Findings
from sad_calibration.samples import Samples
from sad_calibration.thresholds import Calibration, Cuts, cuts, measure
from sad_runtime.backends.base import Backend
from sad_runtime.bundle import Bundle
from sad_runtime.errors import DataError
from sad_runtime.manifest import DecisionPolicy
from sad_runtime.thresholds import History, LineThresholds, thresholds_in_force


@dataclass(frozen=True)
class Wish:
    """What the line engineer asks for. Rates are fractions."""

    precision: str
    target: float | None = None
    review_rate: float | None = None
    use_estimate: bool = False
    note: str = ""


def calibrated(
    bundle: Bundle, backend: Backend, history: History, wish: Wish, good: Samples, bad: Samples | None, *, fresh: bool
) -> Findings:
    """Opens `backend`, runs it over the pictures and closes it. `fresh`: the good parts are new to the bundle.

    Raises DataError for pictures that cannot be used, or an estimate asked for that cannot be had.
    """
    with backend:
        calibration = measure(backend, good.pictures())
        defects = None if bad is None else _scored(backend, bad, good)
    engine = backend.bound_name(backend.option)
    before, kept_scores = thresholds_in_force(bundle, wish.precision, engine, history)
    made = cuts(calibration, target=wish.target, review_rate=wish.review_rate)
    tail, reason = _estimated(calibration.scores, made, wish)
    used = tail if wish.use_estimate else None
    set_these_before = kept_scores is not None and sorted(kept_scores) == sorted(calibration.scores)
    return Findings(
        bundle=str(bundle.path),
        source=good.what,
        copies=len(good.copies),
        before=before,
        after=_row(bundle, engine, history, wish, calibration, made, used),
        cuts=made,
        estimate=tail,
        no_estimate=reason,
        new_good_scores=calibration.scores if fresh and not set_these_before else None,
        defects=defects,
    )


def _scored(backend: Backend, bad: Samples, good: Samples) -> list[tuple[str, float]]:
    scores = measure(backend, bad.pictures()).scores
    both = [name for digest, name in bad.by_digest.items() if digest in good.by_digest]
    if both:
        raise DataError(f"among the good parts and among the bad ones: {', '.join(both)}. Remove them from one side")
    return list(zip(bad.used, scores, strict=True))


def _estimated(scores: Sequence[float], made: Cuts, wish: Wish) -> tuple[Estimate | None, str | None]:
    """The estimate, or why there is none; neither where the promise meets the target."""
    if wish.target is None or made.promise.supported:
        return None, None
    try:
        return estimate(scores, wish.target), None
    except DataError as error:
        if wish.use_estimate:
            raise DataError(f"--use-estimate: {error}") from None
        return None, str(error)


def _row(
    bundle: Bundle,
    backend: str,
    history: History,
    wish: Wish,
    calibration: Calibration,
    made: Cuts,
    used: Estimate | None,
) -> LineThresholds:
    return LineThresholds(
        revision=1 + max((row.revision for row in history.entries), default=0),
        set_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        model_digest=bundle.precision(wish.precision).sha256,
        precision=wish.precision,
        backend=backend,
        score_threshold=made.score_threshold if used is None else used.threshold,
        review_threshold=made.review_threshold,
        pixel_threshold=made.pixel_threshold if used is None else _pixel_estimate(calibration, made, used),
        heatmap_low=made.heatmap_low,
        decision=DecisionPolicy(
            target_false_reject=wish.target,
            guaranteed_false_reject=made.promise.guaranteed_false_reject,
            method=conformal.METHOD if used is None else extreme.METHOD,
            n=made.promise.n,
        ),
        good_scores=calibration.scores,
        note=wish.note,
    )


def _pixel_estimate(calibration: Calibration, made: Cuts, used: Estimate) -> float:
    try:
        return estimate(calibration.pixel_maxima, used.target).threshold
    except DataError:  # the maxima have no tail to fit; the highest one is the threshold
        return made.pixel_threshold
