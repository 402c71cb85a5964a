"""`sad-runtime`: inspects what a camera sees with a bundle, and publishes the verdicts."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sad_runtime.backends.table import check_installed
from sad_runtime.cli.build_only import build_only, table
from sad_runtime.cli.command import command_parser, run_command
from sad_runtime.cli.list_cameras import list_cameras
from sad_runtime.cli.plant import check_plant, plant_in, refuse_for_several, run_plant
from sad_runtime.cli.selftest import selftest
from sad_runtime.cli.tail import line_of
from sad_runtime.engines.api import EXTRAS
from sad_runtime.engines.cache import check_only_ours_may_write
from sad_runtime.errors import UsageError
from sad_runtime.feed.address import shifted
from sad_runtime.feed.protection import check_keys
from sad_runtime.messages import Decision
from sad_runtime.ops.log_lines import naming
from sad_runtime.ops.sd_notify import SdNotify
from sad_runtime.presets import preset_path
from sad_runtime.schema import parse, read_yaml
from sad_runtime.station.checks import check_all
from sad_runtime.station.config import StationConfig, TriggerMode
from sad_runtime.station.dry_run import dry_run
from sad_runtime.station.plant import station_of
from sad_runtime.station.selection import Selection, selected
from sad_runtime.station.station import Station
from sad_runtime.station.stopping import StopRequest

log = logging.getLogger("sad.runtime")
CLOSING_S = 8.0
"""What flushing the feed, the journal and the pictures may take at most after the last part's deadline."""
SWITCH_S = 0.0005
"""A thread that reads back a page of the journal may hold up the loop for so long, not for Python's usual 5 ms."""
PROG = "sad-runtime"
EXAMPLES = """\
  sad-runtime --camera 0 --bundle capsule.sad               a USB camera, every picture is a part
  sad-runtime --camera 0 --bundle capsule.sad --trigger software --deadline 200
  sad-runtime --camera folder:parts/test --bundle capsule.sad    replay pictures, then end
  sad-runtime --camera demo:washer --bundle washer.sad      rendered parts, no camera needed
  sad-runtime --config configs/station.yaml --check         is everything in order? opens no device
  sad-runtime --config configs/plant.yaml                   several stations, a process each
  sad-runtime --bundle capsule.sad --build-only             build the TensorRT engine before the line needs it
  sad-runtime --list-cameras                                what to write after --camera
  sad-runtime --selftest --bundle capsule.sad               is this box in order? paste it into a fault report
  sad-tail                                                  in a second window: watch the verdicts"""


def main(argv: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    return run_command(_parser(), lambda arguments: _run(arguments, given), given)


def _run(arguments: argparse.Namespace, given: Sequence[str]) -> int:
    if arguments.limit < 0:
        raise UsageError("--limit: 1 part or more; 0 goes on until the end")
    _check_mode(arguments)
    if arguments.list_cameras:
        return list_cameras(as_json=arguments.json)
    path = _file(arguments)
    plant = plant_in(path) if path and not arguments.station else None
    if plant is not None:
        return _several(plant, arguments, given)
    if arguments.selftest:
        configuration = _configuration(arguments)
        return selftest(configuration, arguments.bundle, as_json=arguments.json, serials=arguments.serials)
    if arguments.json or arguments.serials:
        raise UsageError(
            "--json goes with --selftest or --list-cameras, --serials with --selftest. For decisions: sad-tail --json"
        )
    if arguments.build_only:
        print(table(build_only(_configuration(arguments), arguments.bundle)))
        return 0
    selection = selected(_configuration(arguments), arguments.bundle, arguments.threshold)
    if selection.recipe.backend.partition(":")[0] in EXTRAS:
        check_only_ours_may_write(Path(str(selection.config.engines.folder)), strict=bool(selection.config.trust))
    if arguments.check:
        _check(selection)
        return 0
    sys.setswitchinterval(SWITCH_S)
    before, threading.excepthook = threading.excepthook, _fail_stop
    try:
        with StopRequest(selection.recipe.deadline_ms / 1e3 + CLOSING_S) as stop:
            if arguments.dry_run:
                tally = dry_run(selection, stop.requested, arguments.limit, _show)
            else:
                selection.folder.make()
                tally = _ran(selection, stop.requested, arguments.limit).tally
    finally:
        threading.excepthook = before
    if arguments.log_format == "json":
        log.info("%s", tally.table())
    else:
        print(tally.table(), file=sys.stderr)
    return 0


def _several(plant: dict[str, StationConfig], arguments: argparse.Namespace, given: Sequence[str]) -> int:
    """All stations of a plant's file."""
    names = list(plant)
    refuse_for_several(arguments, names)
    if arguments.check:
        return check_plant(plant, lambda name: _check(_selection(arguments, name)))
    deadlines = [config.trigger.deadline_ms for config in plant.values()]
    with _service_manager() as notify:
        grace_s = max(deadlines) / 1e3 + 2 * CLOSING_S
        return run_plant(names, given, notify, grace_s=grace_s, as_json=arguments.log_format == "json")


def _selection(arguments: argparse.Namespace, name: str) -> Selection:
    one = argparse.Namespace(**{**vars(arguments), "station": name})
    return selected(_configuration(one), arguments.bundle, arguments.threshold)


def _check(selection: Selection) -> None:
    check_installed(selection.recipe.backend)
    check_keys(selection.config.feed)
    for remark in check_all(selection):
        print(f"{PROG}: {remark}")
    print(f"{PROG}: station {selection.config.station} is in order; no device was opened")


def _service_manager() -> SdNotify:
    """This is the command's edge: nothing else reads systemd's part of the environment."""
    watchdog_us = os.environ.get("WATCHDOG_USEC", "")
    meant_for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return SdNotify(
        os.environ.get("NOTIFY_SOCKET"), int(watchdog_us) if watchdog_us.isdigit() and meant_for_us else None
    )


def _show(decision: Decision) -> None:
    print(line_of(decision, recovered=False, colour=sys.stdout.isatty()), flush=True)


def _check_mode(arguments: argparse.Namespace) -> None:
    """Nothing that was asked for is silently left out."""
    modes = {
        "--selftest": arguments.selftest,
        "--build-only": arguments.build_only,
        "--check": arguments.check,
        "--dry-run": arguments.dry_run,
        "--list-cameras": arguments.list_cameras,
    }
    asked = [name for name, on in modes.items() if on]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)}: one at a time, please")
    for_running = {"--limit": bool(arguments.limit), "--threshold": arguments.threshold is not None}
    if arguments.list_cameras:
        for_running |= {f"--{name}": bool(vars(arguments)[name]) for name in ("camera", "bundle", "config", "serials")}
    for flag, given in for_running.items():
        if given and (arguments.selftest or arguments.build_only or arguments.list_cameras):
            raise UsageError(f"{flag} says nothing to {asked[0]}; leave it out")


def _ran(selection: Selection, stop: threading.Event, limit: int) -> Station:
    log.info("camera %s, trigger %s", selection.camera.uri, selection.config.trigger.mode.value)
    log.info("deadline %d ms, state in %s", selection.recipe.deadline_ms, selection.folder.folder)
    station = Station(
        selection.config,
        selection.recipe,
        selection.camera,
        selection.folder,
        stop=stop,
        limit=limit,
        faults=selection.faults,
        camera_with=selection.camera_with,
    )
    with naming(selection.config.station, station.equipment.run), _service_manager() as notify:
        station.equipment.happenings.listen(notify.told)
        station.equipment.progress.listeners.append(notify.beat)
        station.equipment.progress.status_listeners.append(notify.entered)
        with station:
            station.run()
    return station


def _fail_stop(crash: threading.ExceptHookArgs) -> None:
    """A thread that died takes the process with it: no line is to run on with half a runtime."""
    name = crash.thread.name if crash.thread else "a thread"
    kind = crash.exc_type
    log.critical("%s failed; leaving", name, exc_info=(kind, crash.exc_value or kind(), crash.exc_traceback))
    os._exit(1)


def _configuration(arguments: argparse.Namespace) -> StationConfig:
    """The file or preset, with the flags over it."""
    path = _file(arguments)
    plant = plant_in(path) if path else None
    if path is None:
        base = StationConfig()
    elif plant is None:
        base = read_yaml(StationConfig, path)
    elif arguments.station is None:
        raise UsageError(f"{path}: several stations; add --station NAME, one of {', '.join(plant)}")
    else:
        base = station_of(plant, arguments.station)
    values = base.model_dump()
    for keys, value in _flags(arguments).items():
        if value is not None:
            *sections, key = keys.split(".")
            target: dict[str, Any] = values
            for section in sections:
                target = target[section]
            target[key] = value
    _shift_ports(values["feed"], arguments.port_offset)
    return parse(StationConfig, values, str(path) if path else "command line")


def _file(arguments: argparse.Namespace) -> Path | None:
    if arguments.config and arguments.preset:
        raise UsageError("give --config or --preset, not both")
    named: Path | None = preset_path(arguments.preset) if arguments.preset else arguments.config
    return named


def _flags(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "station": arguments.station,
        "camera.uri": arguments.camera,
        "backend": arguments.backend,
        "precision": arguments.precision,
        "threads": arguments.threads,
        "trust": arguments.trust,
        "trigger.mode": arguments.trigger,
        "trigger.interval_ms": arguments.interval,
        "trigger.deadline_ms": arguments.deadline,
        "inject": arguments.inject,
        "state": str(arguments.state) if arguments.state else None,
        "feed.decisions": arguments.decisions,
        "feed.heatmaps": arguments.heatmaps,
        "feed.snapshot": arguments.snapshot,
        "feed.commands": arguments.commands,
    }


def _shift_ports(feed: dict[str, Any], ports: int) -> None:
    for name in ("decisions", "heatmaps", "snapshot", "commands"):
        given = feed[name]  # of a flag one address, of the file a list
        feed[name] = shifted(given, ports) if isinstance(given, str) else [shifted(one, ports) for one in given]


def _parser() -> argparse.ArgumentParser:
    parser = command_parser(PROG, "Inspect what a camera sees, and publish a verdict on every part.", EXAMPLES)
    add = parser.add_argument
    what = parser.add_argument_group("what to inspect with what")
    what.add_argument(
        "--camera",
        metavar="URI",
        help="0, /dev/v4l/by-id/NAME, gige://SERIAL, FILE.mp4, demo:PART, ...; see --list-cameras",
    )
    what.add_argument("--bundle", type=Path, metavar="FILE", help="the .sad file (default: the active recipe's)")
    what.add_argument(
        "--trust",
        action="append",
        metavar="KEY",
        help="run only bundles signed by this key: a public key file, or a folder of .pub files; may be repeated",
    )
    what.add_argument("--config", type=Path, metavar="FILE", help="the station's YAML file; flags override it")
    what.add_argument("--preset", metavar="NAME", help="a YAML file that ships with sad, e.g. station-demo")
    what.add_argument("--station", metavar="NAME", help="name of this station, or one of the file's (default: line1)")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--backend",
        metavar="NAME",
        help="auto, tensorrt[:GPU], tensorrt_rtx[:GPU], openvino[:throughput|bf16|pin], onnxruntime, constant[:SCORE]",
    )
    how.add_argument("--precision", metavar="NAME", help="which model of the bundle (default: fp32)")
    how.add_argument("--threads", type=int, metavar="N", help="CPU threads for the model; 0: the engine decides")
    how.add_argument("--threshold", type=float, metavar="S", help="overrides the threshold in force, for trying out")
    how.add_argument(
        "--trigger", choices=[mode.value for mode in TriggerMode], help="what makes a part (default: free)"
    )
    how.add_argument("--interval", type=int, metavar="MS", help="milliseconds between parts with --trigger interval")
    how.add_argument("--deadline", type=int, metavar="MS", help="verdict at the latest so long after the trigger")
    how.add_argument(
        "--inject", metavar="FAULT@S", help="stage faults to try out the line, e.g. dark@30s,unplug@60s+5s"
    )
    how.add_argument("--limit", type=int, default=0, metavar="N", help="end after N parts")
    feed = parser.add_argument_group("where")
    feed.add_argument("--state", type=Path, metavar="DIR", help="folder for journal, pictures and thresholds")
    feed.add_argument(
        "--decisions", action="append", metavar="ADDR", help="default tcp://127.0.0.1:5555; may be repeated"
    )
    feed.add_argument("--heatmaps", metavar="ADDR", help="default tcp://127.0.0.1:5556")
    feed.add_argument("--snapshot", metavar="ADDR", help="default tcp://127.0.0.1:5557")
    feed.add_argument("--commands", metavar="ADDR", help="default: a socket file in the state folder")
    feed.add_argument(
        "--port-offset", type=int, default=0, metavar="N", help="moves all ports; 10 for the second station of a box"
    )
    add("--build-only", action="store_true", help="build the TensorRT engines of the recipes, or of --bundle, and end")
    add("--selftest", action="store_true", help="try out this box, and --bundle on every engine here; opens no camera")
    add(
        "--list-cameras",
        action="store_true",
        help="show the cameras this box can see, by the URIs to open them, and end",
    )
    add("--json", action="store_true", help="with --selftest or --list-cameras: one JSON object on stdout")
    add("--serials", action="store_true", help="with --selftest: name cameras with their serial numbers")
    add("--check", action="store_true", help="check everything that can be checked without opening a device, and end")
    add("--dry-run", action="store_true", help="inspect for 10 s or --limit parts and show it; no feed, no records")
    return parser


if __name__ == "__main__":
    sys.exit(main())
