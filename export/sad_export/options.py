"""What `sad-export` can be asked for: its flags, and the wish they make."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

from sad_runtime.cli.command import rate
from sad_runtime.errors import UsageError

if TYPE_CHECKING:
    from sad_export.pipeline import Wish

MIXED_OPSET = 19
MOST_STEPS = 100_000


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("run", type=Path, nargs="?", help="run folder (default: the newest finished one under runs/)")
    add("--out", type=Path, help="the bundle (default: NAME.sad)")
    add("--part", help="name of the part in the bundle (default: the data set's)")
    add("--ignore", type=Path, metavar="PNG", help="mask at model size; white pixels are never judged")
    add("--no-pictures", action="store_true", help="leave the good calibration pictures out")
    add("--backend", default="auto", help="engine that thresholds are set on (default: auto)")
    add("--opset", type=int, default=20, choices=range(17, 22), help="ONNX opset; 17 for TensorRT 8 (default: 20)")
    add("--report", type=Path, metavar="HTML", help="also write the report beside the bundle")
    add("--json", action="store_true", help="print the report as one JSON object on stdout")
    _add_thresholds(parser)
    _add_precisions(parser)
    _add_gate(parser)
    _add_release(parser)


def _add_thresholds(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("thresholds").add_argument
    add(
        "--target-false-reject",
        type=rate,
        metavar="RATE",
        help="share of good parts that may be rejected, such as 0.5%% (default: the least that the pictures support)",
    )
    add("--review-band", type=rate, metavar="RATE", help="flag a PASS for review at this larger share")
    add("--strict", action="store_true", help="exit 4 when the pictures cannot support the target")


def _add_precisions(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("model files", "fp32 is always there").add_argument
    add("--fp16", action="store_true", help="add a half precision file")
    add("--int8", action="store_true", help="add an INT8 file; with --fp16 also int8_fp16 (opset 19 and later)")
    add(
        "--calibration-set",
        type=Path,
        metavar="DIR",
        help="pictures to measure INT8 ranges on (default: training pictures and synthetic anomalies)",
    )
    add(
        "--calibration-cache",
        type=Path,
        metavar="FILE",
        help="INT8 ranges: read when the file is there, else written; to carry them to another machine",
    )
    add(
        "--tensorrt-table",
        nargs=2,
        metavar=("VERSION", "FILE"),
        help="also write a calibration table for the implicit INT8 of TensorRT 8 or 10 (DLA), e.g. 10.3.0 x.table",
    )
    add("--qat-steps", type=_steps, default=0, metavar="N", help="if INT8 fails the gate: fine-tune it, 200 to 1000")


def _steps(text: str) -> int:
    if not text.isdecimal() or int(text) > MOST_STEPS:
        raise argparse.ArgumentTypeError(f"'{text}': 0 to {MOST_STEPS} steps")
    return int(text)


def _add_gate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("gate", "exit 4, and no bundle, when a file decides otherwise").add_argument
    add("--defects", type=Path, metavar="DIR", help="known bad parts, judged beside synthetic anomalies")
    add("--max-auroc-drop", type=rate, default=0.003, metavar="RATE", help="of image AUROC (default: 0.3%%)")
    add("--max-aupro-drop", type=rate, default=0.01, metavar="RATE", help="of AUPRO (default: 1%%)")
    add("--min-spearman", type=_correlation, default=0.99, metavar="R", help="of scores' ranks (default: 0.99)")


def _add_release(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("signature and engines").add_argument
    add("--sign", type=Path, action="append", default=[], metavar="KEY", help="sign with this private key; repeatable")
    add("--signer", default="", metavar="NAME", help="whose key it is, for people to read")
    add("--passphrase-file", type=Path, metavar="FILE", help="the key's passphrase (default: asked on the terminal)")
    add("--engine", action="store_true", help="also build the TensorRT engines of this box, kept in STATE")
    add("--state", type=Path, metavar="DIR", help="folder STATE, as sad-runtime takes it, for --engine")


def wish_of(arguments: argparse.Namespace, out: Path) -> Wish:
    """Asks for passphrases. Raises UsageError for a key that cannot be used."""
    from sad_calibration.int8.tensorrt_table import table_header
    from sad_export.parity import Limits
    from sad_export.pipeline import Wish
    from sad_runtime.cli.passphrase import signer_from

    _check(arguments)
    table: list[str] | None = arguments.tensorrt_table
    if table is not None:
        table_header(table[0])  # a version that is none is told before an export of minutes
    return Wish(
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
        precisions=_precisions(arguments),
        limits=Limits(
            auroc_drop=arguments.max_auroc_drop,
            aupro_drop=arguments.max_aupro_drop,
            spearman=arguments.min_spearman,
        ),
        calibration_set=arguments.calibration_set,
        calibration_cache=arguments.calibration_cache,
        qat_steps=arguments.qat_steps,
        table=None if table is None else (table[0], Path(table[1])),
        signers=tuple(signer_from(key, arguments.passphrase_file, name=arguments.signer) for key in arguments.sign),
    )


def _correlation(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -1 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}': a rank correlation is a number between -1 and 1")
    return value


def _check(arguments: argparse.Namespace) -> None:
    """Raises UsageError for a flag that would do nothing, before an export of minutes."""
    reduced, cache = arguments.int8 or arguments.fp16, arguments.calibration_cache
    for flag, given, wants, there in (
        ("--calibration-set", arguments.calibration_set, "--int8 or --fp16", reduced),
        ("--calibration-cache", cache, "--int8 or --fp16", reduced),
        ("--tensorrt-table", arguments.tensorrt_table, "--int8", arguments.int8),
        ("--qat-steps", arguments.qat_steps, "--int8", arguments.int8),
        ("--signer", arguments.signer, "--sign KEY", arguments.sign),
        ("--passphrase-file", arguments.passphrase_file, "--sign KEY", arguments.sign),
        ("--state", arguments.state, "--engine", arguments.engine),
    ):
        if given and not there:
            raise UsageError(f"{flag} does nothing without {wants}")
    if cache is not None and cache.is_dir():
        raise UsageError(f"{cache}: is a folder; name a file for the ranges")
    if cache is not None and cache.exists() and arguments.calibration_set is not None:
        raise UsageError(f"{cache} is there, so --calibration-set would not be looked at. Leave one of them out")
    if arguments.tensorrt_table is not None and not re.match(r"(8|10)\.", arguments.tensorrt_table[0]):
        raise UsageError(f"--tensorrt-table {arguments.tensorrt_table[0]}: only TensorRT 8 and 10 take such tables")


def _precisions(arguments: argparse.Namespace) -> tuple[str, ...]:
    """fp32 first. Q/DQ scales in half precision came with opset 19; TensorRT 8 takes fp16 from a flag instead."""
    wanted = ["fp32", *(["fp16"] if arguments.fp16 else []), *(["int8"] if arguments.int8 else [])]
    if arguments.fp16 and arguments.int8 and arguments.opset >= MIXED_OPSET:
        wanted.append("int8_fp16")
    return tuple(wanted)
