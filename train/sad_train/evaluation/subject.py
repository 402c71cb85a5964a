"""What sad-evaluate measures: a bundle, a bare ONNX file or a run folder, opened as one thing that inspects pictures.

All three go through sad_runtime.inspector, so a verdict here is the line's own. Only a run folder needs torch.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sad_runtime.backends.base import Backend
from sad_runtime.backends.engines import onnxruntime_alone, openvino_alone
from sad_runtime.backends.table import backend_for
from sad_runtime.bundle import Bundle, read_bundle
from sad_runtime.decide import Thresholds
from sad_runtime.errors import BackendError, DataError, MissingExtra, UsageError
from sad_runtime.inspector import Inspector
from sad_runtime.manifest import InputSpec
from sad_runtime.pictures import decode_picture
from sad_runtime.preprocess import Picture
from sad_runtime.thresholds import History, thresholds_in_force

PRECISIONS = ("fp32", "fp16", "int8", "int8_fp16")
NO_THRESHOLDS = Thresholds(score=math.nan, pixel=math.nan, heatmap_low=math.nan)


@dataclass(frozen=True)
class Subject:
    """`inspector` is not open yet. Without thresholds (a run, a bare ONNX file) its verdicts mean nothing."""

    name: str
    kind: str
    inspector: Inspector
    method: str | None
    precision: str | None
    learnt_files: frozenset[str] = frozenset()
    """SHA-256 of the picture files it was trained and calibrated on, as far as it says."""
    learnt_pictures: frozenset[str] = frozenset()
    """`picture_digest` of the calibration pictures it carries."""

    @property
    def thresholds(self) -> Thresholds | None:
        return None if math.isnan(self.inspector.thresholds.score) else self.inspector.thresholds


def open_subject(path: Path, *, backend: str = "auto", precision: str | None = None, threads: int = 0) -> Subject:
    """Reads what stands at `path`. `precision` None: fp32 of a bundle. Raises UsageError and its kin."""
    if path.is_dir():
        return _from_run(path, backend, precision, threads)
    if not path.exists():
        raise DataError(f"{path}: no such run folder, .onnx file or .sad bundle")
    if path.suffix.lower() == ".onnx":
        return _from_onnx(path, backend, precision, threads)
    return _from_bundle(read_bundle(path), backend, precision or "fp32", threads)


def picture_digest(picture: Picture) -> str:
    """SHA-256 of a picture at model size, pixels only."""
    return hashlib.sha256(picture.tobytes()).hexdigest()


def spec_from_onnx(model: bytes, where: str) -> InputSpec:
    """The size and channels that a graph takes, asked of ONNX Runtime or OpenVINO, whichever is installed."""
    shape = _input_shape(model, where)
    if len(shape) != 4 or not all(isinstance(side, int) and side > 0 for side in shape) or shape[3] not in (1, 3):
        raise BackendError(
            f"{where}: its input 'image' is {shape}; a sad graph takes [1, height, width, 1 or 3], static"
        )
    if shape[0] != 1:
        raise UsageError(f"{where}: made for {shape[0]} pictures at a time; evaluate the file exported with --batch 1")
    return InputSpec(height=shape[1], width=shape[2], channels=shape[3])


def _from_bundle(bundle: Bundle, backend: str, precision: str, threads: int) -> Subject:
    manifest = bundle.manifest
    engine = backend_for(backend, bundle.model(precision), manifest.input, threads=threads)
    thresholds, _ = thresholds_in_force(bundle, precision, engine.name, History())
    return Subject(
        name=manifest.part,
        kind="bundle",
        inspector=Inspector(engine, thresholds, roi=manifest.roi, judged=manifest.judged),
        method=manifest.method,
        precision=precision,
        learnt_pictures=_calibration_pictures(bundle),
    )


def _from_onnx(path: Path, backend: str, precision: str | None, threads: int) -> Subject:
    model = path.read_bytes()
    engine = backend_for(backend, model, spec_from_onnx(model, str(path)), threads=threads)
    named = path.stem if path.stem in PRECISIONS else None
    if precision is not None and named is not None and precision != named:
        raise UsageError(f"--precision {precision}: {path} is one model, {named}; name another file")
    return Subject(path.name, "onnx", Inspector(engine, NO_THRESHOLDS), None, precision or named)


def _from_run(path: Path, backend: str, precision: str | None, threads: int) -> Subject:
    if backend not in ("auto", "torch"):
        raise UsageError(f"--backend {backend}: a run folder runs in torch. Run: sad-export {path} --out NAME.sad")
    if precision not in (None, "fp32"):
        raise UsageError(f"--precision {precision}: a run folder is fp32. Run: sad-export {path} --out NAME.sad")
    engine = _torch_backend(path, threads)
    from sad_train.run import Run

    run = Run(path)
    split = run.split()
    files = [picked.sha256 for picked in (*split.train, *split.calibration, *split.validation)]
    config = run.config()
    inspector = Inspector(engine, NO_THRESHOLDS, roi=config.roi_box)
    return Subject(path.name, "run", inspector, config.method, "fp32", frozenset(files))


def ask_for_torch(path: Path) -> None:
    """Raises MissingExtra where the run folder at `path` cannot be opened for want of torch."""
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("torch", "train", f"{path} is a run folder; evaluating it")


def _torch_backend(path: Path, threads: int) -> Backend:
    ask_for_torch(path)
    import torch

    from sad_train.torch_backend import torch_backend_from_run

    if threads:
        torch.set_num_threads(threads)
    return torch_backend_from_run(path)


def _calibration_pictures(bundle: Bundle) -> frozenset[str]:
    return frozenset(_digests(bundle, (name for name in bundle.names("calibration") if name.endswith(".png"))))


def _digests(bundle: Bundle, names: Iterable[str]) -> Iterable[str]:
    shape = bundle.manifest.input.shape
    for name in names:
        picture = decode_picture(bundle.read(name), f"{bundle.path}: {name}")
        if picture.size == math.prod(shape):
            yield picture_digest(picture)


def _input_shape(model: bytes, where: str) -> list[Any]:
    if importlib.util.find_spec("onnxruntime") is not None:
        return _shape_by_onnxruntime(model, where)
    if importlib.util.find_spec("openvino") is not None:
        return _shape_by_openvino(model, where)
    raise MissingExtra("openvino or onnxruntime", "cpu", "reading an ONNX file")


def _shape_by_onnxruntime(model: bytes, where: str) -> list[Any]:
    onnxruntime = onnxruntime_alone()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001  its errors share no base class
        raise BackendError(f"{where}: not a model that ONNX Runtime can open: {error}") from None
    shapes = {port.name: list(port.shape) for port in session.get_inputs()}
    return _image_of(shapes, where)


def _shape_by_openvino(model: bytes, where: str) -> list[Any]:
    try:
        ports = openvino_alone().Core().read_model(model).inputs
    except RuntimeError as error:
        raise BackendError(f"{where}: not a model that OpenVINO can open: {error}") from None
    shapes = {
        port.any_name: [side.get_length() if side.is_static else str(side) for side in port.partial_shape]
        for port in ports
    }
    return _image_of(shapes, where)


def _image_of(shapes: dict[str, list[Any]], where: str) -> list[Any]:
    if "image" not in shapes:
        raise BackendError(f"{where}: the graph has no input 'image', only {', '.join(shapes)}; is it ours?")
    return shapes["image"]
