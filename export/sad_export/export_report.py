"""What an export found, as JSON for scripts and as a page for people. Both go into the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sad_calibration.conformal import percent
from sad_calibration.thresholds import Cuts
from sad_export.parity import Comparison
from sad_export.parity_set import ParityPicture
from sad_runtime.decide import Thresholds, judge
from sad_runtime.heatmap import overlay
from sad_runtime.manifest import PictureSize
from sad_train import report
from sad_train.report_charts import histogram

SHOWN = 16


@dataclass(frozen=True)
class Findings:
    """`scores` (n,) and `heatmaps` (n, H, W) are the shipped backend's over `pictures`."""

    bundle: str
    part: str
    pictures: list[ParityPicture]
    judged: PictureSize | None
    scores: list[float]
    heatmaps: NDArray[np.float32]
    golden: list[int]
    cuts: Cuts
    noise: float
    comparisons: dict[str, list[Comparison]]
    bytes: dict[str, int]
    failures: list[str]

    def as_json(self) -> dict[str, Any]:
        """`sad-export --json` (DESIGN 4.8), with every engine's figures below `engines`."""
        return {
            "bundle": self.bundle,
            "precisions": {name: self._precision(name) for name in self.comparisons},
            "threshold": self.cuts.score_threshold,
            "guaranteed_false_reject": self.cuts.promise.guaranteed_false_reject,
            "promise": self.cuts.promise.text,
            "gate": "failed" if self.failures else "passed",
            "failures": self.failures,
            "golden": len(self.golden),
            "noise": self.noise,
            "parity_pictures": {
                kind: sum(picture.kind == kind for picture in self.pictures) for kind in ("good", "synthetic", "defect")
            },
            "engines": {name: [asdict(one) for one in found] for name, found in self.comparisons.items()},
        }

    def _precision(self, name: str) -> dict[str, Any]:
        """The shipped engine's row; anomalies are synthetic unless known defects were given."""
        first = self.comparisons[name][0]
        return {
            "flips": sum(one.flips for one in self.comparisons[name]),
            "near_flips": sum(one.near_flips for one in self.comparisons[name]),
            "score_spearman": first.score_spearman,
            "image_auroc": first.image_auroc,
            "aupro": first.aupro,
            "bytes": self.bytes[name],
            "latency_ms": first.latency_ms,
        }


def report_html(findings: Findings) -> str:
    verdict = "The exported file decides as the trained model did" if not findings.failures else "The gate failed"
    return report.page(
        f"Export of {findings.part}",
        report.notices(findings.failures, "bad"),
        report.section(
            "In short", report.tiles(_tiles(findings)), note=f"{verdict}. The threshold: {findings.cuts.promise.text}."
        ),
        report.section(
            "Every engine against the trained model",
            report.table(_HEADER, _rows(findings)),
            note="Largest differences over the parity set. Flips are golden pictures judged otherwise and fail the "
            "export; near flips stand within rounding of the threshold.",
        ),
        report.section(
            "Scores", _scores(findings), note="Anomalies here are synthetic unless known defects were given."
        ),
        report.section("Golden pictures", report.gallery(_cards(findings))),
        subtitle=f"{len(findings.pictures)} pictures replayed, {len(findings.golden)} of them golden",
    )


_HEADER = ("engine", "score", "heatmap", "Spearman", "IoU", "flips", "near flips", "AUROC", "AUPRO", "ms")


def _tiles(findings: Findings) -> list[report.Tile]:
    flips = sum(one.flips for found in findings.comparisons.values() for one in found)
    promise = findings.cuts.promise
    return [
        report.Tile("Golden flips", str(flips), f"of {len(findings.golden)} pictures", "bad" if flips else "good"),
        report.Tile("Threshold", f"{findings.cuts.score_threshold:.4g}", f"set on {promise.n} good parts"),
        report.Tile("False rejects promised", percent(promise.guaranteed_false_reject), "at most, on average"),
        report.Tile("Noise between engines", f"{findings.noise:.2g}", "score units"),
    ]


def _rows(findings: Findings) -> list[list[str]]:
    return [
        [
            f"{name} {one.engine}",
            f"{one.score_max_difference:.2g}",
            f"{one.heatmap_max_difference:.2g}",
            _figure(one.score_spearman),
            f"{one.heatmap_iou:.4f}",
            str(one.flips),
            str(one.near_flips),
            _figure(one.image_auroc),
            _figure(one.aupro),
            f"{one.latency_ms:.1f}",
        ]
        for name, found in findings.comparisons.items()
        for one in found
    ]


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _scores(findings: Findings) -> str:
    good = [score for score, picture in zip(findings.scores, findings.pictures, strict=True) if picture.is_good]
    other = [score for score, picture in zip(findings.scores, findings.pictures, strict=True) if not picture.is_good]
    return report.figure(histogram(good, other, findings.cuts.score_threshold), "Scores of the parity set")


def _cards(findings: Findings) -> Sequence[report.Card]:
    cuts = findings.cuts
    scale = Thresholds(cuts.score_threshold, cuts.pixel_threshold, cuts.heatmap_low, cuts.review_threshold)
    cards = []
    for index in findings.golden[:SHOWN]:
        shown, score = findings.pictures[index], findings.scores[index]
        found = judge(score, cuts.score_threshold).value
        pictures = [
            report.picture(shown.picture, "picture", side_px=160),
            report.picture(overlay(shown.picture, findings.heatmaps[index], scale), "heatmap", side_px=160),
        ]
        right = (found == "PASS") == shown.is_good
        cards.append(report.Card(pictures, shown.name, f"{found}, score {score:.4g}", "good" if right else "warn"))
    return cards
