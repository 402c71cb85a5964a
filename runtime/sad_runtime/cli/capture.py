"""`sad-capture`: collects pictures of good parts, through the very camera code that will inspect them.

Whole frames, lossless, one PNG each, named by time, so that nothing there before is ever overwritten.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from sad_runtime.cameras.base import EndOfStream, Frame
from sad_runtime.cameras.table import camera_for
from sad_runtime.cli.command import command_parser, run_command
from sad_runtime.cli.progress import Progress
from sad_runtime.errors import UsageError
from sad_runtime.files import made_folder, write_atomically
from sad_runtime.pictures import encode_png
from sad_runtime.schema import read_yaml
from sad_runtime.station.config import CameraConfig, StationConfig
from sad_runtime.station.sight import Sight

log = logging.getLogger("sad.capture")
SILENT_S = 30.0
EXAMPLES = """\
  sad-capture --camera 0 --out parts/capsule/train/good --count 200 --interval-ms 500
  sad-capture --config configs/station.yaml --out parts/capsule/train/good --count 200"""


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser("sad-capture", "Collect whole, lossless pictures from a camera.", EXAMPLES)
    parser.add_argument("--camera", metavar="URI", help="as for sad-runtime")
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="a station's file: its camera and settings are used"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the pictures; is created")
    parser.add_argument("--count", type=int, required=True, metavar="N", help="how many pictures")
    parser.add_argument(
        "--interval-ms", type=int, default=0, metavar="MS", help="at least so long between two pictures"
    )
    return run_command(parser, _run, argv)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.count < 1:
        raise UsageError("--count: at least 1 picture")
    if arguments.interval_ms < 0:
        raise UsageError("--interval-ms: 0 or more")
    camera = read_yaml(StationConfig, arguments.config).camera if arguments.config else CameraConfig()
    uri = arguments.camera or camera.uri
    if uri is None:
        raise UsageError("which camera? Add --camera 0, or --config with camera.uri set")
    source = camera_for(uri, camera.settings)
    made_folder(arguments.out)
    with source:
        kept, broken = _collect(Sight(source, source.silent_after_s or SILENT_S), arguments)
    if broken:
        log.warning("%d pictures were not whole and were left out", broken)
    if kept < arguments.count:
        log.warning("the source ended after %d of %d pictures", kept, arguments.count)
    print(f"{kept} pictures in {arguments.out}", file=sys.stderr)
    return 0


def _collect(sight: Sight, arguments: argparse.Namespace) -> tuple[int, int]:
    """(kept, broken)."""
    progress = Progress("capture", arguments.count)
    kept = broken = 0
    not_before_ns = time.monotonic_ns()
    while kept < arguments.count:
        try:
            frame = sight.grab(1.0)
        except EndOfStream:
            break
        if frame is None or frame.mono_ns < not_before_ns:
            continue
        if not sight.fits(frame):
            broken += 1
            continue
        _store(frame, arguments.out)
        kept += 1
        not_before_ns = frame.mono_ns + arguments.interval_ms * 1_000_000
        progress.step(kept)
    return kept, broken


def _store(frame: Frame, folder: Path) -> None:
    assert frame.picture is not None  # fits() said so
    seconds, rest_ns = divmod(frame.captured_ns, 1_000_000_000)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(seconds))
    path = folder / f"{stamp}-{rest_ns // 1000:06}.png"
    while path.exists():
        path = path.with_stem(path.stem + "b")
    write_atomically(path, encode_png(frame.picture))


if __name__ == "__main__":
    sys.exit(main())
