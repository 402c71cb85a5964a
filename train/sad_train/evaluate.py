"""`sad-evaluate`: how well a run, an ONNX file or a bundle tells good from defect on a test split.

A bundle and an ONNX file are measured without torch. The figures are evaluation.py's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sad_runtime.cli.command import command_parser, run_command
from sad_runtime.files import write_atomically
from sad_train.dataset import read_dataset
from sad_train.evaluation import Evaluation
from sad_train.evaluation_text import summary_text
from sad_train.judging import PIXEL_SIZE_PX, evaluate
from sad_train.subject import PRECISIONS, open_subject

EXAMPLES = """\
  sad-evaluate capsule.sad --data parts/capsule
  sad-evaluate capsule.sad --data parts/capsule --report capsule.html
  sad-evaluate runs/capsule --data demo:washer?n=200 --json
"""


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(_parser(), _work, argv)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "sad-evaluate",
        "Measures on a test split: what is found, what is rejected by mistake, and where the heatmap points.",
        EXAMPLES,
    )
    parser.add_argument("subject", type=Path, metavar="SUBJECT", help="a .sad bundle, an .onnx file or a run folder")
    parser.add_argument(
        "--data",
        required=True,
        metavar="DIR",
        help="test/good, test/DEFECT and, for the heatmap, ground_truth/DEFECT; or demo:washer for rendered parts",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--report", type=Path, metavar="OUT.html", help="write a page with charts and pictures")
    parser.add_argument("--backend", default="auto", help="auto, openvino, onnxruntime (default: auto)")
    parser.add_argument("--precision", choices=PRECISIONS, help="which model of the bundle (default: fp32)")
    parser.add_argument(
        "--limit", type=_at_least(1), metavar="N", help="judge at most N pictures of each type, for a quick look"
    )
    parser.add_argument(
        "--threads", type=_at_least(0), default=0, metavar="N", help="CPU threads (default: the engine's own choice)"
    )
    parser.add_argument(
        "--pixel-size",
        type=_at_least(0),
        default=PIXEL_SIZE_PX,
        metavar="PX",
        help="judge heatmaps at the picture's size, but no longer than this; 0: however long (default: %(default)s)",
    )
    return parser


def _work(arguments: argparse.Namespace) -> int:
    dataset = read_dataset(arguments.data, for_training=False)
    subject = open_subject(
        arguments.subject, backend=arguments.backend, precision=arguments.precision, threads=arguments.threads
    )
    evaluation = evaluate(subject, dataset, pixel_size_px=arguments.pixel_size, limit=arguments.limit)
    summary = evaluation.summary()
    if arguments.report is not None:
        _write_report(arguments.report, evaluation, summary)
    for warning in evaluation.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(json.dumps(summary, allow_nan=False) if arguments.json else summary_text(evaluation, summary))
    return 0


def _write_report(path: Path, evaluation: Evaluation, summary: dict[str, Any]) -> None:
    from sad_train.evaluation_report import evaluation_page

    write_atomically(path, evaluation_page(evaluation, summary).encode())
    print(f"report: {path}", file=sys.stderr)


def _at_least(low: int) -> Any:
    def number(text: str) -> int:
        value = int(text)
        if value < low:
            raise argparse.ArgumentTypeError(f"{value} is below {low}")
        return value

    return number
