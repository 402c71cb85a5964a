"""What `sad-calibrate` found, in words for a person and as one object for a script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sad_calibration.binomial import observed, rate_below
from sad_calibration.conformal import percent
from sad_calibration.extreme import Estimate
from sad_calibration.thresholds import Cuts
from sad_runtime.decide import Thresholds
from sad_runtime.thresholds import History, LineThresholds

SHOWN = 5


@dataclass(frozen=True)
class Findings:
    """One calibration; `saved` names the file that holds the new thresholds."""

    bundle: str
    source: str
    copies: int
    before: Thresholds
    after: LineThresholds
    cuts: Cuts
    estimate: Estimate | None
    no_estimate: str | None
    new_good_scores: Sequence[float] | None
    """Scores that the threshold before was not set on; only such can say how it does."""
    defects: Sequence[tuple[str, float]] | None
    """Name and score of each known bad part."""
    saved: str | None = None


def as_object(found: Findings) -> dict[str, Any]:
    """For --json."""
    after = found.after.model_dump()
    scores = after.pop("good_scores")
    return {
        "bundle": found.bundle,
        "source": found.source,
        "n": len(scores),
        "copies": found.copies,
        "before": {
            "revision": found.before.revision,
            "score_threshold": found.before.score,
            "review_threshold": found.before.review,
            "pixel_threshold": found.before.pixel,
        },
        "after": after,
        "promise": asdict(found.cuts.promise),
        "estimate": None if found.estimate is None else {**asdict(found.estimate), "text": found.estimate.text},
        "before_on_these": _before_on_these(found),
        "defects": _defects(found),
        "saved": found.saved,
    }


def as_lines(found: Findings) -> list[str]:
    """For a person, most important last."""
    after, before = found.after, found.before
    lines = [f"{found.source}: {len(after.good_scores)} pictures on {after.backend} {after.precision}"]
    if found.copies:
        lines.append(f"  {found.copies} exact copies of other pictures were left out: copies add no evidence")
    lines += [
        f"  {'':<10} {'before':>12} {'after':>12}",
        _row("revision", before.revision, after.revision),
        _row("score", before.score, after.score_threshold),
        _row("review", before.review, after.review_threshold),
        _row("pixel", before.pixel, after.pixel_threshold),
    ]
    if found.new_good_scores is not None:
        rejected = _above(found.new_good_scores, before.score)
        lines.append(f"threshold before, on these parts: {observed(rejected, len(found.new_good_scores))}")
    lines.append(f"promise: {found.cuts.promise.text}")
    if found.estimate is not None:
        lines.append(found.estimate.text + (" [in use]" if after.score_threshold == found.estimate.threshold else ""))
    elif found.no_estimate is not None:
        lines.append(found.no_estimate)
    lines += _defect_lines(found)
    taken = "the station judges by it from its next start or change of recipe"
    lines.append(f"saved to {found.saved}; {taken}" if found.saved else "dry run: nothing was saved")
    return lines


def history_lines(history: History, model_digest: str, precision: str) -> list[str]:
    """One line a row, oldest first; rows of other models or precisions are kept but not in force here."""
    if not history.entries:
        return ["no thresholds were set on this station yet; the bundle's own are in force"]
    newest = {
        row.backend: row.revision
        for row in history.entries
        if (row.model_digest, row.precision) == (model_digest, precision)
    }
    lines = [f"{'rev':>4} {'set at':<25} {'backend':<12} {'precision':<9} {'score':>10} {'at most':>8}  "]
    for row in history.entries:
        state = "in force" if newest.get(row.backend) == row.revision else ""
        state = state if row.model_digest == model_digest else f"other model {row.model_digest[:8]}"
        rate = percent(row.decision.guaranteed_false_reject)
        lines.append(
            f"{row.revision:>4} {row.set_at:<25} {row.backend:<12} {row.precision:<9} {row.score_threshold:>10.4g} "
            f"{rate:>8}  {'; '.join(word for word in (state, row.note) if word)}".rstrip()
        )
    return lines


def _row(name: str, before: float | None, after: float | None) -> str:
    left, right = ("-" if value is None else f"{value:.5g}" for value in (before, after))
    return f"  {name:<10} {left:>12} {right:>12}"


def _above(scores: Sequence[float], threshold: float) -> int:
    return sum(score > threshold for score in scores)


def _before_on_these(found: Findings) -> dict[str, Any] | None:
    if found.new_good_scores is None:
        return None
    rejected, n = _above(found.new_good_scores, found.before.score), len(found.new_good_scores)
    return {"rejected": rejected, "n": n, "rate_below": rate_below(rejected, n), "confidence": 0.95}


def _defects(found: Findings) -> dict[str, Any] | None:
    if found.defects is None:
        return None
    scores = [score for _, score in found.defects]
    return {
        "n": len(scores),
        "caught_before": _above(scores, found.before.score),
        "caught": _above(scores, found.after.score_threshold),
        "lowest": [{"picture": name, "score": score} for name, score in _lowest(found.defects)],
    }


def _defect_lines(found: Findings) -> list[str]:
    if found.defects is None:
        return []
    scores = [score for _, score in found.defects]
    caught, earlier = _above(scores, found.after.score_threshold), _above(scores, found.before.score)
    lines = [f"known bad parts (a check, they set nothing): {caught} of {len(scores)} rejected, {earlier} before"]
    for name, score in _lowest(found.defects):
        missed = "" if score > found.after.score_threshold else "  would PASS"
        lines.append(f"  {score:10.4g}  {name}{missed}")
    return lines


def _lowest(defects: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    return sorted(defects, key=lambda pair: pair[1])[:SHOWN]
