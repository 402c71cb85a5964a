"""From a finished run to a bundle, in order: graph, model files, thresholds, parity, golden pictures, report."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sad_calibration.conformal import METHOD
from sad_calibration.thresholds import Calibration, Cuts, cuts, measure
from sad_export.cost import cost_of
from sad_export.export_report import Findings, report_html
from sad_export.golden import golden_indices
from sad_export.onnx_graph import OPSET, onnx_from_graph
from sad_export.parity import Comparison, Replay, compared, noise_of, replay
from sad_export.parity_set import ParityPicture, known_defects, parity_set
from sad_export.precisions import model_file
from sad_runtime.backends.base import Backend
from sad_runtime.backends.constant import ConstantBackend
from sad_runtime.backends.table import backend_for, chosen_backend, installed_backends
from sad_runtime.bundle import sha256_hex, write_bundle
from sad_runtime.cli.progress import progressing
from sad_runtime.decide import Thresholds, judge
from sad_runtime.errors import DataError, GateFailed, UsageError
from sad_runtime.manifest import DecisionPolicy, Golden, Manifest, PictureSize, Precision, Roi, Training
from sad_runtime.pictures import encode_png, read_picture
from sad_train.data.goodset import loaded
from sad_train.graph import InspectionGraph
from sad_train.run import Checkpoint, Run
from sad_train.settling import settle
from sad_train.synthesis.nsa_recipe import probe_recipe
from sad_train.torch_backend import TorchBackend, learner_from_checkpoint

SIZES_READ = 32


@dataclass(frozen=True)
class Wish:
    """What is asked of an export. Rates are fractions."""

    out: Path
    part: str | None = None
    target: float | None = None
    review_rate: float | None = None
    strict: bool = False
    ignore: Path | None = None
    defects: Path | None = None
    pictures: bool = True
    backend: str = "auto"
    opset: int = OPSET
    precisions: tuple[str, ...] = ("fp32",)


@dataclass(frozen=True)
class _Measured:
    """One precision, proved."""

    model: bytes
    cuts: Cuts
    calibration: Calibration
    shipped: Replay
    comparisons: list[Comparison]
    golden: list[int]
    noise: float


def exported(run: Run, wish: Wish) -> Findings:
    """Writes the bundle unless a gate fails; the findings say which. Raises DataError, GateFailed and their kin."""
    _check_backend(wish.backend)
    checkpoint = run.load()
    if not checkpoint.finished:
        raise DataError(
            f"{run.folder}: training stopped at step {checkpoint.step} of {checkpoint.config.steps}. "
            "Give the same sad-train command again to finish it"
        )
    learner = learner_from_checkpoint(checkpoint)
    graph = InspectionGraph(learner.network, checkpoint.spec, checkpoint.config).eval()
    mask = _ignore_mask(graph, wish.ignore)
    if mask is not None and checkpoint.config.score == "network":
        settle(learner, graph, _pictures(run, checkpoint, "train"), "cpu")
    goods = _pictures(run, checkpoint, "calibration")
    defects = known_defects(wish.defects, checkpoint.spec, checkpoint.config.roi_box) if wish.defects else []
    pictures = parity_set(goods, probe_recipe(checkpoint.profile), checkpoint.config.seed, defects)
    onnx_fp32 = onnx_from_graph(graph, opset=wish.opset)
    measured = {
        name: _measured(graph, model_file(onnx_fp32, name), checkpoint, goods, pictures, wish)
        for name in wish.precisions
    }
    judged = _judged_size(run, checkpoint.config.roi_box)
    findings = _findings(checkpoint, measured, pictures, judged, wish)
    if not findings.failures:
        _write(checkpoint, measured, pictures, goods, mask, findings, wish)
    return findings


def _check_backend(name: str) -> None:
    """Raises UsageError for an engine that is not there, or that runs no model."""
    if chosen_backend(name)[0].partition(":")[0] == ConstantBackend.name:
        raise UsageError(f"--backend {name} never runs the model, so nothing can be set on it. Leave --backend out")


def _ignore_mask(graph: InspectionGraph, path: Path | None) -> NDArray[np.uint8] | None:
    """Reads and applies the mask, which must have the model's size; white is not judged."""
    if path is None:
        return None
    mask = read_picture(path)
    if mask.ndim == 3:
        mask = np.asarray(mask.max(axis=2), dtype=np.uint8)
    height, width = graph.spec.height, graph.spec.width
    if mask.shape != (height, width):
        raise DataError(
            f"{path}: is {mask.shape[1]}x{mask.shape[0]}; an ignore mask is {width}x{height}, the model's size"
        )
    if (mask > 127).all():
        raise DataError(f"{path}: is white all over, so nothing would be judged; white means: ignore")
    graph.ignore(mask)
    return mask


def _pictures(run: Run, checkpoint: Checkpoint, share: Literal["calibration", "train"]) -> NDArray[np.uint8]:
    """(n, H, W, C) uint8, the very files that the run kept for the threshold or trained on."""
    split = run.split()
    kind = "calibration" if share == "calibration" else "training"
    for picked in getattr(split, share):
        path = Path(picked.path)
        if not path.exists():
            raise DataError(f"{path}: a {kind} picture of this run is gone; put it back, or train again")
        if sha256_hex(path.read_bytes()) != picked.sha256:
            raise DataError(f"{path}: a {kind} picture of this run was changed since; put it back, or train again")
    return loaded(split.paths(share), checkpoint.spec, checkpoint.config.roi_box)


def _judged_size(run: Run, roi: Roi | None) -> PictureSize | None:
    """The size that all of up to 32 calibration pictures have."""
    if roi is not None:
        return PictureSize(width=roi.width, height=roi.height)
    shapes = {read_picture(path).shape[:2] for path in run.split().paths("calibration")[:SIZES_READ]}
    height, width = next(iter(shapes))
    return PictureSize(width=width, height=height) if len(shapes) == 1 else None


def _measured(
    graph: InspectionGraph,
    model: bytes,
    checkpoint: Checkpoint,
    goods: NDArray[np.uint8],
    pictures: Sequence[ParityPicture],
    wish: Wish,
) -> _Measured:
    """Thresholds on the very file, then every engine against torch."""
    shipping = chosen_backend(wish.backend)[0].partition(":")[0]
    engines = [shipping, *(name for name in installed_backends() if name != shipping)]
    with TorchBackend(graph, checkpoint.spec) as torch_backend:
        in_torch = measure(torch_backend, goods)
        reference = replay(torch_backend, pictures)
    calibrations, replays = [], []
    for name in progressing(engines, "parity"):
        backend: Backend = backend_for(name, model, checkpoint.spec)
        with backend:
            backend.warm_up()
            calibrations.append(measure(backend, goods))
            replays.append(replay(backend, pictures))
    made = cuts(calibrations[0], target=wish.target, review_rate=wish.review_rate)
    shipped = Thresholds(made.score_threshold, made.pixel_threshold, made.heatmap_low, made.review_threshold)
    noise = noise_of(reference, replays)
    golden = golden_indices(pictures, reference.scores, made.score_threshold, noise)
    torch_cut = cuts(in_torch, target=wish.target).score_threshold
    comparisons = [
        compared(
            reference, other, pictures, golden, shipped, (torch_cut, cuts(own, target=wish.target).score_threshold)
        )
        for other, own in zip(replays, calibrations, strict=True)
    ]
    return _Measured(model, made, calibrations[0], replays[0], comparisons, golden, noise)


def _findings(
    checkpoint: Checkpoint,
    measured: dict[str, _Measured],
    pictures: Sequence[ParityPicture],
    judged: PictureSize | None,
    wish: Wish,
) -> Findings:
    main = measured["fp32"]
    failures = [
        f"{name} on {comparison.engine}: {failure}"
        for name, one in measured.items()
        for comparison in one.comparisons
        for failure in comparison.failures
    ]
    if wish.strict and not main.cuts.promise.supported:
        failures.append(main.cuts.promise.text)
    return Findings(
        bundle=str(wish.out),
        part=wish.part or checkpoint.provenance.part,
        pictures=list(pictures),
        judged=judged,
        scores=[float(score) for score in main.shipped.scores],
        heatmaps=main.shipped.heatmaps,
        golden=main.golden,
        cuts=main.cuts,
        noise=main.noise,
        comparisons={name: one.comparisons for name, one in measured.items()},
        bytes={name: len(one.model) for name, one in measured.items()},
        failures=failures,
    )


def _write(
    checkpoint: Checkpoint,
    measured: dict[str, _Measured],
    pictures: Sequence[ParityPicture],
    goods: NDArray[np.uint8],
    mask: NDArray[np.uint8] | None,
    findings: Findings,
    wish: Wish,
) -> None:
    main = measured["fp32"]
    golden = [_golden(number, index, measured) for number, index in enumerate(main.golden)]
    files = {f"model/{name}.onnx": one.model for name, one in measured.items()}
    files |= {entry.file: encode_png(pictures[index].picture) for entry, index in zip(golden, main.golden, strict=True)}
    files["calibration.npz"] = _scores_file(measured)
    files["parity.json"] = json.dumps(findings.as_json(), indent=1).encode()
    files["report.html"] = report_html(findings).encode()
    if wish.pictures:
        files |= {f"calibration/{index:04}.png": encode_png(good) for index, good in enumerate(goods)}
    if mask is not None:
        files["ignore.png"] = encode_png(mask)
    promise, cost = main.cuts.promise, cost_of(main.model)
    manifest = Manifest(
        part=findings.part,
        method=checkpoint.config.method,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        input=checkpoint.spec,
        roi=checkpoint.config.roi_box,
        judged=findings.judged,
        ignore=None if mask is None else "ignore.png",
        precisions={name: _precision(name, one) for name, one in measured.items()},
        decision=DecisionPolicy(
            target_false_reject=promise.target_false_reject,
            guaranteed_false_reject=promise.guaranteed_false_reject,
            method=METHOD,
            n=promise.n,
        ),
        golden=golden,
        golden_tolerance=_tolerance(main),
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
    write_bundle(wish.out, manifest, files)


def _golden(number: int, index: int, measured: dict[str, _Measured]) -> Golden:
    scores = {name: float(one.shipped.scores[index]) for name, one in measured.items()}
    verdicts = {name: judge(scores[name], one.cuts.score_threshold).value for name, one in measured.items()}
    return Golden(file=f"golden/{number:02}.png", score=scores, verdict=verdicts)


def _precision(name: str, one: _Measured) -> Precision:
    return Precision(
        file=f"model/{name}.onnx",
        sha256=sha256_hex(one.model),
        score_threshold=one.cuts.score_threshold,
        review_threshold=one.cuts.review_threshold,
        pixel_threshold=one.cuts.pixel_threshold,
        heatmap_low=one.cuts.heatmap_low,
    )


def _tolerance(one: _Measured) -> float:
    """Ten times the noise seen here or 1 % of the good scores' spread, the larger: other CPUs round otherwise."""
    return max(10 * one.noise, 0.01 * float(np.ptp(one.calibration.scores)), 1e-4)


def _scores_file(measured: dict[str, _Measured]) -> bytes:
    arrays: dict[str, NDArray[np.float64]] = {}
    for name, one in measured.items():
        arrays[f"{name}_score"] = np.sort(np.array(one.calibration.scores))
        arrays[f"{name}_pixel"] = np.sort(np.array(one.calibration.pixel_maxima))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def gate(findings: Findings) -> None:
    """Raises GateFailed when the export did not pass; no bundle was written then."""
    if findings.failures:
        raise GateFailed(f"{findings.bundle}: not written. " + "; ".join(findings.failures))
