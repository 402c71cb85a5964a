"""`sad-export`: from a finished run to a bundle that a station can run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from sad_runtime.cli.command import command_parser, rate, run_command
from sad_runtime.errors import MissingExtra
from sad_runtime.files import write_atomically

EXAMPLES = """\
  sad-export runs/capsule --out capsule.sad
  sad-export runs/capsule --target-false-reject 0.5% --review-band 5%
  sad-export --json > report.json          (the newest finished run under runs/)"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(
        "sad-export",
        "Turns a finished run into a .sad bundle: one graph from raw pixels to heatmap and score, thresholds set on "
        "good parts, and a parity gate. Exit 4, and no bundle, when the exported file does not decide as the trained "
        "model did.",
        EXAMPLES,
    )
    parser.add_argument("run", type=Path, nargs="?", help="run folder (default: the newest finished one under runs/)")
    parser.add_argument("--out", type=Path, help="the bundle (default: NAME.sad)")
    parser.add_argument("--part", help="name of the part in the bundle (default: the data set's)")
    parser.add_argument(
        "--target-false-reject",
        type=rate,
        metavar="RATE",
        help="share of good parts that may be rejected, such as 0.5%% (default: the least that the pictures support)",
    )
    parser.add_argument("--review-band", type=rate, metavar="RATE", help="flag a PASS for review at this larger share")
    parser.add_argument("--strict", action="store_true", help="exit 4 when the pictures cannot support the target")
    parser.add_argument("--ignore", type=Path, metavar="PNG", help="mask at model size; white pixels are never judged")
    parser.add_argument("--defects", type=Path, metavar="DIR", help="known bad parts, for the parity check only")
    parser.add_argument("--no-pictures", action="store_true", help="leave the good calibration pictures out")
    parser.add_argument("--backend", default="auto", help="engine that thresholds are set on (default: auto)")
    parser.add_argument("--opset", type=int, default=20, choices=range(17, 22), help="ONNX opset (default: 20)")
    parser.add_argument("--report", type=Path, metavar="HTML", help="also write the report beside the bundle")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON object on stdout")
    return run_command(parser, _work, argv)


def _work(arguments: argparse.Namespace) -> int:
    try:
        from sad_export.export_report import report_html
        from sad_export.pipeline import Wish, exported, gate
        from sad_train.methods.table import method_named
        from sad_train.run import Run, newest_finished_run
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "scipy", "onnx", "onnxscript"):
            raise
        raise MissingExtra(error.name, "export", "exporting") from None
    if arguments.run is None:
        run = newest_finished_run(Path("runs"), lambda config: method_named(config.method).inspects)
    else:
        run = Run(arguments.run)
    out = arguments.out or Path(f"{run.folder.resolve().name}.sad")
    findings = exported(
        run,
        Wish(
            out=out,
            part=arguments.part,
            target=arguments.target_false_reject,
            review_rate=arguments.review_band,
            strict=arguments.strict,
            ignore=arguments.ignore,
            defects=arguments.defects,
            pictures=not arguments.no_pictures,
            backend=arguments.backend,
            opset=arguments.opset,
        ),
    )
    if arguments.report is not None:
        write_atomically(arguments.report, report_html(findings).encode())
    if not findings.cuts.promise.supported:
        print(f"warning: {findings.cuts.promise.text}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(findings.as_json()))
    gate(findings)
    if not arguments.json:
        first = findings.comparisons["fp32"][0]
        print(f"{out}: written. Parity: {len(findings.golden)} golden pictures, no flip; noise {findings.noise:.2g}")
        print(f"Threshold {findings.cuts.score_threshold:.4g}: {findings.cuts.promise.text}")
        print(f"One inference takes {first.latency_ms:.1f} ms on {first.engine}.")
        print(f"Next: sad-runtime --camera 0 --bundle {out}")
    return 0
