"""`sad-export`: from a finished run to a bundle that a station can run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sad_export.options import add_options, wish_of
from sad_runtime.cli.build_only import Made as Built
from sad_runtime.cli.build_only import build_only, engine_backend, table
from sad_runtime.cli.command import command_parser, run_command
from sad_runtime.errors import GateFailed, MissingExtra
from sad_runtime.files import write_atomically
from sad_runtime.station.config import StationConfig

if TYPE_CHECKING:
    from sad_export.export_report import Findings
    from sad_train.run import Run

EXAMPLES = """\
  sad-export runs/capsule --out capsule.sad
  sad-export runs/capsule --target-false-reject 0.5% --review-band 5%
  sad-export runs/capsule --fp16 --int8 --out capsule.sad
  sad-export --int8 --json > report.json          (the newest finished run under runs/)"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(
        "sad-export",
        "Turns a finished run into a .sad bundle: one graph from raw pixels to heatmap and score, thresholds set on "
        "good parts, and a parity gate. Exit 4, and no bundle, when an exported file does not decide as the trained "
        "model did.",
        EXAMPLES,
    )
    add_options(parser)
    return run_command(parser, _work, argv)


def _work(arguments: argparse.Namespace) -> int:
    try:
        from sad_export.export_report import report_html
        from sad_export.pipeline import exported, gate
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "scipy", "onnx", "onnxscript"):
            raise
        raise MissingExtra(error.name, "export", "exporting") from None
    if arguments.engine:
        engine_backend("auto")  # before an export of minutes, not after it
    run = _run(arguments.run)
    out = arguments.out or Path(f"{run.folder.resolve().name}.sad")
    try:
        findings = exported(run, wish_of(arguments, out))
    except GateFailed as error:  # before there is anything to compare
        if arguments.json:
            print(json.dumps({"bundle": str(out), "gate": "failed", "failures": [str(error)]}))
        raise
    if arguments.report is not None:
        write_atomically(arguments.report, report_html(findings).encode())
    if not findings.cuts.promise.supported:
        print(f"warning: {findings.cuts.promise.text}", file=sys.stderr)
    engines = _engines(arguments, out, list(findings.proved)) if arguments.engine and not findings.failures else []
    if arguments.json:
        built = {"engine_bytes": {row.precision: row.size for row in engines}} if arguments.engine else {}
        print(json.dumps(findings.as_json() | built))
    gate(findings)
    if not arguments.json:
        _tell(findings, engines)
    return 0


def _run(folder: Path | None) -> Run:
    from sad_train.methods.table import method_named
    from sad_train.run import Run, newest_finished_run

    if folder is not None:
        return Run(folder)
    return newest_finished_run(Path("runs"), lambda config: method_named(config.method).inspects)


def _engines(arguments: argparse.Namespace, bundle: Path, precisions: Sequence[str]) -> list[Built]:
    """An engine of each file for this very box, in the cache that sad-runtime looks in."""
    state = None if arguments.state is None else str(arguments.state)
    configs = [StationConfig(precision=precision, state=state) for precision in precisions]
    return [row for config in configs for row in build_only(config, bundle)]


def _tell(findings: Findings, engines: Sequence[Built]) -> None:
    print(
        f"{findings.bundle}: written. Parity: {len(findings.golden)} golden pictures, no flip; "
        f"noise {findings.noise:.2g}"
    )
    print(f"Threshold {findings.cuts.score_threshold:.4g}: {findings.cuts.promise.text}")
    for name, one in findings.proved.items():
        kilobytes, engine = len(one.made.model) / 1e3, one.shipped.engine
        print(f"{name:<10} {kilobytes:>8,.0f} kB {one.shipped.latency_ms:>7.1f} ms on {engine}  {one.made.note}")
    if engines:
        print(table(list(engines)))
    precision = " --precision int8" if "int8" in findings.proved else ""
    print(f"Next: sad-runtime --camera 0 --bundle {findings.bundle}{precision}")
