"""The files of bundles side by side: what each says of a test split, how fast it runs, what TensorRT-RTX builds of it.

    python tests/bench/precisions.py bottle.sad=mvtec/bottle cookie.sad=sets/cookie > table.md

A row a model file. Accuracy is sad-evaluate's on the test split; flips and rank correlation are against the fp32 file
of the bundle, each judged at its own threshold. Times are bare inference on OpenVINO, batch 1, all files in turn in
short blocks, so that all see the same machine; `x` is fp32's median over the file's, in the same run. `x, 1 core` is
the same with one thread: two cores share what a small network has to do badly, and the faster file suffers most.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from machine import Others, machine, warn_if_busy

from sad_runtime.backends.base import Backend
from sad_runtime.backends.openvino import OpenVINOBackend
from sad_runtime.bundle import Bundle, read_bundle
from sad_runtime.engines.room import EngineRoom
from sad_runtime.engines.settings import EngineSettings
from sad_runtime.errors import SadError
from sad_train.data.dataset import Dataset, read_dataset
from sad_train.evaluation.evaluation import Evaluation
from sad_train.evaluation.judging import evaluate
from sad_train.evaluation.subject import open_subject
from sad_train.metrics.image import spearman

ROUNDS, BLOCK, QUICK_ROUNDS = 60, 5, 2
COLUMNS = (
    "set",
    "method",
    "file",
    "image AUROC",
    "AUPRO",
    "flips",
    "Spearman",
    "kB",
    "p50 ms",
    "p99 ms",
    "x",
    "x, 1 core",
    "RTX engine kB",
    "how",
)


@dataclass(frozen=True)
class Built:
    """What TensorRT-RTX made of a file: kB, or why not."""

    kilobytes: float | None
    why_not: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _arguments(argv)
    warn_if_busy()
    rows = []
    with Others() as others:
        for pair in arguments.pairs:
            path, _, data = pair.partition("=")
            rows += _rows(read_bundle(Path(path)), read_dataset(data, for_training=False), arguments)
    facts = machine()
    print(f"{facts.get('cpu', '')}, {facts.get('cores', '')} cores. {others.note}\n")
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="+", metavar="BUNDLE=DATA", help="a bundle and the set it is measured on")
    parser.add_argument("--limit", type=int, help="at most so many pictures of each type")
    parser.add_argument("--quick", action="store_true", help="few timings, to see that it runs")
    return parser.parse_args(argv)


def _rows(bundle: Bundle, dataset: Dataset, arguments: argparse.Namespace) -> list[list[str]]:
    names = sorted(bundle.manifest.precisions, key=("fp32", "fp16", "int8", "int8_fp16").index)
    said = {name: _said(bundle, name, dataset, arguments.limit) for name in names}
    rounds = QUICK_ROUNDS if arguments.quick else ROUNDS
    times, alone = _times(bundle, names, rounds), _times(bundle, names, rounds, threads=1)
    built = _built(bundle, names)
    first = said["fp32"]
    rows = []
    for name in names:
        summary = said[name].summary()
        engine = built[name]
        rows.append(
            [
                dataset.name,
                f"{bundle.manifest.method} {bundle.manifest.training.preset} {bundle.manifest.input.width} px",
                name,
                _figure(summary["image_auroc"]),
                _figure(summary["aupro"]),
                str(_flips(first, said[name])),
                _figure(spearman(_scores(said[name]), _scores(first)), 4),
                f"{len(bundle.model(name)) / 1e3:,.0f}",
                f"{np.median(times[name]):.2f}",
                f"{np.percentile(times[name], 99):.2f}",
                f"{np.median(times['fp32']) / np.median(times[name]):.2f}",
                f"{np.median(alone['fp32']) / np.median(alone[name]):.2f}",
                f"{engine.kilobytes:,.0f}" if engine.kilobytes is not None else f"no ({engine.why_not})",
                bundle.precision(name).note,
            ]
        )
    return rows


def _said(bundle: Bundle, precision: str, dataset: Dataset, limit: int | None) -> Evaluation:
    subject = open_subject(bundle.path, backend="openvino", precision=precision)
    return evaluate(subject, dataset, limit=limit)


def _scores(evaluation: Evaluation) -> list[float]:
    return [one.score for one in evaluation.judged]


def _flips(one: Evaluation, other: Evaluation) -> int:
    return sum(a.verdict is not b.verdict for a, b in zip(one.judged, other.judged, strict=True))


def _times(bundle: Bundle, names: Sequence[str], rounds: int, threads: int = 0) -> dict[str, list[float]]:
    """ms of single inferences on noise, by file. `threads`: 0 takes all cores."""
    spec = bundle.manifest.input
    picture = np.random.default_rng(0).integers(0, 256, (1, *spec.shape)).astype(np.uint8)
    times: dict[str, list[float]] = {name: [] for name in names}
    with ExitStack() as stack:
        backends: dict[str, Backend] = {
            name: stack.enter_context(OpenVINOBackend(bundle.model(name), spec, threads=threads)) for name in names
        }
        for backend in backends.values():
            backend.warm_up(20)
        for _ in range(rounds):
            for name, backend in backends.items():
                backend.infer(picture)  # the one after another file's is not counted
                for _ in range(BLOCK):
                    began = time.perf_counter()
                    backend.infer(picture)
                    times[name].append(1e3 * (time.perf_counter() - began))
    return times


def _built(bundle: Bundle, names: Sequence[str]) -> dict[str, Built]:
    with tempfile.TemporaryDirectory(prefix="sad-bench-") as folder:
        try:
            room = EngineRoom("tensorrt_rtx", Path(folder), EngineSettings())
        except SadError as error:
            return {name: Built(None, str(error)) for name in names}
        return {name: _engine(room, bundle.model(name)) for name in names}


def _engine(room: EngineRoom, model: bytes) -> Built:
    try:
        return Built(len(room.engine(model)) / 1e3)
    except SadError as error:
        return Built(None, str(error))


def _figure(value: float | None, digits: int = 3) -> str:
    return "none" if value is None else f"{value:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
