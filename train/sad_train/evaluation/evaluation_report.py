"""The page of `sad-evaluate --report`: figures, how the scores lie, and the pictures that say whether to trust it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sad_runtime.decide import Thresholds
from sad_runtime.heatmap import overlay
from sad_runtime.manifest import Roi
from sad_runtime.pictures import read_picture
from sad_runtime.preprocess import Picture
from sad_runtime.verdict import Verdict
from sad_train.evaluation.evaluation import Evaluation, Judged
from sad_train.evaluation.evaluation_text import (
    TYPE_HEADER,
    figure,
    headline_rows,
    share,
    subject_line,
    type_rows,
    verdict_rows,
)
from sad_train.metrics.pixel_counts import JudgedMap
from sad_train.report import (
    PICTURE_PX,
    Card,
    Tile,
    Tone,
    facts,
    gallery,
    notices,
    page,
    picture,
    reduced,
    section,
    side_by_side,
    table,
    tiles,
)
from sad_train.report import figure as framed
from sad_train.report_charts import histogram, trade_off

SHOWN = 9
MAX_GALLERY_BYTES = 12 * 2**20
"""So that a page stays below 15 MB and can be mailed."""


def evaluation_page(evaluation: Evaluation, summary: dict[str, Any]) -> str:
    """A whole HTML document."""
    scale = evaluation.subject.thresholds or _scale_from(evaluation)
    return page(
        f"{evaluation.subject.name}: how well it tells good from defect",
        section("What was found", notices(evaluation.warnings), tiles(_tiles(summary))),
        section("How the scores lie", side_by_side(*_charts(evaluation))),
        section("By type of defect", table(TYPE_HEADER, type_rows(summary))) if summary["per_type"] else "",
        *_pictures(evaluation, scale),
        section("All figures", _figures(evaluation, summary)),
        section("How it was measured", facts(_facts(evaluation, summary))),
        subtitle=f"{subject_line(evaluation, summary)}, measured on {evaluation.dataset}",
        footer="Made by sad-evaluate. Heatmaps of one page share one colour scale and can be compared by eye.",
    )


def _tiles(summary: dict[str, Any]) -> list[Tile]:
    items = [Tile("image AUROC", figure(summary["image_auroc"]), "a defect scores above a good part")]
    if summary["threshold"] is not None:
        items += [
            Tile("escapes", share(summary["escape"]), f"of {summary['n_defect']} defects", _tone(summary["escape"])),
            Tile(
                "false rejects",
                share(summary["false_reject"]),
                f"of {summary['n_good']} good parts",
                _tone(summary["false_reject"]),
            ),
        ]
    else:
        items.append(
            Tile("caught at 1 % false rejects", share(summary["recall_at_frr"]["0.01"]), "share of the defects")
        )
    items += [
        Tile("AUPRO", figure(summary["aupro"]), "does the heatmap cover the defects?"),
        Tile("pixel AUROC", figure(summary["pixel_auroc"])),
        Tile("latency", f"{summary['latency_ms']['p50']:.1f} ms", f"p99 {summary['latency_ms']['p99']:.1f} ms"),
    ]
    return items


def _tone(rate: float | None) -> Tone:
    if rate is None:
        return ""
    return "good" if rate == 0 else "warn" if rate < 0.05 else "bad"


def _charts(evaluation: Evaluation) -> list[str]:
    good = [one.score for one in evaluation.good]
    defect = [one.score for one in evaluation.defect]
    threshold = evaluation.subject.thresholds
    charts = [
        framed(
            histogram(good, defect, None if threshold is None else threshold.score),
            "Right of the threshold a part is rejected."
            if threshold is not None
            else "There is no threshold yet; sad-export sets one on good parts.",
        )
    ]
    if good and defect:
        cuts = np.unique([*good, *defect])[::-1]
        false_rejects = [0.0, *(float(np.mean(np.array(good) >= cut)) for cut in cuts)]
        caught = [0.0, *(float(np.mean(np.array(defect) >= cut)) for cut in cuts)]
        at = _working_point(evaluation)
        chart = trade_off(
            false_rejects, caught, x_label="false rejects (share of good parts)", y_label="defects caught", point=at
        )
        charts.append(framed(chart, "What every threshold would catch, and what it would cost in good parts."))
    return charts


def _working_point(evaluation: Evaluation) -> tuple[float, float] | None:
    false_reject, escape = evaluation.false_reject(), evaluation.escape()
    return None if false_reject is None or escape is None else (false_reject, 1 - escape)


def _pictures(evaluation: Evaluation, scale: Thresholds) -> list[str]:
    """The galleries, as many cards as fit into MAX_GALLERY_BYTES."""
    judges = evaluation.subject.thresholds is not None
    missed = sorted(evaluation.defect, key=lambda one: one.score)
    rejected = sorted(evaluation.good, key=lambda one: -one.score)
    hits = sorted(evaluation.defect, key=lambda one: one.score)
    if judges:
        missed = [one for one in missed if one.verdict is not Verdict.FAIL]
        rejected = [one for one in rejected if one.verdict is not Verdict.PASS]
        hits = [one for one in hits if one.verdict is Verdict.FAIL]
    else:
        hits = hits[SHOWN:]
    groups: list[tuple[str, str, list[Judged], Tone]] = [
        ("Missed defects" if judges else "Defects with the lowest scores", "Worst first.", missed[:SHOWN], "bad"),
        (
            "Rejected good parts" if judges else "Good parts with the highest scores",
            "Worst first.",
            rejected[:SHOWN],
            "warn",
        ),
        ("Found defects", "From the faintest to the clearest, evenly over all that were found.", _evenly(hits), "good"),
    ]
    left = MAX_GALLERY_BYTES
    sections = []
    for title, note, judged, tone in groups:
        cards = []
        for one in judged:
            card = _card(one, evaluation, scale, tone)
            left -= sum(map(len, card.pictures))
            if left < 0:
                break
            cards.append(card)
        if cards:
            sections.append(section(title, gallery(cards), note=note))
        elif not judged and judges and tone != "good":
            sections.append(section(title, note="None in this test."))
    return sections


def _evenly(judged: Sequence[Judged]) -> list[Judged]:
    if len(judged) <= SHOWN:
        return list(judged)
    return [judged[index] for index in np.linspace(0, len(judged) - 1, SHOWN).astype(int)]


def _card(one: Judged, evaluation: Evaluation, scale: Thresholds, tone: Tone) -> Card:
    seen = _seen(one, evaluation.subject.inspector.roi)
    heatmap = cv2.resize(one.heatmap, (seen.shape[1], seen.shape[0]), interpolation=cv2.INTER_LINEAR)
    shots = [picture(seen, "picture"), picture(overlay(seen, np.asarray(heatmap), scale), "heatmap")]
    if one.truth is not None and not one.sample.is_good:
        shots.append(picture(_mask(one.truth), "truth", lossless=True))
    verdict = "" if one.verdict is None else f", {one.verdict.value}"
    return Card(shots, f"{one.sample.label}/{one.sample.path.name}", f"score {one.score:.4g}{verdict}", tone)


def _seen(one: Judged, roi: Roi | None) -> Picture:
    """(H, W, C): what was judged, in the picture's own proportions, at most PICTURE_PX long."""
    whole = read_picture(one.sample.path)
    judged = whole if roi is None else whole[roi.y : roi.y + roi.height, roi.x : roi.x + roi.width]
    small = reduced(judged, PICTURE_PX)
    return np.asarray(small.reshape(*small.shape[:2], -1), dtype=np.uint8)


def _mask(truth: JudgedMap) -> NDArray[np.uint8]:
    return np.asarray(np.where(truth.mask(), 255, 0), dtype=np.uint8)


def _figures(evaluation: Evaluation, summary: dict[str, Any]) -> str:
    rows = [*verdict_rows(evaluation, summary), *headline_rows(evaluation, summary)]
    return table(("figure", "value", "meaning"), rows, words=(2,))


def _facts(evaluation: Evaluation, summary: dict[str, Any]) -> list[tuple[str, str]]:
    spec = evaluation.subject.inspector.spec
    cap = evaluation.pixel_size_px
    return [
        ("subject", f"{evaluation.subject.name} ({evaluation.subject.kind})"),
        ("method", summary["method"] or "not told"),
        ("precision", summary["precision"] or "not told"),
        ("backend", summary["backend"]),
        ("model input", f"{spec.width}x{spec.height}x{spec.channels}"),
        ("data set", evaluation.dataset),
        ("pictures", f"{summary['n_good']} good, {summary['n_defect']} defects"),
        ("heatmaps judged at", "picture size" + (f", at most {cap} px" if cap else "") + "; masks above 0"),
        ("colour scale", _scale_words(evaluation)),
    ]


def _scale_words(evaluation: Evaluation) -> str:
    if evaluation.subject.thresholds is not None:
        return "fixed; outlined above the pixel threshold"
    return "from this test's good pictures (no threshold yet)"


def _scale_from(evaluation: Evaluation) -> Thresholds:
    """A colour scale for a subject that has no thresholds: the good pictures' median and their highest value."""
    shown = evaluation.good or evaluation.judged
    values = np.concatenate([one.heatmap.ravel() for one in shown])
    return Thresholds(score=math.nan, pixel=float(values.max()), heatmap_low=float(np.median(values)))
