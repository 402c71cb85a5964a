"""`sad-evaluate`: how well a run, an ONNX file or a bundle tells good from defect on a test split.

One subject on one set, or with --compare many on many. A bundle and an ONNX file are measured without torch. The
figures are evaluation.py's, the side by side comparison.py's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sad_runtime.cli.command import command_parser, run_command
from sad_runtime.errors import UsageError
from sad_runtime.files import write_atomically
from sad_train.data.dataset import read_dataset
from sad_train.evaluation.comparison import Comparison, Terms, compared
from sad_train.evaluation.comparison_text import markdown, troubles
from sad_train.evaluation.contenders import field_of
from sad_train.evaluation.evaluation import Evaluation
from sad_train.evaluation.evaluation_text import summary_text
from sad_train.evaluation.judging import PIXEL_SIZE_PX, evaluate
from sad_train.evaluation.subject import PRECISIONS, Subject, open_subject

EXAMPLES = """\
  sad-evaluate capsule.sad --data parts/capsule
  sad-evaluate capsule.sad --data parts/capsule --report capsule.html
  sad-evaluate runs/capsule --data demo:washer?n=200 --json
  sad-evaluate --compare runs bottle-*.sad --data mvtec/bottle --data mvtec/tile --report compare.html
"""


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(_parser(), _work, argv)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "sad-evaluate",
        "Measures on a test split: what is found, what is rejected by mistake, and where the heatmap points.",
        EXAMPLES,
    )
    parser.add_argument(
        "subjects", nargs="+", type=Path, metavar="SUBJECT", help="a .sad bundle, an .onnx file or a run folder"
    )
    parser.add_argument(
        "--data",
        required=True,
        action="append",
        metavar="DIR",
        help="test/good, test/DEFECT and, for the heatmap, ground_truth/DEFECT; or demo:washer for rendered parts",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--report", type=Path, metavar="OUT.html", help="write a page with charts and pictures")
    parser.add_argument(
        "--backend", default="auto", help="auto, tensorrt, tensorrt_rtx, openvino, onnxruntime (default: auto)"
    )
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
    parser.add_argument(
        "--heatmap",
        choices=("own", "gradcam"),
        default="own",
        help="gradcam: judge the classifier's Grad-CAM instead of the heatmap (runs of cutpaste methods only)",
    )
    _add_comparison(parser)
    return parser


def _add_comparison(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group(
        "side by side",
        "Each SUBJECT is a bundle, a run folder, or a folder that holds such, and is measured on the --data whose "
        "folder is named as its part. Those that differ only in their seed are one row; a further word in the file's "
        "or folder's name (bottle-nsa-plain-0.sad: plain) makes a row of its own. Run folders run in torch.",
    )
    group.add_argument(
        "--compare", action="store_true", help="take many SUBJECTs and many --data, into one table a set"
    )
    group.add_argument("--markdown", type=Path, metavar="OUT.md", help="write the tables (else they are printed)")
    group.add_argument(
        "--cache", type=Path, metavar="DIR", help="keep the figures there, so that a stopped comparison goes on"
    )


def _work(arguments: argparse.Namespace) -> int:
    return _compare(arguments) if arguments.compare else _measure(arguments)


def _measure(arguments: argparse.Namespace) -> int:
    """One subject on one set."""
    _check_single(arguments)
    dataset = read_dataset(arguments.data[0], for_training=False)
    subject = open_subject(
        arguments.subjects[0], backend=arguments.backend, precision=arguments.precision, threads=arguments.threads
    )
    if arguments.heatmap == "gradcam":
        subject = _explained(subject, arguments.subjects[0])
    evaluation = evaluate(subject, dataset, pixel_size_px=arguments.pixel_size, limit=arguments.limit)
    summary = evaluation.summary()
    if arguments.report is not None:
        _write_report(arguments.report, evaluation, summary)
    for warning in evaluation.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(json.dumps(summary, allow_nan=False) if arguments.json else summary_text(evaluation, summary))
    return 0


def _explained(subject: Subject, path: Path) -> Subject:
    if subject.kind != "run":
        raise UsageError(
            f"--heatmap gradcam: {path} carries no classifier, only the run folder it was exported from does"
        )
    from sad_train.evaluation.gradcam import with_gradcam

    return with_gradcam(subject, path)


def _check_single(arguments: argparse.Namespace) -> None:
    for name, given in (("SUBJECT", arguments.subjects), ("--data", arguments.data)):
        if len(given) > 1:
            raise UsageError(f"{name}: one at a time, not {', '.join(map(str, given))}; or give --compare")
    for name in ("markdown", "cache"):
        if getattr(arguments, name) is not None:
            raise UsageError(f"--{name} goes with --compare")


def _compare(arguments: argparse.Namespace) -> int:
    """Every subject on the set of its part. Exit code 1 when someone could not be measured; the others are told."""
    if arguments.heatmap != "own":
        raise UsageError(f"--heatmap {arguments.heatmap}: one SUBJECT at a time, without --compare")
    terms = Terms(
        backend=arguments.backend,
        precision=arguments.precision,
        threads=arguments.threads,
        pixel_size_px=arguments.pixel_size,
        limit=arguments.limit,
        cache=arguments.cache,
    )
    datasets = [read_dataset(source, for_training=False) for source in arguments.data]
    comparison = compared(field_of(arguments.subjects), datasets, terms)
    text = markdown(comparison)
    if arguments.markdown is not None:
        write_atomically(arguments.markdown, text.encode())
        print(f"tables: {arguments.markdown}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(comparison.as_json(), allow_nan=False))
    elif arguments.markdown is None:
        print(text, end="")
    if arguments.report is not None:
        _write_comparison(arguments.report, comparison, terms)
    for why in comparison.left_out.values():
        print(f"left out: {why}", file=sys.stderr)
    for trouble in troubles(comparison):
        print(trouble, file=sys.stderr)
    return 1 if comparison.failed else 0


def _write_comparison(path: Path, comparison: Comparison, terms: Terms) -> None:
    from sad_train.evaluation.comparison_report import comparison_page

    write_atomically(path, comparison_page(comparison, terms).encode())
    print(f"report: {path}", file=sys.stderr)


def _write_report(path: Path, evaluation: Evaluation, summary: dict[str, Any]) -> None:
    from sad_train.evaluation.evaluation_report import evaluation_page

    write_atomically(path, evaluation_page(evaluation, summary).encode())
    print(f"report: {path}", file=sys.stderr)


def _at_least(low: int) -> Any:
    def number(text: str) -> int:
        value = int(text)
        if value < low:
            raise argparse.ArgumentTypeError(f"{value} is below {low}")
        return value

    return number
