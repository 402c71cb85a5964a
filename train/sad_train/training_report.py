"""`report.html` of a run: what it was given, how it learnt, what to do next."""

from __future__ import annotations

import math

import cv2
import numpy as np

from sad_runtime.cli.progress import clock
from sad_runtime.files import write_atomically
from sad_runtime.pictures import read_picture
from sad_train import report
from sad_train.data.dataset_check import DatasetCheck
from sad_train.methods.table import method_named
from sad_train.report_charts import lines
from sad_train.run import Checkpoint, Run

PREVIEW_PX = 1152
MANY_MISSING = 0.5
"""Share of the wanted anomalies without a place from which on a user is told."""


def write_report(run: Run, checkpoint: Checkpoint, check: DatasetCheck, previews: dict[str, str]) -> None:
    """Reads the run's metrics and previews; writes one self-contained HTML file."""
    html = report.page(
        f"Training of {checkpoint.provenance.part}",
        _headline(run, checkpoint),
        report.section("What to look at in the pictures", report.notices(check.warnings)) if check.warnings else "",
        report.notices([told], "bad") if (told := places_missing(run)) else "",
        _learning(run),
        *(_preview(run, name, caption) for name, caption in previews.items()),
        _facts(checkpoint),
        subtitle=f"Method {checkpoint.config.method}, preset {checkpoint.config.preset}, seed {checkpoint.config.seed}",
        footer=_next(run, checkpoint),
    )
    write_atomically(run.report, html.encode())


def places_missing(run: Run) -> str | None:
    """What to tell of a training that found no place for most of its anomalies; None for any other."""
    shares = [row["without_patch"] for row in run.metrics()]
    share = sum(shares) / max(1, len(shares))
    if share < MANY_MISSING:
        return None
    return (
        f"{100 * share:.0f} % of the examples that were to hold an anomaly found no place for one and were learnt from "
        "as good pictures, so little was learnt about defects. Look at what it trains on with sad-train --preview"
    )


def _next(run: Run, checkpoint: Checkpoint) -> str:
    if method_named(checkpoint.config.method).inspects:
        return f"Next: sad-export {run.folder}"
    return f"Next: sad-train --method fastflow --backbone {run.folder} --data FOLDER"


def _headline(run: Run, checkpoint: Checkpoint) -> str:
    split = run.split()
    metrics = run.metrics()
    auroc = metrics[-1].get("synthetic_auroc") if metrics else None
    tiles = [
        report.Tile(
            "Training time", clock(checkpoint.seconds), f"{checkpoint.step} steps of {checkpoint.config.batch}"
        ),
        report.Tile("Pictures", str(len(split.train)), f"and {len(split.calibration)} kept for the threshold"),
        report.Tile("Last loss", f"{metrics[-1]['loss']:.4f}" if metrics else "none"),
    ]
    if auroc is not None:
        tiles.append(
            report.Tile("Synthetic AUROC", f"{100 * auroc:.1f} %", f"{len(split.validation)} validation pictures")
        )
    return report.section(
        "In short",
        report.tiles(tiles),
        note="Synthetic figures say that the training worked. How well real defects are found, sad-evaluate says.",
    )


def _learning(run: Run) -> str:
    rows = run.metrics()
    if len(rows) < 2:
        return ""
    parts = [name for name in rows[0] if name.startswith("loss_")][:4] or ["loss"]
    drawn = {name.removeprefix("loss_"): [(row["step"], row.get(name, math.nan)) for row in rows] for name in parts}
    chart = lines(drawn, x_label="step", y_label="loss")
    return report.section("How it learnt", report.figure(chart, "Mean losses since the point before"))


def _preview(run: Run, name: str, caption: str) -> str:
    pixels = read_picture(run.previews / name)
    if max(pixels.shape[:2]) > PREVIEW_PX:
        factor = PREVIEW_PX / max(pixels.shape[:2])
        pixels = np.asarray(cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
    return report.section(caption, report.picture(pixels, name, side_px=PREVIEW_PX))


def _facts(checkpoint: Checkpoint) -> str:
    profile, provenance = checkpoint.profile, checkpoint.provenance
    measured = [
        ("kind", profile.kind),
        ("pose", f"{'aligned' if profile.aligned else 'not aligned'} (correlation {profile.alignment:.2f})"),
        ("part's share of the picture", f"{100 * profile.foreground_share:.0f} %"),
        ("noise floor", f"{profile.noise_floor:.1f} grey levels"),
        ("model input", "x".join(str(side) for side in checkpoint.spec.shape)),
        ("data digest", provenance.data_digest[:16]),
        *((f"version of {name}", value) for name, value in provenance.versions.items()),
        ("commit", (provenance.commit or "none")[:12]),
        *([("backbone", f"{backbone.name}, licence: {backbone.licence}")] if (backbone := provenance.backbone) else []),
    ]
    return report.section("What the good set says of itself, and what made this run", report.facts(measured))
