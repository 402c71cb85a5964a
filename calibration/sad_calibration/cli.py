"""`sad-calibrate`: sets the thresholds of a station on good parts, and keeps every one it had."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from sad_calibration.calibrate import Wish, calibrated
from sad_calibration.report import Findings, as_lines, as_object, history_lines
from sad_calibration.samples import Samples, samples_from_bundle, samples_from_folder
from sad_runtime.backends.base import Backend
from sad_runtime.backends.constant import ConstantBackend
from sad_runtime.backends.table import backend_for
from sad_runtime.bundle import Bundle, read_bundle
from sad_runtime.cli.command import command_parser, rate, run_command
from sad_runtime.engines.settings import EngineSettings
from sad_runtime.errors import GateFailed, UsageError
from sad_runtime.manifest import Roi
from sad_runtime.signing_keys import trusted_keys
from sad_runtime.station.config import STATION_NAME
from sad_runtime.station.selection import engines_in
from sad_runtime.station.state_folder import StateFolder, default_state_root
from sad_runtime.thresholds import History, append_history, read_history

EXAMPLES = """\
  sad-calibrate capsule.sad --target-false-reject 0.5%          on the good pictures inside the bundle
  sad-calibrate capsule.sad --good parts/today --note "new lamp" on camera frames of good parts
  sad-calibrate capsule.sad --good parts/today --defects parts/bad --dry-run   look, change nothing
  sad-calibrate capsule.sad --history                           every threshold this station had"""


def main(argv: Sequence[str] | None = None) -> int:
    return run_command(_parser(), _run, argv)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(
        "sad-calibrate",
        "Sets a station's thresholds from pictures of good parts: say how many good parts may be rejected.\n"
        "The bundle is not changed; the thresholds are kept in the station's state folder, old ones too.",
        EXAMPLES,
    )
    add = parser.add_argument
    add("bundle", type=Path, metavar="BUNDLE", help="the .sad file the station runs")
    add("--good", type=Path, metavar="DIR", help="camera frames of good parts (default: the pictures in the bundle)")
    add("--defects", type=Path, metavar="DIR", help="a few known bad parts, scored as a check; they set nothing")
    add(
        "--target-false-reject",
        type=rate,
        metavar="RATE",
        dest="target",
        help="share of good parts that may be rejected, 0.5%% or 0.005 (default: the least the pictures support)",
    )
    add("--review-band", type=rate, metavar="RATE", help="flag for review the PASSes that are among this share")
    add("--roi", type=_roi, metavar="X,Y,W,H", help="region of the frames, where the station's recipe has its own")
    add("--backend", default="auto", help="the engine the station runs on (default: auto, as the station picks)")
    add("--precision", default="fp32", help="the model file the station runs (default: fp32)")
    add(
        "--trust",
        action="append",
        default=[],
        metavar="KEY",
        help="refuse a bundle not signed by this public key file, or one of a folder; may be repeated",
    )
    add("--station", default="line1", metavar="NAME", help="whose thresholds (default: line1)")
    add("--state", type=Path, metavar="DIR", help="state folder of the stations (default: that of this user)")
    add("--use-estimate", action="store_true", help="set the extreme-value estimate where nothing can be promised")
    add("--strict", action="store_true", help="exit 4 and save nothing when the pictures cannot support the target")
    add("--note", default="", metavar="TEXT", help="kept with the thresholds: why they were set")
    add("--json", action="store_true", help="print one JSON object; everything else goes to stderr")
    add("--history", action="store_true", help="list the thresholds kept for this station and stop")
    add("--dry-run", action="store_true", help="show what would be set, save nothing")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    bundle = read_bundle(arguments.bundle, trusted_keys(arguments.trust))
    bundle.precision(arguments.precision)
    kept = _history_file(arguments)
    history = read_history(kept)
    if arguments.history:
        _print_history(arguments, bundle, history)
        return 0
    if arguments.use_estimate and arguments.target is None:
        raise UsageError("--use-estimate needs a rate to estimate for: --target-false-reject RATE")
    backend = _backend(arguments, bundle)
    good, bad = _samples(arguments, bundle)
    wish = Wish(
        precision=arguments.precision,
        target=arguments.target,
        review_rate=arguments.review_band,
        use_estimate=arguments.use_estimate,
        note=arguments.note,
    )
    found = calibrated(bundle, backend, history, wish, good, bad, fresh=arguments.good is not None)
    _check_support(arguments, found)
    if not arguments.dry_run:
        append_history(kept, found.after)
        found = dataclasses.replace(found, saved=str(kept))
    print(json.dumps(as_object(found)) if arguments.json else "\n".join(as_lines(found)))
    return 0


def _history_file(arguments: argparse.Namespace) -> Path:
    if not re.fullmatch(STATION_NAME, arguments.station):
        raise UsageError(f"--station {arguments.station}: a station's name has up to 32 letters, digits, '-' and '_'")
    return StateFolder(_root(arguments), arguments.station).thresholds


def _root(arguments: argparse.Namespace) -> Path:
    state: Path | None = arguments.state
    return state if state is not None else default_state_root()


def _roi(text: str) -> Roi:
    """`x,y,width,height` in camera pixels, for argparse."""
    try:
        x, y, width, height = (int(part) for part in text.split(","))
        return Roi(x=x, y=y, width=width, height=height)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no region; write x,y,width,height in camera pixels") from None


def _print_history(arguments: argparse.Namespace, bundle: Bundle, history: History) -> None:
    if arguments.json:
        print(json.dumps(history.model_dump()))
        return
    digest = bundle.precision(arguments.precision).sha256
    print("\n".join(history_lines(history, digest, arguments.precision)))


def _backend(arguments: argparse.Namespace, bundle: Bundle) -> Backend:
    engines = engines_in(_root(arguments), EngineSettings())
    backend = backend_for(arguments.backend, bundle.model(arguments.precision), bundle.manifest.input, engines=engines)
    if isinstance(backend, ConstantBackend):
        raise UsageError(
            f"--backend {arguments.backend} never runs the model, so no threshold can be set on it. "
            "Name the engine that the station runs on, or leave --backend out"
        )
    return backend


def _samples(arguments: argparse.Namespace, bundle: Bundle) -> tuple[Samples, Samples | None]:
    roi = arguments.roi if arguments.roi is not None else bundle.manifest.roi
    spec = bundle.manifest.input
    if arguments.good is None:
        good = samples_from_bundle(bundle)
    else:
        good = samples_from_folder(arguments.good, spec, roi, "good parts", recursive=False)
    if arguments.defects is None:
        return good, None
    return good, samples_from_folder(arguments.defects, spec, roi, "known bad parts", recursive=True)


def _check_support(arguments: argparse.Namespace, found: Findings) -> None:
    """A target the pictures cannot support is a warning, or the end of it with --strict."""
    if found.cuts.promise.supported:
        return
    if arguments.strict:
        raise GateFailed(f"{found.cuts.promise.text}. Nothing was saved (--strict)")
    print(f"warning: {found.cuts.promise.text}", file=sys.stderr)
