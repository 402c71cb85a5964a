"""From a finished run to a bundle, in order: graph, model files, thresholds, parity, golden pictures, report."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sad_calibration.samples import samples_from_folder
from sad_export.contents import Extras, files_of, golden_entries, manifest_of
from sad_export.export_report import Findings
from sad_export.onnx_graph import OPSET, onnx_from_graph
from sad_export.parity import Limits
from sad_export.parity_set import ParityPicture, known_defects, parity_set
from sad_export.precisions.finetuned import finetuned
from sad_export.precisions.material import Material, material_from
from sad_export.precisions.models import Models
from sad_export.proof import Asked, Proofs, Trial, proofs, said
from sad_export.scene import MOST, Learnt, embeddings_of, learnt
from sad_runtime.backends.constant import ConstantBackend
from sad_runtime.backends.table import GPU_BACKENDS, backend_for, chosen_backend, installed_backends
from sad_runtime.bundle import sha256_hex, write_bundle
from sad_runtime.errors import DataError, GateFailed, MissingExtra, UsageError
from sad_runtime.files import write_atomically
from sad_runtime.manifest import PictureSize, Roi
from sad_runtime.pictures import read_picture
from sad_runtime.signature import Signer
from sad_train.data.goodset import loaded
from sad_train.data.split import Picked
from sad_train.graph import InspectionGraph
from sad_train.run import Checkpoint, Run
from sad_train.settling import settle
from sad_train.synthesis.nsa_recipe import probe_recipe
from sad_train.torch_backend import TorchBackend, learner_from_checkpoint

SIZES_READ = 32
log = logging.getLogger("sad.export")


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
    limits: Limits = field(default_factory=Limits)
    calibration_set: Path | None = None
    """Folder of pictures to measure INT8 ranges on, instead of training pictures and synthetic anomalies."""
    calibration_cache: Path | None = None
    """File of INT8 ranges: read when it is there, else written."""
    signers: tuple[Signer, ...] = ()
    qat_steps: int = 0
    """Steps of quantisation-aware fine-tuning when an INT8 file fails the gate; 0: none."""
    table: tuple[str, Path] | None = None
    """A TensorRT version and where to write its calibration table for the fp32 file."""


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
    pictures = _parity_pictures(checkpoint, goods, wish)
    shipping = chosen_backend(wish.backend)[0].partition(":")[0]
    trial = Trial(
        checkpoint.spec,
        goods,
        pictures,
        shipping,
        said(TorchBackend(graph, checkpoint.spec), goods, pictures, TorchBackend.name),
        Asked(wish.target, wish.review_rate),
        wish.limits,
    )
    found, models = _proved(graph, checkpoint.config.seed, lambda: _material(run, checkpoint, wish), trial, wish)
    scene = _scene(run, checkpoint, found, trial)
    findings = _findings(run, checkpoint, found, pictures, wish, scene)
    if not findings.failures:
        ranges = models.ranges if len(found.by_precision) > 1 else None
        _write(checkpoint, found, Extras(goods if wish.pictures else None, mask, ranges), findings, wish)
    return findings


def _proved(
    graph: InspectionGraph, seed: int, material: Callable[[], Material], trial: Trial, wish: Wish
) -> tuple[Proofs, Models]:
    """Every file, proved; INT8 once more from a fine-tuned graph if it failed and that was asked for.

    With them comes what made the files of the graph as trained, and measured its ranges.
    """
    material = functools.cache(material)
    onnx_fp32 = onnx_from_graph(graph, opset=wish.opset)
    gpu = {kind.name for kind in GPU_BACKENDS}
    engine = next((name for name in installed_backends() if name not in gpu), None)  # dozens of files are tried
    if engine is None:
        raise MissingExtra("openvino or onnxruntime", "cpu", "exporting")
    models = Models(onnx_fp32, trial.spec, material, engine=engine, cache=wish.calibration_cache)
    if wish.table is not None:
        write_atomically(wish.table[1], models.tensorrt_table(wish.table[0]))
    made = {name: models.made(name) for name in wish.precisions}
    found = proofs(made, trial)
    if not (wish.qat_steps and any(name.startswith("int8") for name in found.failing)):
        return found, models
    tuned = _tuned(graph, seed, material(), wish.qat_steps)
    if tuned is None:
        return found, models
    tuned_models = Models(
        onnx_from_graph(tuned, opset=wish.opset),
        trial.spec,
        material,
        engine=engine,
        trained=onnx_fp32,
        note=f"fine-tuned in {wish.qat_steps} steps",
    )
    before, after = models.choice.apart.excess, tuned_models.choice.apart.excess
    if after >= before:  # layers in float say what the tuned graph says, which is not quite what the trained one says
        log.warning("fine-tuned INT8 stands further off (excess %.2f, %.2f before): left as trained", after, before)
        return found, models
    made |= {name: tuned_models.made(name) for name in wish.precisions if name.startswith("int8")}
    return proofs(made, trial), models


def _tuned(graph: InspectionGraph, seed: int, material: Material, steps: int) -> InspectionGraph | None:
    """None where fine-tuning did not help, or where there is too little to learn from."""
    extremes = np.stack(material.extremes) if material.extremes else None
    try:
        tuned = finetuned(graph, material.lessons, steps=steps, seed=seed, extremes=extremes)
    except DataError as error:
        log.warning("not fine-tuned: %s", error)
        return None
    log.info("%s", tuned.text)
    return tuned.graph if tuned.helped else None


def _check_backend(name: str) -> None:
    """Raises UsageError for an engine that is not there, that runs no model, or with options of the line's own."""
    if chosen_backend(name)[0].partition(":")[0] == ConstantBackend.name:
        raise UsageError(f"--backend {name} never runs the model, so nothing can be set on it. Leave --backend out")
    if ":" in name:
        raise UsageError(
            f"--backend {name}: a bundle's thresholds are set on an engine as it is; leave out what follows the colon. "
            "Set others on the line with sad-calibrate"
        )


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


def _scene(run: Run, checkpoint: Checkpoint, found: Proofs, trial: Trial) -> Learnt:
    """From the calibration pictures and as many training pictures as are still what they were, at most 1000 of these.

    Embeddings of the calibration pictures alone: the network has learnt the others.
    """
    training = run.split().train
    there = [Path(picked.path) for picked in training[:: -(-len(training) // MOST) or 1] if _unchanged(picked)]
    if not there:
        log.warning(
            "scene limits are learnt from %d calibration pictures: no training picture is left", len(trial.goods)
        )
    seen = loaded(there, trial.spec, checkpoint.config.roi_box) if there else trial.goods[:0]
    embeddings = {}
    for name, one in found.by_precision.items():
        with backend_for(trial.shipping, one.made.model, trial.spec) as backend:
            embeddings[name] = embeddings_of(backend, trial.goods)
    return learnt(np.concatenate([trial.goods, seen]), embeddings)


def _unchanged(picked: Picked) -> bool:
    path = Path(picked.path)
    return path.exists() and sha256_hex(path.read_bytes()) == picked.sha256


def _judged_size(run: Run, roi: Roi | None) -> PictureSize | None:
    """The size that all of up to 32 calibration pictures have."""
    if roi is not None:
        return PictureSize(width=roi.width, height=roi.height)
    shapes = {read_picture(path).shape[:2] for path in run.split().paths("calibration")[:SIZES_READ]}
    height, width = next(iter(shapes))
    return PictureSize(width=width, height=height) if len(shapes) == 1 else None


def _parity_pictures(checkpoint: Checkpoint, goods: NDArray[np.uint8], wish: Wish) -> list[ParityPicture]:
    defects = known_defects(wish.defects, checkpoint.spec, checkpoint.config.roi_box) if wish.defects else []
    return parity_set(goods, probe_recipe(checkpoint.profile), checkpoint.config.seed, defects)


def _material(run: Run, checkpoint: Checkpoint, wish: Wish) -> Material:
    """For ranges and choices: training pictures, or the user's own for the ranges."""
    given = None
    if wish.calibration_set is not None:
        samples = samples_from_folder(
            wish.calibration_set, checkpoint.spec, checkpoint.config.roi_box, "INT8 calibration", recursive=True
        )
        given = np.stack(list(samples.pictures()))
    training = _pictures(run, checkpoint, "train")
    return material_from(training, probe_recipe(checkpoint.profile), checkpoint.config.seed, given)


def _findings(
    run: Run,
    checkpoint: Checkpoint,
    found: Proofs,
    pictures: Sequence[ParityPicture],
    wish: Wish,
    scene: Learnt,
) -> Findings:
    main = found.by_precision["fp32"]
    failures = [f"{name} on {failure}" for name, one in found.by_precision.items() for failure in one.failures]
    if wish.strict and not main.cuts.promise.supported:
        failures.append(main.cuts.promise.text)
    return Findings(
        bundle=str(wish.out),
        part=wish.part or checkpoint.provenance.part,
        pictures=list(pictures),
        judged=_judged_size(run, checkpoint.config.roi_box),
        golden=found.golden,
        noise=found.noise,
        proved=found.by_precision,
        failures=failures,
        scene=scene,
    )


def _write(checkpoint: Checkpoint, found: Proofs, extras: Extras, findings: Findings, wish: Wish) -> None:
    proved = found.by_precision
    golden = golden_entries(proved, found.golden)
    manifest = manifest_of(checkpoint, proved, golden, findings, extras)
    write_bundle(wish.out, manifest, files_of(proved, golden, findings, extras), signers=wish.signers)


def gate(findings: Findings) -> None:
    """Raises GateFailed when the export did not pass; no bundle was written then."""
    if findings.failures:
        raise GateFailed(f"{findings.bundle}: not written. " + "; ".join(findings.failures))
