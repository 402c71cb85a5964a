"""What goes into a bundle: model files, golden and calibration pictures, scores, reports, and the manifest."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

import numpy as np
from numpy.typing import NDArray

from sad_calibration.conformal import METHOD
from sad_calibration.int8.ranges import Ranges
from sad_export import scene
from sad_export.cost import cost_of
from sad_export.export_report import Findings, report_html
from sad_export.proof import Proof
from sad_runtime.bundle import sha256_hex
from sad_runtime.decide import judge
from sad_runtime.manifest import DecisionPolicy, Golden, Manifest, Precision, Training
from sad_runtime.pictures import encode_png
from sad_train.run import Checkpoint

RANGES = "int8_ranges.json"


@dataclass(frozen=True)
class Extras:
    """What a bundle holds only when asked for, or when there is some."""

    pictures: NDArray[np.uint8] | None
    """Good calibration pictures (n, H, W, C), so that thresholds can be set again on the box."""
    mask: NDArray[np.uint8] | None
    ranges: Ranges | None
    """The INT8 calibration cache."""


def files_of(proved: Mapping[str, Proof], golden: list[Golden], findings: Findings, extras: Extras) -> dict[str, bytes]:
    """Everything but the manifest, by name."""
    files = {f"model/{name}.onnx": one.made.model for name, one in proved.items()}
    files |= {
        entry.file: encode_png(findings.pictures[index].picture)
        for entry, index in zip(golden, findings.golden, strict=True)
    }
    files["calibration.npz"] = _scores_file(proved)
    files["parity.json"] = json.dumps(findings.as_json(), indent=1).encode()
    files["report.html"] = report_html(findings).encode()
    if extras.pictures is not None:
        files |= {f"calibration/{index:04}.png": encode_png(good) for index, good in enumerate(extras.pictures)}
    if findings.scene is not None:
        files[scene.FILE] = findings.scene.to_npz()
    if extras.mask is not None:
        files["ignore.png"] = encode_png(extras.mask)
    if extras.ranges is not None:
        files[RANGES] = extras.ranges.to_json()
    return files


def manifest_of(
    checkpoint: Checkpoint, proved: Mapping[str, Proof], golden: list[Golden], findings: Findings, extras: Extras
) -> Manifest:
    main = proved["fp32"]
    promise, cost = main.cuts.promise, cost_of(main.made.model)
    return Manifest(
        part=findings.part,
        method=checkpoint.config.method,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        input=checkpoint.spec,
        roi=checkpoint.config.roi_box,
        judged=findings.judged,
        ignore=None if extras.mask is None else "ignore.png",
        precisions={name: _precision(name, one) for name, one in proved.items()},
        decision=DecisionPolicy(
            target_false_reject=promise.target_false_reject,
            guaranteed_false_reject=promise.guaranteed_false_reject,
            method=METHOD,
            n=promise.n,
        ),
        golden=golden,
        golden_tolerance=main.golden_tolerance,
        scene=None if findings.scene is None else findings.scene.limits,
        training=Training(
            method=checkpoint.config.method,
            preset=checkpoint.config.preset,
            seed=checkpoint.config.seed,
            data_digest=checkpoint.provenance.data_digest,
            pictures=checkpoint.provenance.pictures,
            versions=checkpoint.provenance.versions,
            commit=checkpoint.provenance.commit,
            minutes=checkpoint.seconds / 60,
            parameters=cost.parameters,
            gmac=cost.gmac,
        ),
        backbone=checkpoint.provenance.backbone,
    )


def golden_entries(proved: Mapping[str, Proof], golden: list[int]) -> list[Golden]:
    """`golden`: indices into the parity set."""
    return [_golden(number, index, proved) for number, index in enumerate(golden)]


def _golden(number: int, index: int, proved: Mapping[str, Proof]) -> Golden:
    scores = {name: float(one.shipped.scores[index]) for name, one in proved.items() if index in one.golden}
    verdicts = {name: judge(score, proved[name].cuts.score_threshold).value for name, score in scores.items()}
    return Golden(file=f"golden/{number:02}.png", score=scores, verdict=verdicts)


def _precision(name: str, one: Proof) -> Precision:
    return Precision(
        file=f"model/{name}.onnx",
        sha256=sha256_hex(one.made.model),
        score_threshold=one.cuts.score_threshold,
        review_threshold=one.cuts.review_threshold,
        pixel_threshold=one.cuts.pixel_threshold,
        heatmap_low=one.cuts.heatmap_low,
        golden_tolerance=one.golden_tolerance,
        note=one.made.note,
    )


def _scores_file(proved: Mapping[str, Proof]) -> bytes:
    arrays: dict[str, NDArray[np.float64]] = {}
    for name, one in proved.items():
        arrays[f"{name}_score"] = np.sort(np.array(one.calibration.scores))
        arrays[f"{name}_pixel"] = np.sort(np.array(one.calibration.pixel_maxima))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
