"""Every fault that can be staged, on a whole station with a real grabber: what is said, how soon, and never a PASS.

    python tests/fault_matrix.py          prints the table of docs/faults.md

The model passes whatever it is shown, and the scene's limits are learnt from rendered parts as an export learns them:
what keeps a picture from being passed is the runtime alone.
"""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bundles import tiny_onnx
from sad_export.scene import FILE, learnt
from sad_runtime.bundle import sha256_hex, write_bundle
from sad_runtime.cameras.demo.parts import render
from sad_runtime.faults.schedule import CAMERA_FAULTS
from sad_runtime.manifest import DecisionPolicy, InputSpec, Manifest, Precision, Training
from sad_runtime.messages import Decision
from sad_runtime.preprocess import model_picture
from stations import Stand, station

AT_ONCE = 4
AT_S, LASTS_S = 5.0, 2.0
AFTER_S = 4.0
"""So long after the fault a station must judge again."""
PERIOD_MS, DEADLINE_MS = 100, 300
BESIDE = ("no_image", "late")
"""What a busy machine, or a camera that is opened again, adds to any of them."""
CAMERA = "demo:washer?fps=25&drop=1&defects=0&size=256"
BRIGHT = 3.68
"""Score of tiny_onnx that one washer in three exceeds."""
SIDE_PX = 128
"""At a model size of 64 px a lens out of focus hardly shows on washers, and such a limit is left out at export."""
SPEC = InputSpec(height=SIDE_PX, width=SIDE_PX, channels=3)


@dataclass(frozen=True)
class Case:
    """`reason`: what its INVALID says. `event`: told when it begins."""

    fault: str
    how: str
    reason: str
    event: str
    reaction: str
    inject: str = ""
    unseen_s: float = 0.0
    """So long after its begin nobody can tell: the first picture of a row of equal ones is a fresh one to whoever has
    not seen the one before."""
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def injected(self) -> str:
        return self.inject or f"{self.how}@{AT_S}s+{LASTS_S}s"


HARDWARE = {"trigger": {"mode": "hardware", "deadline_ms": DEADLINE_MS}}
RECORDS = {"journal": {"wait_ms": 50, "require_records": True}}
CASES = [
    Case("camera unplugged", "unplug", "no_image", "camera_lost", "refused at once; opened again with back-off"),
    Case("camera hangs", "hang", "no_image", "camera_lost", "refused by the deadline; its process is ended"),
    Case(
        "another camera after a re-plug",
        "swap",
        "no_image",
        "camera_refused",
        "refused until the right one is back",
        inject=f"unplug@{AT_S}s+0.4s,swap@{AT_S}s+{LASTS_S}s",
    ),
    Case("transfer broken off, and told", "partial", "incomplete", "incomplete", "not judged"),
    Case("half a picture, and nobody says so", "torn", "incomplete", "incomplete", "not judged"),
    Case("light off, lens cap", "dark", "black", "black", "not judged"),
    Case("over-exposed", "bright", "saturated", "saturated", "not judged"),
    Case("out of focus", "blur", "blurred", "blurred", "not judged"),
    Case("camera pushed aside", "shift", "moved", "moved", "not judged"),
    Case(
        "the same picture again",
        "freeze",
        "frozen",
        "frozen",
        "not judged from the second on; after 10 opened again",
        unseen_s=2 * PERIOD_MS / 1e3,
    ),
    Case(
        "pictures lost on the way, hardware trigger",
        "drop",
        "no_image",
        "",
        "a verdict for each hole in the numbers",
        changes=HARDWARE,
    ),
    Case("inference slow", "slow", "late", "", "by the deadline, whatever still runs"),
    Case("score is not a number", "nan", "inference_error", "inference_error", "not judged"),
    Case("inference fails", "crash", "inference_error", "inference_error", "not judged; tried again with the next"),
    Case(
        "disk full, records required",
        "disk-full",
        "not_online",
        "journal_refuses",
        "no record, no verdict",
        changes=RECORDS,
    ),
    Case(
        "disk slow, records required",
        "disk-slow",
        "not_online",
        "",
        "no record in time, no verdict",
        changes=RECORDS,
    ),
]


@dataclass(frozen=True)
class Outcome:
    case: Case
    during: list[Decision]
    """Of parts that came while the fault was on."""
    passed: int
    """PASS of what the fault has spoilt."""
    detected_ms: float | None
    """From the begin of the fault to the first INVALID."""
    back_ms: float | None
    """From its end to the next PASS."""
    events: list[str]

    @property
    def reasons(self) -> set[str]:
        return {decision.reason.value for decision in self.during if decision.verdict.value == "INVALID"}


def write_lenient_bundle(path: Path) -> Path:
    """Judges everything good, with the scene learnt from 60 good washers."""
    return _write_bundle(path, threshold=1e6)


def write_bright_bundle(path: Path) -> Path:
    """Judges about one washer in three bad: those that are bright somewhere."""
    return _write_bundle(path, threshold=BRIGHT)


def _write_bundle(path: Path, threshold: float) -> Path:
    rendered = [render("washer", seed=900, index=index, size_px=256).image for index in range(60)]
    goods = np.stack([model_picture(picture, SPEC, None) for picture in rendered])
    scene, model = learnt(goods), tiny_onnx(side_px=SIDE_PX)
    manifest = Manifest(
        part="washer",
        method="lenient",
        created="2026-01-01T00:00:00+00:00",
        input=SPEC,
        precisions={
            "fp32": Precision(
                file="model/fp32.onnx",
                sha256=sha256_hex(model),
                score_threshold=threshold,
                pixel_threshold=1e6,
                heatmap_low=0.5,
            )
        },
        decision=DecisionPolicy(target_false_reject=None, guaranteed_false_reject=0.1, method="split-conformal", n=9),
        golden=[],
        scene=scene.limits,
        training=Training(method="lenient", preset="none", seed=0, data_digest="0" * 64, pictures=60, versions={}),
    )
    write_bundle(path, manifest, {"model/fp32.onnx": model, FILE: scene.to_npz()})
    return path


def staged(case: Case, bundle: Path, folder: Path) -> Outcome:
    changes: dict[str, Any] = {
        "camera": {"uri": CAMERA, "silent_after_s": 1.0},
        "trigger": {"mode": "interval", "interval_ms": PERIOD_MS, "deadline_ms": DEADLINE_MS},
        "inject": case.injected,
    }
    for section, values in case.changes.items():
        changes[section] = values
    began_ns = time.monotonic_ns()
    with station(folder, bundle, **changes) as stand:
        _watch(stand, began_ns, AT_S + LASTS_S + AFTER_S)
        events = [event.code for event in stand.events]
        decisions = list(stand.decisions)
        schedule = stand.faults
    return _outcome(case, decisions, events, schedule.began_ns)


def _watch(stand: Stand, began_ns: int, seconds: float) -> None:
    while time.monotonic_ns() < began_ns + seconds * 1e9:
        stand.read(0.05)


def _outcome(case: Case, decisions: list[Decision], events: list[str], began_ns: int) -> Outcome:
    begin_ns, end_ns = began_ns + AT_S * 1e9, began_ns + (AT_S + LASTS_S) * 1e9
    during = [one for one in decisions if begin_ns <= _came_ns(one) < end_ns]
    invalid = [one.mono_ns for one in decisions if one.mono_ns > begin_ns and one.verdict.value == "INVALID"]
    again = [one.mono_ns for one in decisions if one.mono_ns > end_ns and one.verdict.value == "PASS"]
    before = [one for one in decisions if _came_ns(one) < begin_ns]
    assert [one.verdict.value for one in before].count("PASS") > 5, f"{case.fault}: the line did not run before"
    passed = [one for one in decisions if one.verdict.value == "PASS" and _is_spoilt(case, one, begin_ns, end_ns)]
    return Outcome(
        case,
        during,
        len(passed),
        (invalid[0] - begin_ns) / 1e6 if invalid else None,
        (again[0] - end_ns) / 1e6 if again else None,
        events,
    )


def _came_ns(decision: Decision) -> float:
    """The trigger of a part; with the hardware trigger the capture of its picture."""
    return decision.mono_ns - decision.age_ms * 1e6


def _is_spoilt(case: Case, decision: Decision, begin_ns: float, end_ns: float) -> bool:
    """By a camera's fault what was taken while it was on, by another what was judged meanwhile."""
    if case.how == "drop":
        return decision.frame_id is None  # the pictures that do come are whole
    if case.how in CAMERA_FAULTS:
        taken_ns = (decision.captured_ns or 0) - (time.time_ns() - time.monotonic_ns())
        return begin_ns + case.unseen_s * 1e9 <= taken_ns < end_ns
    return begin_ns <= _came_ns(decision) and decision.mono_ns < end_ns


def wrong_with(outcome: Outcome) -> list[str]:
    case, found = outcome.case, []
    if outcome.passed:
        found.append(f"{outcome.passed} PASS while {case.fault}")
    if not outcome.during:
        found.append("no part was answered at all")
    if case.reason not in outcome.reasons or outcome.reasons - {case.reason, *BESIDE}:
        found.append(f"reasons {sorted(outcome.reasons)}, expected {case.reason}")
    if case.event and case.event not in outcome.events:
        found.append(f"no event {case.event} in {sorted(set(outcome.events))}")
    if outcome.detected_ms is None or outcome.detected_ms > 1000:
        found.append(f"detected after {outcome.detected_ms} ms")
    if outcome.back_ms is None:
        found.append("the line did not judge again")
    return found


def all_staged(bundle: Path, folder: Path) -> list[Outcome]:
    """Every case on a station of its own, several at a time: they mostly wait."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda case: staged(case, bundle, folder / case.how), CASES))


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="sad-faults-") as folder:
        outcomes = all_staged(write_lenient_bundle(Path(folder) / "lenient.sad"), Path(folder))
    for outcome in outcomes:
        print(f"{outcome.case.fault}: {'; '.join(wrong_with(outcome)) or 'as it should be'}", file=sys.stderr)
    print("| fault | injected as | verdict | detected, ms | reaction | judging again after, ms | parts | PASS |")
    print("|---|---|---|---|---|---|---|---|")
    print("\n".join(_row(outcome) for outcome in outcomes))
    return int(any(wrong_with(outcome) for outcome in outcomes))


def _row(outcome: Outcome) -> str:
    case = outcome.case
    said = ", ".join(f"`{reason}`" for reason in sorted(outcome.reasons))
    detected = "never" if outcome.detected_ms is None else f"{outcome.detected_ms:.0f}"
    back = "" if outcome.back_ms is None else f"{outcome.back_ms:.0f}"
    cells = (case.fault, f"`{case.injected}`", f"INVALID {said}", detected, case.reaction, back)
    return f"| {' | '.join(cells)} | {len(outcome.during)} | {outcome.passed} |"


if __name__ == "__main__":
    sys.exit(main())
