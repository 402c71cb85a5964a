"""What an export found, as JSON for scripts and as a page for people. Both go into the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sad_calibration.conformal import percent
from sad_calibration.thresholds import Cuts
from sad_export.parity_set import ParityPicture
from sad_export.proof import Proof
from sad_export.scene import Learnt
from sad_export.scene_report import scene_json, scene_section
from sad_runtime.decide import Thresholds, judge
from sad_runtime.heatmap import overlay
from sad_runtime.manifest import PictureSize
from sad_train import report
from sad_train.report_charts import histogram

SHOWN = 16
APART = 8


@dataclass(frozen=True)
class Findings:
    """`golden`: indices into `pictures`, the parity set. `proved`: by precision, fp32 first."""

    bundle: str
    part: str
    pictures: list[ParityPicture]
    judged: PictureSize | None
    golden: list[int]
    noise: float
    proved: dict[str, Proof]
    failures: list[str]
    scene: Learnt | None = None
    """What the station's guard goes by."""

    @property
    def main(self) -> Proof:
        return self.proved["fp32"]

    @property
    def cuts(self) -> Cuts:
        return self.main.cuts

    def as_json(self) -> dict[str, Any]:
        """`sad-export --json` (DESIGN 4.8), with every engine's figures below `engines`."""
        return {
            "bundle": self.bundle,
            "precisions": {name: self._precision(one) for name, one in self.proved.items()},
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
            "engines": {name: [asdict(found) for found in one.comparisons] for name, one in self.proved.items()},
            "scene": None if self.scene is None else scene_json(self.scene),
            "int8": next((one.made.choice.as_json() for one in self.proved.values() if one.made.choice), None),
        }

    def _precision(self, one: Proof) -> dict[str, Any]:
        """The shipped engine's row; anomalies are synthetic unless known defects were given."""
        first = one.comparisons[0]
        return {
            "flips": sum(found.flips for found in one.comparisons),
            "near_flips": sum(found.near_flips for found in one.comparisons),
            "score_spearman": first.score_spearman,
            "heatmap_spearman": first.heatmap_spearman,
            "heatmap_iou": first.heatmap_iou,
            "image_auroc": first.image_auroc,
            "aupro": first.aupro,
            "threshold": one.cuts.score_threshold,
            "bytes": len(one.made.model),
            "latency_ms": first.latency_ms,
            "note": one.made.note,
        }


def report_html(findings: Findings) -> str:
    verdict = "Every file decides as the trained model did" if not findings.failures else "The gate failed"
    return report.page(
        f"Export of {findings.part}",
        report.notices(findings.failures, "bad"),
        report.section(
            "In short", report.tiles(_tiles(findings)), note=f"{verdict}. The threshold: {findings.cuts.promise.text}."
        ),
        report.section(
            "Model files",
            report.table(_FILES, _file_rows(findings), words=(7,)),
            note="Thresholds are set on each file. The time is one inference on the first engine of the table below.",
        ),
        report.section(
            "Every engine against the trained model",
            report.table(_HEADER, _rows(findings)),
            note="Largest differences over the parity set. Flips are golden pictures judged otherwise and fail the "
            "export; near flips stand within this precision's noise of the threshold. Each is judged at its file's "
            "threshold.",
        ),
        _layers(findings),
        report.section(
            "Scores", _scores(findings), note="Anomalies here are synthetic unless known defects were given."
        ),
        _apart(findings),
        "" if findings.scene is None else scene_section(findings.scene),
        report.section("Golden pictures", report.gallery(_cards(findings))),
        subtitle=f"{len(findings.pictures)} pictures replayed, {len(findings.golden)} of them golden",
    )


_FILES = ("file", "kB", "ms", "threshold", "flips", "AUROC", "AUPRO", "how")
_HEADER = ("engine", "score", "heatmap", "ranks", "map ranks", "IoU", "flips", "near flips", "AUROC", "AUPRO", "ms")


def _tiles(findings: Findings) -> list[report.Tile]:
    flips = sum(found.flips for one in findings.proved.values() for found in one.comparisons)
    promise = findings.cuts.promise
    return [
        report.Tile("Golden flips", str(flips), f"of {len(findings.golden)} pictures", "bad" if flips else "good"),
        report.Tile("Threshold", f"{findings.cuts.score_threshold:.4g}", f"set on {promise.n} good parts"),
        report.Tile("False rejects promised", percent(promise.guaranteed_false_reject), "at most, on average"),
        report.Tile("Noise between engines", f"{findings.noise:.2g}", "score units"),
    ]


def _file_rows(findings: Findings) -> list[list[str]]:
    return [
        [
            name,
            f"{len(one.made.model) / 1e3:,.0f}",
            f"{one.shipped.latency_ms:.1f}",
            f"{one.cuts.score_threshold:.4g}",
            str(sum(found.flips for found in one.comparisons)),
            _figure(one.comparisons[0].image_auroc),
            _figure(one.comparisons[0].aupro),
            one.made.note,
        ]
        for name, one in findings.proved.items()
    ]


def _rows(findings: Findings) -> list[list[str]]:
    return [
        [
            f"{name} {found.engine}",
            f"{found.score_max_difference:.2g}",
            f"{found.heatmap_max_difference:.2g}",
            _figure(found.score_spearman),
            _figure(found.heatmap_spearman),
            f"{found.heatmap_iou:.4f}",
            str(found.flips),
            str(found.near_flips),
            _figure(found.image_auroc),
            _figure(found.aupro),
            f"{found.latency_ms:.1f}",
        ]
        for name, one in findings.proved.items()
        for found in one.comparisons
    ]


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _layers(findings: Findings) -> str:
    """How sensitive every convolution is to INT8; nothing where no INT8 file was made."""
    choice = next((one.made.choice for one in findings.proved.values() if one.made.choice), None)
    if choice is None:
        return ""
    ways = {**choice.ways, f"{choice.way}, as chosen": choice.apart}
    tried = [
        [name, f"{100 * one.error:.2f} %", f"{one.ranks:.4f}", f"{100 * one.aupro_drop:.2f}", f"{one.excess:.2f}"]
        for name, one in ways.items()
    ]
    rows = [
        [layer.name, f"{layer.excess:.3f}", f"{100 * layer.work:.1f} %", "float" if layer.in_float else "INT8"]
        for layer in choice.layers
    ]
    return report.section(
        "INT8: how ranges are set, and layer by layer",
        report.table(("ranges by", "difference", "ranks", "AUPRO lost", "excess"), tried),
        report.table(("convolution", "excess alone", "of the work", "kept in"), rows, words=(0, 3)),
        note="Against fp32, on pictures kept for these choices. Difference: mean, of scores or heatmaps, over fp32's "
        "spread. Excess: the sum of the three as multiples of what is good enough; when each is at most 1, nothing "
        "more goes back to float. First every convolution is in INT8, then each one alone.",
    )


def _scores(findings: Findings) -> str:
    scored = list(zip(findings.main.shipped.scores, findings.pictures, strict=True))
    good = [float(score) for score, picture in scored if picture.is_good]
    other = [float(score) for score, picture in scored if not picture.is_good]
    return report.figure(histogram(good, other, findings.cuts.score_threshold), "Scores of the parity set")


def _scale(one: Proof) -> Thresholds:
    cuts = one.cuts
    return Thresholds(cuts.score_threshold, cuts.pixel_threshold, cuts.heatmap_low, cuts.review_threshold)


def _apart(findings: Findings) -> str:
    """The pictures whose heatmaps differ most between fp32 and the other files; nothing where there is only fp32."""
    others = {name: one for name, one in findings.proved.items() if name != "fp32"}
    if not others:
        return ""
    main = findings.main
    differences = np.max(
        [np.abs(one.shipped.heatmaps - main.shipped.heatmaps).mean((1, 2)) for one in others.values()], axis=0
    )
    cards = []
    for index in np.argsort(-differences)[:APART]:
        shown = findings.pictures[index]
        pictures = [report.picture(shown.picture, "picture", side_px=160)]
        pictures += [
            report.picture(overlay(shown.picture, one.shipped.heatmaps[index], _scale(one)), name, side_px=160)
            for name, one in findings.proved.items()
        ]
        scores = ", ".join(f"{name} {one.shipped.scores[index]:.4g}" for name, one in findings.proved.items())
        cards.append(report.Card(pictures, shown.name, scores))
    return report.section("Where the files differ most", report.gallery(cards))


def _cards(findings: Findings) -> Sequence[report.Card]:
    main = findings.main
    cards = []
    for index in findings.golden[:SHOWN]:
        shown, score = findings.pictures[index], float(main.shipped.scores[index])
        found = judge(score, main.cuts.score_threshold).value
        pictures = [
            report.picture(shown.picture, "picture", side_px=160),
            report.picture(overlay(shown.picture, main.shipped.heatmaps[index], _scale(main)), "heatmap", side_px=160),
        ]
        right = (found == "PASS") == shown.is_good
        cards.append(report.Card(pictures, shown.name, f"{found}, score {score:.4g}", "good" if right else "warn"))
    return cards
