"""An evaluation as people read it on a terminal, and how its figures are written wherever they are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sad_train.evaluation.evaluation import Evaluation

NONE = "–"
TYPE_HEADER = ("type", "n", "image AUROC", "image AP", "escape", "pixel AUROC", "pixel AP", "AUPRO", "AUPIMO")


def share(value: float | None) -> str:
    """0.9731 as `97.3 %`."""
    return NONE if value is None else f"{100 * value:.1f} %"


def figure(value: float | None) -> str:
    """0.97312 as `0.973`."""
    return NONE if value is None else f"{value:.3f}"


def subject_line(evaluation: Evaluation, summary: dict[str, Any]) -> str:
    parts = [evaluation.subject.name, summary["method"], summary["precision"], summary["backend"]]
    return ", ".join(part for part in parts if part)


def headline_rows(evaluation: Evaluation, summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(name, figure, what it means) of the whole set."""
    f1 = evaluation.best_f1
    rows = [
        ("image AUROC", figure(summary["image_auroc"]), "a defect scores above a good part"),
        ("image AP", figure(summary["image_ap"]), "average precision"),
        (
            "image F1-max",
            figure(summary["image_f1_max"]),
            "best threshold in hindsight" + ("" if f1 is None else f", {f1.threshold:.4g}"),
        ),
    ]
    rows += [
        (f"caught at {100 * float(rate):g} % false rejects", share(value), "share of the defects")
        for rate, value in summary["recall_at_frr"].items()
    ]
    rows += [
        (f"false rejects at {100 * float(rate):g} % escapes", share(value), "share of the good parts")
        for rate, value in summary["frr_at_escape"].items()
    ]
    rows += [
        ("pixel AUROC", figure(summary["pixel_auroc"]), "heatmap against masks, a pixel at a time"),
        ("pixel AP", figure(summary["pixel_ap"]), "average precision of pixels"),
        ("AUPRO", figure(summary["aupro"]), "covered share of each defect, up to 30 % false pixels"),
        ("AUPIMO", figure(summary["aupimo"]), "recall in a picture at 1 to 10 false pixels in 100,000"),
        ("brightness AUROC", figure(summary["brightness_auroc"]), "what mean brightness alone would reach"),
        (
            "score and brightness",
            figure(summary["score_brightness_correlation"]),
            "rank correlation over the good parts",
        ),
    ]
    return rows


def verdict_rows(evaluation: Evaluation, summary: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(name, figure, what it means) at the threshold that the bundle carries; nothing without one."""
    if summary["threshold"] is None:
        return []
    return [
        ("threshold", f"{summary['threshold']:.5g}", "the bundle's own"),
        ("false rejects", share(summary["false_reject"]), f"of {summary['n_good']} good parts"),
        ("escapes", share(summary["escape"]), f"of {summary['n_defect']} defects"),
    ]


def type_rows(summary: dict[str, Any]) -> list[list[str]]:
    """One row a type of defect, under TYPE_HEADER."""
    rows = []
    for name, found in summary["per_type"].items():
        images = [figure(found["image_auroc"]), figure(found["image_ap"]), share(found["escape"])]
        pixels = [figure(found[key]) for key in ("pixel_auroc", "pixel_ap", "aupro", "aupimo")]
        rows.append([name, str(found["n"]), *images, *pixels])
    return rows


def summary_text(evaluation: Evaluation, summary: dict[str, Any]) -> str:
    """A compact table for the terminal."""
    latency = summary["latency_ms"]
    lines = [
        subject_line(evaluation, summary),
        f"on {evaluation.dataset}: {summary['n_good']} good, {summary['n_defect']} defects; "
        f"{latency['p50']:.1f} ms a picture (p99 {latency['p99']:.1f} ms)",
        "",
        *_columns([*verdict_rows(evaluation, summary), *headline_rows(evaluation, summary)], right={1}),
    ]
    types = type_rows(summary)
    if types:
        lines += ["", *_columns([TYPE_HEADER, *types], right=set(range(1, len(TYPE_HEADER))))]
    return "\n".join(lines)


def _columns(rows: Sequence[Sequence[str]], right: set[int]) -> list[str]:
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
