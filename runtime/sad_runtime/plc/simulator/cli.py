"""`sad-plc simulate`: its options, and the report at the end."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import TextIO

from sad_runtime.cli.feed_keys import add_key_options, keys_from
from sad_runtime.errors import UsageError
from sad_runtime.identity import boot_id
from sad_runtime.ops.host_port import host_and_port
from sad_runtime.plc.simulator.belt import COUNTS_PER_MM, Belt, BeltPlan
from sad_runtime.plc.simulator.faults import PLC_FAULTS, PlcFaults, plc_faults_from
from sad_runtime.plc.simulator.line import Line, Parts
from sad_runtime.plc.simulator.link import Link
from sad_runtime.plc.simulator.program import Program, Settings
from sad_runtime.plc.simulator.score import Score
from sad_runtime.plc.simulator.truth import period_of, truth_of
from sad_runtime.plc.simulator.view import Lines, view_for
from sad_runtime.plc.simulator.witness import Witness

GATEWAY_MS = 50
"""Of the way to the gate, left for gateway and wire."""
SHORTEST_DEADLINE_MS = 50
FIRST_TRIGGER_ID = 65_000
"""So that it wraps soon."""
SLOWEST_MM_S = 10
NO_FEED = "none"
FAULT_HELP = "; ".join(f"{name}: {text}" for name, text in PLC_FAULTS.items())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "A PLC with a conveyor, an encoder and a reject gate, as a Modbus client of a running sad-plc. It triggers a "
        "picture of each part, follows the part to the gate, and lets it go only if PASS was said of it in time. "
        "Ends with 4 if a part passed that must not have, or was lost count of."
    )
    add = parser.add_argument
    add("--modbus", metavar="HOST:PORT", default="127.0.0.1:5020", help="the gateway (127.0.0.1:5020)")
    add("--unit", metavar="N", type=int, default=1, help="the station's unit there (1)")
    add(
        "--feed",
        metavar="ADDR",
        default="tcp://127.0.0.1:5555",
        help="the station's decisions, to judge by (tcp://127.0.0.1:5555); none: no judge",
    )
    add("--camera", metavar="URI", help="the station's own --camera, if it is demo:, to know which parts are bad")
    add("--parts", metavar="N", type=_count, default=0, help="end after so many (until Ctrl-C)")
    add("--speed-mm-s", metavar="V", type=_speed, default=200.0, help="of the belt, on average (200)")
    add("--spacing-mm", metavar="D", type=_positive, default=100.0, help="between two parts, on average (100)")
    add("--camera-to-gate-mm", metavar="D", type=_positive, default=600.0, help="(600)")
    add("--scan-ms", metavar="T", type=_positive, default=10.0, help="cycle of the PLC (10)")
    add("--seed", metavar="N", type=int, default=0, help="another one: other gaps between the parts (0)")
    add("--recipe", metavar="N", type=_recipe, help="have this recipe loaded first (the one in force)")
    add("--fault", metavar="WHAT@WHEN", default="", help=f"like cable@10s+3s,no-ack@20s+2s. {FAULT_HELP}")
    add("--json", action="store_true", help="the counts as one object on stdout; all else goes to stderr")
    add("--view", choices=("auto", "plain"), default="auto", help="auto: a picture where this is a terminal")
    add_key_options(parser, default=argparse.SUPPRESS)


def simulate(arguments: argparse.Namespace) -> int:
    plan = BeltPlan(
        speed_mm_s=arguments.speed_mm_s,
        spacing_mm=arguments.spacing_mm,
        camera_to_gate_mm=arguments.camera_to_gate_mm,
        seed=arguments.seed,
        parts=arguments.parts,
    )
    is_bad = truth_of(arguments.camera) if arguments.camera else None
    period_s = period_of(arguments.camera) if arguments.camera else None
    settings = settings_for(plan, arguments.scan_ms / 1e3, period_s, arguments.recipe, first_part_id=int(time.time()))
    faults = plc_faults_from(arguments.fault)
    host, port = _address(arguments.modbus)
    out = sys.stderr if arguments.json else sys.stdout
    judged = arguments.feed != NO_FEED
    score = Score(is_bad, boot_id(), judged=judged)
    began_s = time.monotonic()
    with ExitStack() as stack:
        stop = stack.enter_context(_asked_to_stop())
        witness = stack.enter_context(Witness(arguments.feed, keys=keys_from(arguments))) if judged else None
        link = stack.enter_context(Link(host, port, arguments.unit))
        view = Lines(out) if arguments.view == "plain" else view_for(arguments.view, out)
        program = Program(settings)
        line = Line(
            Parts(Belt(plan), program, link, score, view, PlcFaults(faults), witness), arguments.scan_ms / 1e3, stop
        )
        line.run()
        report = report_of(score, program, link, line, witness, time.monotonic() - began_s)
    _print(report, score, out, as_json=arguments.json)
    _warn_of_nothing(score)
    return 4 if report["ok"] is False else 0


def settings_for(
    plan: BeltPlan, scan_s: float, period_s: float | None = None, recipe: int | None = None, first_part_id: int = 1
) -> Settings:
    """What a PLC programmer works out once for a line. `period_s`: of the camera, None where nobody knows it. Raises
    UsageError for a belt that cannot be told apart."""
    scan_mm = plan.fastest_mm_s * scan_s
    window_mm = 2 * scan_mm + 2.0
    if plan.narrowest_mm <= 2 * window_mm + scan_mm:
        raise UsageError(
            f"--spacing-mm {plan.spacing_mm:g}: parts come as close as {plan.narrowest_mm:.0f} mm, but at "
            f"--speed-mm-s {plan.speed_mm_s:g} and --scan-ms {scan_s * 1e3:g} the gate has to be held for "
            f"{2 * window_mm + scan_mm:.0f} mm a part. Take a wider spacing, a slower belt, or a shorter scan"
        )
    way_ms = (plan.camera_to_gate_mm - window_mm) / plan.fastest_mm_s * 1e3
    deadline_ms = int(way_ms - 2 * scan_s * 1e3 - GATEWAY_MS)
    if deadline_ms < SHORTEST_DEADLINE_MS:
        raise UsageError(
            f"--camera-to-gate-mm {plan.camera_to_gate_mm:g}: at --speed-mm-s {plan.speed_mm_s:g} that leaves "
            f"{max(0, deadline_ms)} ms for a result. Put the gate further away, or slow the belt"
        )
    return Settings(
        gate_offset=round(plan.camera_to_gate_mm * COUNTS_PER_MM),
        gate_window=round(window_mm * COUNTS_PER_MM),
        deadline_ms=min(deadline_ms, 65535),
        sight=round(_sight_mm(plan, period_s) * COUNTS_PER_MM),
        recipe=recipe,
        allow_simulated=True,
        first_part_id=first_part_id,
        first_trigger_id=FIRST_TRIGGER_ID,
    )


def _sight_mm(plan: BeltPlan, period_s: float | None) -> float:
    """How far a part may have come when the station takes its trigger: until the next picture is taken it moves on, and
    must not have made room for the next part by then."""
    if period_s is None:
        return plan.narrowest_mm / 2
    left_mm = plan.narrowest_mm - plan.fastest_mm_s * period_s
    if left_mm <= 0:
        raise UsageError(
            f"--spacing-mm {plan.spacing_mm:g}: parts come as close as {plan.narrowest_mm:.0f} mm, and move "
            f"{plan.fastest_mm_s * period_s:.0f} mm from one picture of the camera to the next. Take a wider spacing, "
            "a slower belt, or a faster camera (fps)"
        )
    return left_mm


def report_of(
    score: Score, program: Program, link: Link, line: Line, witness: Witness | None, seconds: float
) -> dict[str, object]:
    counts = score.counts
    return {
        "ok": _is_ok(score, judged=witness is not None),
        "parts": score.came,
        "passed": counts.passed,
        "rejected_by_model": counts.rejected_by_model,
        "rejected_by_system": counts.rejected_by_system,
        "passed_by_system": counts.passed_by_system,
        "wrong_picture": counts.wrong_picture,
        "unaccounted": score.unaccounted,
        "on_belt": score.on_belt,
        "late": counts.late,
        "lost": counts.lost,
        "untracked": counts.untracked,
        "decided_twice": counts.decided_twice,
        "foreign": counts.foreign,
        "rejected_because": dict(counts.rejected_because.most_common()),
        "result_ms": score.result_ms(),
        "restarts_seen": program.restarts,
        "faults_cleared": line.operator_presses,
        "modbus": {"exchanges": link.exchanges, "errors": link.errors, "connects": link.connects},
        "judged": witness is not None,
        "feed_lost": witness.lost if witness else 0,
        "seconds": round(seconds, 1),
    }


def _is_ok(score: Score, *, judged: bool) -> bool | None:
    """None: nothing wrong was seen, but nobody heard the station."""
    if score.counts.passed_by_system or score.unaccounted:
        return False
    return True if judged else None


def _warn_of_nothing(score: Score) -> None:
    """A line on which nothing passes proves nothing about what may pass."""
    if score.came and not sum(score.counts.passed.values()):
        print(f"warning: not one of {score.came} parts passed; rejected_because tells why", file=sys.stderr)


def _print(report: dict[str, object], score: Score, out: TextIO, *, as_json: bool) -> None:
    for escape in score.escapes[:20]:
        print(f"PASSED BY THE SYSTEM: {escape}", file=out)
    if as_json:
        print(json.dumps(report), flush=True)
        return
    for name, value in report.items():
        shown = ", ".join(f"{key} {number}" for key, number in value.items()) if isinstance(value, dict) else value
        print(f"{name.replace('_', ' '):<20} {shown if shown != '' else '-'}", file=out)


@contextmanager
def _asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM end the run with its report; a second Ctrl-C ends it at once."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _address(text: str) -> tuple[str, int]:
    try:
        return host_and_port(text)
    except ValueError:
        raise UsageError(f"--modbus {text}: not an address; write for example 127.0.0.1:5020") from None


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return value


def _speed(text: str) -> float:
    """Slower than SLOWEST_MM_S a part stands in the gate for longer than the judge waits to hear of it."""
    if (value := _positive(text)) < SLOWEST_MM_S:
        raise argparse.ArgumentTypeError(f"'{text}' is slower than {SLOWEST_MM_S} mm/s")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of parts; write for example 100")
    return int(text)


def _recipe(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise argparse.ArgumentTypeError(f"'{text}' is not a recipe; they have numbers from 1 to 65535")
    return int(text)
